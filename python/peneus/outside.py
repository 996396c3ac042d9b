"""`peneus.outside_connection()`: for what outlives the connection whose application starts it."""

from collections.abc import Iterator
from contextlib import contextmanager

from ._core import current_connection


@contextmanager
def outside_connection() -> Iterator[None]:
    """Channels made inside belong to no connection, and so do those of the tasks started inside, whenever they make them."""
    token = current_connection.set(None)
    try:
        yield
    finally:
        current_connection.reset(token)
