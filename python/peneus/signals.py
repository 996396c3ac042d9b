"""SIGTERM, SIGINT, SIGHUP and SIGUSR1, for as long as a server runs; SIGUSR2, which is not for us, does not end the process.

signal.signal and not loop.add_signal_handler: a Python-level handler runs between two bytecodes of the main thread, so closing
begins even while an application blocks the event loop. What an application adds by loop.add_signal_handler() is called beside it.
"""

import asyncio
import contextvars
import inspect
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# The close code that WebSockets get: "service restart" from a supervisor, "going away" from a person.
CODES = {signal.SIGTERM: 1012, signal.SIGINT: 1001}

USERS = (signal.SIGUSR1, signal.SIGUSR2)


def spare() -> None:
    """From now on SIGUSR1 and SIGUSR2 do not end this process. Outside the main thread it does nothing. They are ignored, and not
    handled by a function that does nothing: so it can be seen whether the application has a handler for them."""
    for number in USERS:
        if threading.current_thread() is threading.main_thread() and not _is_caught(number):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def handled(
    loop: asyncio.AbstractEventLoop,
    stop: Callable[[int], None],
    reopen: Callable[[], None],
    reload: Callable[[], None] | None = None,
) -> Iterator[None]:
    """While this is entered, SIGTERM and SIGINT call stop(close code), SIGUSR1 reopen(), and SIGHUP reload(); None leaves it as
    it is. What runs on loop may handle SIGTERM, SIGINT and SIGHUP too; SIGUSR1 and SIGUSR2 stay the application's where it has a
    handler for them. Outside the main thread it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop(CODES[signal.Signals(number)])
        beside.call(number)

    def on_reopen(number: int, frame: FrameType | None) -> None:
        reopen()

    def on_hangup(number: int, frame: FrameType | None) -> None:
        assert reload is not None
        reload()
        beside.call(number)

    before: dict[signal.Signals, Any] = {number: signal.signal(number, on_signal) for number in CODES}
    if reload is not None:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_hangup)
    beside = Beside(loop, before)
    ours = {signal.SIGUSR1: on_reopen, signal.SIGUSR2: _nothing}
    for number in USERS:
        if not _is_caught(number):
            before[number] = signal.signal(number, ours[number])
    try:
        yield
    finally:
        beside.close()
        for number, handler in before.items():
            if number not in ours or signal.getsignal(number) is ours[number]:  # else the application has its own by now
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def _is_caught(number: signal.Signals) -> bool:
    """Whether somebody handles the signal. The kernel is asked: Python does not know of handlers in C, such as faulthandler's."""
    try:
        with open("/proc/self/status") as status:
            masks = dict(line.split(":", 1) for line in status)
    except OSError:  # there is no /proc here
        return signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN)
    return bool(int(masks["SigCgt"], 16) >> (number - 1) & 1)


class Beside:
    """The callbacks that an application adds to loop for signals that are the server's. asyncio itself would replace the server's
    handler, and remove it with the application's: nothing would stop the server any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, numbers: Iterable[int]) -> None:
        self._loop = loop
        self._numbers = frozenset(numbers)
        self._callbacks: dict[int, tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]] = {}
        self._add, self._remove = loop.add_signal_handler, loop.remove_signal_handler
        loop.add_signal_handler = self._add_beside  # type: ignore[method-assign, assignment]
        loop.remove_signal_handler = self._remove_beside  # type: ignore[method-assign]

    def call(self, number: int) -> None:
        """In a signal handler."""
        if number in self._callbacks and not self._loop.is_closed():
            callback, arguments, context = self._callbacks[number]
            self._loop.call_soon_threadsafe(callback, *arguments, context=context)

    def close(self) -> None:
        del self._loop.add_signal_handler, self._loop.remove_signal_handler

    def _add_beside(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        if sig not in self._numbers:
            self._add(sig, callback, *args)
        elif inspect.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        else:
            self._callbacks[sig] = (callback, args, contextvars.copy_context())

    def _remove_beside(self, sig: int) -> bool:
        if sig not in self._numbers:
            return self._remove(sig)
        return self._callbacks.pop(sig, None) is not None
