"""The hub of the processes of one machine, hosted by this one (channellayer/bus/hub_server.h)."""

import os

from ._core import Hub

__all__ = ["Hub", "host"]


def host(path: str | os.PathLike[str]) -> Hub:
    """Hosts the hub at path, a Unix socket of this user alone, until its close(). OSError with a sentence that names path and
    cause where it cannot; its errno is EADDRINUSE where another process hosts it."""
    return Hub(os.fspath(path))
