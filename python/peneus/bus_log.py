"""Tells the log when a channel layer loses the other processes, and when it has them again: native threads cannot."""

import logging
import weakref
from typing import Any

from . import counters

logger = logging.getLogger(__name__)


class BusLog:
    """look(), about once a second: what has changed since the last look is logged, once."""

    def __init__(self) -> None:
        self._troubles: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def look(self) -> None:
        for layer in counters.layers.owners():
            self._look_at(layer)

    def _look_at(self, layer: Any) -> None:
        trouble = layer.trouble()
        before = self._troubles.get(layer, "")
        if trouble == before:
            return
        self._troubles[layer] = trouble
        if trouble:
            logger.warning("Channel layer: %s", trouble)
        else:
            logger.info("Channel layer: %s is connected again", layer.where)
