"""The servers and channel layers of this process, and what those counted that are gone. Any thread."""

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Protocol


class Counting(Protocol):
    """A native server or layer."""

    def stats(self) -> dict[str, int]: ...


class Registry:
    """Sources of statistics. Each is kept for as long as its owner lives; its counters for ever, so that they never go back."""

    def __init__(self, gauges: frozenset[str]) -> None:
        self._gauges = gauges
        self._lock = threading.Lock()
        self._sources: dict[int, Counting] = {}
        self._ends: dict[int, weakref.finalize[..., object]] = {}
        self._retired: Counter[str] = Counter()

    def add(self, owner: object, source: Counting) -> Callable[[], object]:
        """Counts source until owner is gone, or until the result is called."""
        key = id(source)
        with self._lock:
            self._sources[key] = source
        end = weakref.finalize(owner, self._retire, key)
        end.atexit = False
        with self._lock:
            self._ends[key] = end
        return end

    def owners(self) -> list[object]:
        """Whose sources are counted now."""
        with self._lock:
            ends = list(self._ends.values())
        found = (end.peek() for end in ends)
        return [each[0] for each in found if each is not None]

    def sources(self) -> list[Counting]:
        with self._lock:
            return list(self._sources.values())

    def total(self) -> Counter[str]:
        with self._lock:
            result = self._retired.copy()
            sources = list(self._sources.values())
        for source in sources:
            result.update(source.stats())
        return result

    def forget(self) -> None:
        """In the child of a fork: what was counted is the parent's. No source is asked: its lock may be held for ever."""
        self._lock = threading.Lock()
        for end in self._ends.values():
            end.detach()
        self._sources, self._ends, self._retired = {}, {}, Counter()

    def _retire(self, key: int) -> None:
        source = self._sources[key]
        last = source.stats()
        with self._lock:
            del self._sources[key]
            self._ends.pop(key, None)
            self._retired.update({name: value for name, value in last.items() if name not in self._gauges})
