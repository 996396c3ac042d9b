"""CONFIG of `peneus.ChannelLayer`, checked: each error names the key, the value and what to write instead."""

from collections.abc import Mapping
from typing import Any

from .errors import SettingError
from .patterns import ByPattern

POLICIES = ("drop-oldest", "drop-newest", "latest", "close")
MIB = 1024 * 1024


def whole(name: str, value: object, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**48:
        raise SettingError(name, f"{value!r} is not a whole number from {least} on; write one such as 100")
    return value


def seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10**10:
        raise SettingError(name, f"{value!r} is not a number of seconds above 0; write one such as 60")
    return float(value)


def prefix(value: object) -> str:
    if not isinstance(value, str):
        raise SettingError("prefix", f"{value!r} is not a string; write one such as 'asgi'")
    return value


def capacities(value: object, default: int) -> ByPattern[int]:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise SettingError("channel_capacity", f"{value!r} is not a mapping; write {{'http.*': 200}}")
    checked = [(pattern, whole(f"channel_capacity[{pattern!r}]", capacity)) for pattern, capacity in value.items()]
    return ByPattern("channel_capacity", checked, default)


def overflow(value: object, bus: str) -> ByPattern[str]:
    """One policy for all groups, or a mapping from group-name glob to policy. Groups that nothing matches, and all where value is
    None, have what is usual on the bus: on "redis-core" what channels_redis.core does."""
    usual = "drop-newest" if bus == "redis-core" else "drop-oldest"
    if not isinstance(value, Mapping):
        return ByPattern("overflow", (), usual if value is None else policy("overflow", value))
    checked: list[tuple[Any, str]] = [(pattern, policy(f"overflow[{pattern!r}]", name)) for pattern, name in value.items()]
    return ByPattern("overflow", checked, usual)


def policy(name: str, value: object) -> str:
    if value not in POLICIES:
        raise SettingError(name, f"{value!r} is no policy; write {', '.join(map(repr, POLICIES[:-1]))} or {POLICIES[-1]!r}")
    return str(value)
