"""Workers' pulses: how their supervisor sees that an event loop stands still, and where.

The loop writes the time into memory that all of them share; nobody has to answer, so a worker in which nothing moves is seen too.
Where it stands is written by faulthandler's signal handler, in C, which needs neither the event loop nor the GIL.
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

# server/crew.h: a place for each worker, with the time of its last beat (ns) and the number of its connections.
PLACES = 256
PLACE = struct.Struct("QQ")
BEAT = struct.Struct("Q")


def make_crew() -> int:
    """In the supervisor: the file descriptor of the memory that workers share."""
    fd = os.memfd_create("peneus-crew")
    os.ftruncate(fd, PLACES * PLACE.size)
    return fd


class Pulse:
    """One worker's, at either end: its place in the crew's memory, and a file for stacks, whose descriptor is this object's."""

    def __init__(self, crew: int, place: int, stacks: int) -> None:
        self.place = place
        self.stacks = stacks
        self._offset = place * PLACE.size
        self._page = mmap.mmap(crew, PLACES * PLACE.size)

    @classmethod
    def make(cls, crew: int, place: int) -> "Pulse":
        """In the supervisor: a new worker's."""
        pulse = cls(crew, place, os.memfd_create("peneus-stacks"))
        PLACE.pack_into(pulse._page, pulse._offset, 0, 0)
        return pulse

    def close(self) -> None:
        """In the supervisor, after the worker's end: its place is free."""
        PLACE.pack_into(self._page, self._offset, 0, 0)
        self._page.close()
        os.close(self.stacks)

    def begin(self, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        """In the worker, on loop's thread: beats several times in timeout seconds, for as long as the loop runs."""
        interval = min(LONGEST_INTERVAL, timeout / 4) if timeout else LONGEST_INTERVAL

        def beat() -> None:
            BEAT.pack_into(self._page, self._offset, time.monotonic_ns())
            loop.call_later(interval, beat)

        beat()

    def answer(self) -> None:
        """In the worker's main thread: the stack signal writes stacks from now on."""
        faulthandler.register(STACK_SIGNAL, file=self.stacks, all_threads=True)

    def silence(self) -> float | None:
        """In the supervisor: seconds since the last beat; None before the first."""
        (last,) = BEAT.unpack_from(self._page, self._offset)
        return (time.monotonic_ns() - last) / 1e9 if last else None

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
