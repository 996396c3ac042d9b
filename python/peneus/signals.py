"""SIGTERM, SIGINT and SIGHUP, for as long as a server runs.

signal.signal and not loop.add_signal_handler: a Python-level handler runs between two bytecodes of the main thread, so closing
begins even while an application blocks the event loop.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# The close code that WebSockets get: "service restart" from a supervisor, "going away" from a person.
CODES = {signal.SIGTERM: 1012, signal.SIGINT: 1001}


@contextmanager
def handled(stop: Callable[[int], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """While this is entered, SIGTERM and SIGINT call stop(close code), and SIGHUP reload(); None leaves it as it is. Outside the
    main thread it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop(CODES[signal.Signals(number)])

    def on_hangup(number: int, frame: FrameType | None) -> None:
        assert reload is not None
        reload()

    before = {number: signal.signal(number, on_signal) for number in CODES}
    if reload is not None:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_hangup)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
