"""What becomes of the channel layers of a process that forks or ends."""

import asyncio
import atexit
import logging
import multiprocessing
import os
import threading
import weakref
from collections.abc import Awaitable
from multiprocessing import util
from typing import Protocol

from . import counters

logger = logging.getLogger(__name__)

END_TIME = 1.5  # s for what was published and is still on its way, for all layers together


class Living(Protocol):
    """A channel layer."""

    def begin_again(self) -> None:
        """In a child: has a native layer of its own when it is used."""

    def settled(self) -> Awaitable[bool | None]:
        """Whether what was published has arrived."""

    @property
    def unsettled(self) -> bool:
        """Whether anything may be on its way to other processes."""


_layers: weakref.WeakSet[Living] = weakref.WeakSet()
_lock = threading.Lock()
_watching = False


def watch(layer: Living) -> None:
    """layer gets a new native layer in each child that uses it, and its publishes arrive before the process ends."""
    global _watching
    with _lock:
        _layers.add(layer)
        if _watching:
            return
        _watching = True
    os.register_at_fork(after_in_child=_begin_again)
    _watch_end()


def _watch_end() -> None:
    """The processes of multiprocessing end without atexit, and a forked one forgets its parent's finalizers first."""
    atexit.register(_end)
    util.register_after_fork(_layers, _finalize)
    if multiprocessing.parent_process() is not None:
        _finalize(_layers)


def _finalize(_: object) -> None:
    util.Finalize(None, _end, exitpriority=0)


def _begin_again() -> None:
    global _lock
    _lock = threading.Lock()
    counters.layers.forget()
    for layer in list(_layers):
        layer.begin_again()


def _end() -> None:
    waiting = [layer for layer in list(_layers) if layer.unsettled]
    if waiting:
        try:
            asyncio.run(_settle(waiting))
        except Exception:
            logger.warning("What was published last may not have arrived", exc_info=True)


async def _settle(layers: list[Living]) -> None:
    tasks = [asyncio.ensure_future(layer.settled()) for layer in layers]
    done, late = await asyncio.wait(tasks, timeout=END_TIME)
    for task in late:
        task.cancel()
    if late or not all(task.result() for task in done):
        logger.warning("The process ends, and the other processes have not confirmed all that was published")
