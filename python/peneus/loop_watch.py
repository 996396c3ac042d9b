"""Notices that an application blocks the event loop: the log says where, and the time counts against no other application.

The loop beats several times a second, and a thread looks whether it does. C code that holds the GIL blocks that thread too. The
thread then looks as soon as the C code returns, while the frame that called it is still there.
"""

import asyncio
import logging
import sys
import threading
import time

from . import frames
from ._core import Server as Core

logger = logging.getLogger("peneus.server")

LONGEST_INTERVAL = 0.25  # s between two beats, and between two looks
OWN = ("asyncio", "peneus", "selectors")  # packages whose code does not block by itself
STALL = 1.0  # s without a beat after which it is remembered where the loop is


class LoopWatch:
    """Watches core's event loop, on whose thread everything but the properties is called.

    close_timeout: seconds that applications have to end, timeout: seconds after which the log says that the loop stands still;
    None where there is no such limit.
    """

    def __init__(self, core: Core, close_timeout: float | None, timeout: float | None) -> None:
        self._core = core
        self._interval = min(LONGEST_INTERVAL, (close_timeout or 2) / 8)
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beaten = time.monotonic()
        self._stall = min(STALL, timeout or STALL)
        self._seen = 0.0  # the beat before the last stall that the thread has seen
        self._place = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peneus-loop-watch", daemon=True)
        self._thread.start()
        self._beat()

    def close(self) -> None:
        self._ended.set()
        self._next.cancel()
        self._thread.join()

    @property
    def place(self) -> str:
        """Where the loop last stood still for STALL: its stack, the innermost frame last; "" where that is not known."""
        return self._place

    @property
    def is_stuck(self) -> bool:
        return self._timeout is not None and time.monotonic() - self._beaten > self._timeout

    def _beat(self) -> None:
        now = time.monotonic()
        silence = now - self._beaten
        if silence > self._stall and self._seen != self._beaten:
            self._place = ""
        self._beaten = now
        self._core.beat(self._interval)
        self._next = self._loop.call_later(self._interval, self._beat)
        if self._timeout is not None and silence > self._timeout:
            logger.warning("The event loop goes on, after %.1f s", silence)

    def _look(self) -> None:
        said = 0.0  # the beat before the last stall that is in the log
        while not self._ended.wait(min(LONGEST_INTERVAL, self._stall / 4)):
            beaten = self._beaten
            silence = time.monotonic() - beaten
            if silence > self._stall and beaten != self._seen:
                self._seen = beaten
                self._place = self._where()
            if self._timeout is not None and silence > self._timeout and beaten != said and self._place:
                said = beaten
                self._place = self._where() or self._place
                logger.error("The event loop has stood still for %.1f s. It is at (innermost last):\n%s", silence, self._place)

    def _where(self) -> str:
        """The loop's stack; "" where it waits for events, or is busy with its own: then the whole process was stopped."""
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or str(frame.f_globals.get("__name__")).split(".")[0] in OWN:
            return ""
        return "\n".join(frames.thread_stack(frame))
