"""Which names a channel layer takes: TypeError for the others."""

import re
from collections.abc import Callable
from typing import Any

from channels.layers import BaseChannelLayer  # type: ignore[import-untyped]

# Channels before 4.2.1 has other names for these.
_check_channel = getattr(BaseChannelLayer, "require_valid_channel_name", None) or BaseChannelLayer.valid_channel_name
_check_group = getattr(BaseChannelLayer, "require_valid_group_name", None) or BaseChannelLayer.valid_group_name

WIRE_LIMIT = 255  # bytes

Check = Callable[[BaseChannelLayer, Any], object]


def checks(kind: str) -> tuple[Check, Check]:
    """For a channel's name and a group's: the specification's; on the wire of channels_redis.pubsub, which checks nothing and
    puts its prefix before each channel, every str of 1 to 255 bytes."""
    if kind == "redis":
        return _check_any, _check_any
    return _check_channel, _check_group


def _check_any(layer: BaseChannelLayer, name: Any) -> None:
    if isinstance(name, str) and _plain.fullmatch(name):
        return
    if not isinstance(name, str):
        raise TypeError(f"the name of a channel or group is a str, not a {type(name).__name__}: {name!r}")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise TypeError(f"the name of a channel or group is text that UTF-8 can hold: {name!r}") from None
    if not 1 <= length <= WIRE_LIMIT:
        raise TypeError(f"the name of a channel or group has 1 to {WIRE_LIMIT} bytes: {name!r}")


_plain = re.compile(r"[a-zA-Z\d\-_.!]{1,255}", re.ASCII)
