"""Which hubs this process hosts. A server hosts those that its channel layers name; of workers, the supervisor does."""

import errno
import logging
import threading
from collections.abc import Callable

from . import counters, hub

logger = logging.getLogger(__name__)

Listener = Callable[[str], None]

_lock = threading.Lock()
_wanted: list[str] = []
_listener: Listener | None = None


def want(path: str) -> None:
    """A channel layer of this process uses the hub at path. Any thread."""
    with _lock:
        if path in _wanted:
            return
        _wanted.append(path)
        listener = _listener
    if listener is not None:
        listener(path)


def listen(listener: Listener) -> bool:
    """Calls listener for each hub that is wanted, those of before too, in the thread that wants it. False: another listens."""
    global _listener
    with _lock:
        if _listener is not None:
            return False
        _listener = listener
        wanted = list(_wanted)
    for path in wanted:
        listener(path)
    return True


def ignore(listener: Listener) -> None:
    """listener, if it is the one that listens, is called no more."""
    global _listener
    with _lock:
        if _listener == listener:
            _listener = None


class Hosting:
    """The hubs that this process hosts. One that another process hosts already is taken over by try_again() when that ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosted: dict[str, Callable[[], object] | None] = {}  # what ends it; None: not hosted yet
        self._complained: set[str] = set()

    def add(self, path: str) -> None:
        """Any thread."""
        with self._lock:
            if self._hosted.setdefault(path, None) is None:
                self._try(path)

    def try_again(self) -> None:
        with self._lock:
            for path, hosted in self._hosted.items():
                if hosted is None:
                    self._try(path)

    def close(self) -> None:
        with self._lock:
            for end in self._hosted.values():
                if end is not None:
                    end()
            self._hosted.clear()

    def _try(self, path: str) -> None:
        try:
            hosted = hub.host(path)
        except OSError as error:
            if path not in self._complained:
                self._complained.add(path)
                level = logging.DEBUG if error.errno == errno.EADDRINUSE else logging.ERROR
                logger.log(level, "The hub at %s is not hosted here: %s", path, error)
        else:
            self._hosted[path] = self._end_of(hosted)
            self._complained.discard(path)
            logger.info("Hosting the hub at %s", path)

    def _end_of(self, hosted: hub.Hub) -> Callable[[], object]:
        counted = counters.hubs.add(self, hosted)

        def end() -> None:
            counted()
            hosted.close()

        return end
