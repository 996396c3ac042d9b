"""The log: Daphne's levels and line, or one JSON object a line."""

import json
import logging
import time
from typing import Any

from .printable import printable

LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}


class TextFormatter(logging.Formatter):
    """The lines of a traceback stay lines; what else an exception's text has that cannot be printed is escaped."""

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        return json.dumps(entry)


def timestamp(moment: float) -> str:
    """moment (seconds of the epoch) as ISO 8601, UTC, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def keep(*names: str) -> None:
    """Switches the loggers of Peneus, and those of names, on again: a logging configuration of the application's without
    "disable_existing_loggers": False switches off all that exist and that it does not name."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and (name in names or name.partition(".")[0] == "peneus"):
            logger.disabled = False


def configure(verbosity: int, log_fmt: str, log_format: str) -> None:
    """Sets the root logger up, on standard error, unless the application has done so already."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(log_fmt))
    logging.basicConfig(level=LEVELS[verbosity], handlers=[handler])
