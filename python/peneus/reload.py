"""--reload: says when a Python file below the working directory has changed."""

import logging
import os
from collections.abc import Callable

from .errors import SettingError
from .printable import printable

logger = logging.getLogger(__name__)


def check() -> None:
    """SettingError where watchfiles is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise SettingError("--reload", "needs watchfiles; install it, for example with pip install 'peneus[reload]'") from None


async def watch(on_change: Callable[[], object]) -> None:
    """Calls on_change() after each change, until it is cancelled."""
    from watchfiles import PythonFilter, awatch

    directory = os.getcwd()
    async for changed in awatch(directory, watch_filter=PythonFilter()):
        paths = sorted(path.removeprefix(directory + os.sep) for _, path in changed)
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        logger.info("Changed: %s%s", ", ".join(map(printable, paths[:3])), more)
        on_change()
