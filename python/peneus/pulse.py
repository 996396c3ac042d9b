"""A worker's pulse: how its supervisor sees that an event loop stands still, and where.

The loop writes the time into memory that both share; nobody has to answer, so a worker in which nothing moves is seen too. Where
it stands is written by faulthandler's signal handler, in C, which needs neither the event loop nor the GIL.
"""

import asyncio
import faulthandler
import mmap
import os
import signal
import struct
import time

STACK_SIGNAL = signal.SIGRTMAX - 3  # one that applications are unlikely to use
STACK_TIME = 2.0  # s that a worker gets to write its stacks
STACK_POLL = 0.05  # s
STACK_LIMIT = 256 * 1024  # bytes of stacks that are shown
LONGEST_INTERVAL = 1.0  # s between two beats
TIME = struct.Struct("d")


class Pulse:
    """One worker's, at either end: two file descriptors, of a page of memory and of a file for stacks, owned by this."""

    def __init__(self, beats: int, stacks: int) -> None:
        self.beats = beats
        self.stacks = stacks
        self._page = mmap.mmap(beats, TIME.size)

    @classmethod
    def make(cls) -> "Pulse":
        """In the supervisor: one whose descriptors a worker can inherit."""
        beats = os.memfd_create("peneus-beats")
        try:
            os.ftruncate(beats, TIME.size)
            return cls(beats, os.memfd_create("peneus-stacks"))
        except BaseException:
            os.close(beats)
            raise

    def close(self) -> None:
        self._page.close()
        os.close(self.beats)
        os.close(self.stacks)

    def begin(self, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        """In the worker, on loop's thread: beats several times in timeout seconds, for as long as the loop runs."""
        interval = min(LONGEST_INTERVAL, timeout / 4) if timeout else LONGEST_INTERVAL

        def beat() -> None:
            TIME.pack_into(self._page, 0, time.monotonic())
            loop.call_later(interval, beat)

        beat()

    def answer(self) -> None:
        """In the worker's main thread: the stack signal writes stacks from now on."""
        faulthandler.register(STACK_SIGNAL, file=self.stacks, all_threads=True)

    def silence(self) -> float | None:
        """In the supervisor: seconds since the last beat; None before the first."""
        (last,) = TIME.unpack_from(self._page)
        return time.monotonic() - last if last else None

    async def where(self, pid: int) -> str:
        """In the supervisor: the stacks of process pid's Python threads, whose answer() has been called; "" if it is stopped."""
        os.ftruncate(self.stacks, 0)
        os.lseek(self.stacks, 0, os.SEEK_SET)  # the worker's offset too: they share it
        os.kill(pid, STACK_SIGNAL)
        deadline = time.monotonic() + STACK_TIME
        size = 0
        while time.monotonic() < deadline:
            await asyncio.sleep(STACK_POLL)
            before, size = size, os.fstat(self.stacks).st_size
            if size and size == before:
                break
        return os.pread(self.stacks, STACK_LIMIT, 0).decode(errors="replace").rstrip()
