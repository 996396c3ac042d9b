"""Peneus: an ASGI server with the Channels layer built in.

Importing this needs neither Django nor channels: what needs them is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .counters import stats
    from .errors import BusUnavailable, ForeignChannel
    from .layer import ChannelLayer
    from .outside import outside_connection
    from .server import Server, run

__all__ = [
    "BusUnavailable",
    "ChannelLayer",
    "ForeignChannel",
    "Server",
    "__version__",
    "outside_connection",
    "run",
    "stats",
]

_HOMES = {
    "BusUnavailable": "errors",
    "ChannelLayer": "layer",
    "ForeignChannel": "errors",
    "Server": "server",
    "outside_connection": "outside",
    "run": "server",
    "stats": "counters",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        from .version import installed_version

        value: Any = installed_version()
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
