"""Log lines of which a thousand may be due at once, when a thousand clients meet the same trouble."""

import logging
import time


class Seldom:
    """Warnings of one kind, one in every `interval` seconds at most. The next one says how many were left out."""

    def __init__(self, logger: logging.Logger, interval: float = 1.0) -> None:
        self._logger = logger
        self._interval = interval
        self._due = 0.0
        self._left_out = 0

    def warning(self, text: str, *words: object) -> None:
        now = time.monotonic()
        if now < self._due:
            self._left_out += 1
            return
        self._due = now + self._interval
        if self._left_out:
            text += " (and %d more lines like this)"
            words = (*words, self._left_out)
            self._left_out = 0
        self._logger.warning(text, *words)
