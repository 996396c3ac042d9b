"""SIGTERM, SIGINT, SIGHUP and SIGUSR1, for as long as a server runs; SIGUSR2, which is not for us, does not end the process.

signal.signal and not loop.add_signal_handler: a Python-level handler runs between two bytecodes of the main thread, so closing
begins even while an application blocks the event loop.
"""

import signal
import threading
from collections.abc import Callable, Iterator
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
def handled(stop: Callable[[int], None], reopen: Callable[[], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """While this is entered, SIGTERM and SIGINT call stop(close code), SIGUSR1 reopen(), and SIGHUP reload(); None leaves it as
    it is. SIGUSR1 and SIGUSR2 stay the application's where it has a handler for them. Outside the main thread it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop(CODES[signal.Signals(number)])

    def on_reopen(number: int, frame: FrameType | None) -> None:
        reopen()

    def on_hangup(number: int, frame: FrameType | None) -> None:
        assert reload is not None
        reload()

    before: dict[signal.Signals, Any] = {number: signal.signal(number, on_signal) for number in CODES}
    if reload is not None:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_hangup)
    ours = {signal.SIGUSR1: on_reopen, signal.SIGUSR2: _nothing}
    for number in USERS:
        if not _is_caught(number):
            before[number] = signal.signal(number, ours[number])
    try:
        yield
    finally:
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
