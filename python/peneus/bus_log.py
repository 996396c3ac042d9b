"""Tells the log when a channel layer loses the other processes or is refused something, and when all is well again: native
threads cannot."""

import logging
import threading
import time
import weakref
from typing import Any

from . import counters
from .printable import printable

logger = logging.getLogger(__name__)

INTERVAL = 5.0  # s between two lines about one layer's trouble, while it changes


class BusLog:
    """look() or look_at(), about once a second: what has changed since the last look is logged, once."""

    def __init__(self) -> None:
        self._troubles: weakref.WeakKeyDictionary[Any, tuple[str, float]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def look(self) -> None:
        for layer in counters.layers.owners():
            self.look_at(layer)

    def look_at(self, layer: Any) -> None:
        trouble, now = layer.trouble(), time.monotonic()
        with self._lock:
            before, since = self._troubles.get(layer, ("", 0.0))
            if trouble == before or (before and trouble and now - since < INTERVAL):
                return
            self._troubles[layer] = trouble, now
        if trouble:
            logger.warning("Channel layer: %s", printable(trouble))
        elif " has refused " in before:
            logger.info("Channel layer: %s refuses nothing any more", layer.where)
        else:
            logger.info("Channel layer: %s is connected again", layer.where)


log = BusLog()
