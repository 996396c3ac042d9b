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
        self._retired: Counter[str] = Counter()

    def add(self, owner: object, source: Counting) -> Callable[[], object]:
        """Counts source until owner is gone, or until the result is called."""
        key = id(source)
        with self._lock:
            self._sources[key] = source
        end = weakref.finalize(owner, self._retire, key)
        end.atexit = False
        return end

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

    def _retire(self, key: int) -> None:
        source = self._sources[key]
        last = source.stats()
        with self._lock:
            del self._sources[key]
            self._retired.update({name: value for name, value in last.items() if name not in self._gauges})
