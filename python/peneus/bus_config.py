"""Which bus a channel layer has, and what the native layer is told about it."""

import hashlib
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import redis_hosts
from .errors import SettingError
from .layer_config import MIB, seconds, whole
from .serializers import Serializer

BUSES = ("auto", "local", "hub", "redis", "redis-core")
HUB_VARIABLE = "PENEUS_HUB"  # the supervisor sets it for its workers
BUFFER_LIMIT = 16 * MIB
BUFFER_TIME = 10.0


@dataclass(frozen=True)
class BusConfig:
    """kind is never "auto". where: what the bus reaches, for people."""

    kind: str
    where: str
    native: Mapping[str, Any] | None

    @property
    def remote(self) -> bool:
        """Whether there may be other processes."""
        return self.kind != "local"


def choose(bus: object, hosts: object, hub: object) -> str:
    """The bus that "auto" means here, or the one that is written; SettingError where it lacks what it needs."""
    if bus not in BUSES:
        raise SettingError("bus", f"{bus!r} is not known; write {', '.join(map(repr, BUSES[:-1]))} or {BUSES[-1]!r}")
    if hub is not None and (not isinstance(hub, (str, os.PathLike)) or not os.fspath(hub)):
        raise SettingError("hub", f"{hub!r} is no path; write that of the hub's socket, such as '/run/app/hub'")
    if bus == "auto":
        if hosts:
            return "redis"
        return "hub" if hub is not None or os.environ.get(HUB_VARIABLE) else "local"
    if hosts and bus in ("local", "hub"):
        raise SettingError("hosts", f"asks for Redis, and bus for {bus!r}: leave hosts out, or write bus 'redis' or 'redis-core'")
    if bus == "hub" and hub is None and not os.environ.get(HUB_VARIABLE):
        raise SettingError("hub", "is missing: bus 'hub' needs its path, such as '/run/app/hub', where no supervisor gives one")
    return str(bus)


def configure(
    bus: object,
    *,
    hosts: object,
    hub: object,
    prefix: str,
    keys: object,
    serializer: Serializer,
    json: bool,
    expiry: float,
    group_expiry: float,
    capacity: int,
    channel_capacity: Mapping[Any, int] | None,
    random_prefix_length: object,
    on_disconnect: object,
    on_reconnect: object,
    buffer_limit: object,
    buffer_time: object,
) -> BusConfig:
    """SettingError for each of these that cannot be used, whether or not the bus uses it."""
    kind = choose(bus, hosts, hub)
    native: dict[str, Any] = {
        "kind": kind,
        "prefix": prefix,
        "json": json,
        "buffer_limit": whole("buffer_limit", buffer_limit),
        "buffer_time_ms": max(1, round(seconds("buffer_time", buffer_time) * 1000)),
        "expiry_ms": round(expiry * 1000),
        "group_expiry_ms": round(group_expiry * 1000),
    }
    redis = {
        "keys": _digests(keys),
        "client": _client(),
        "capacity": capacity,
        "capacities": _globs(channel_capacity),
        "random_prefix_length": whole("random_prefix_length", random_prefix_length, least=0),
        "on_disconnect": _event("on_disconnect", on_disconnect, serializer),
        "on_reconnect": _event("on_reconnect", on_reconnect, serializer),
    }
    if kind == "local":
        return BusConfig(kind, "this process", None)
    if kind == "hub":
        path = os.fspath(hub) if isinstance(hub, (str, os.PathLike)) else os.environ[HUB_VARIABLE]
        return BusConfig(kind, str(path), {**native, "hub": str(path), "client": _client()})
    shards = redis_hosts.shards(hosts)
    if kind == "redis-core" and shards[0]["kind"] == "cluster":
        raise SettingError("hosts", "is a cluster, where bus 'redis-core' cannot work: its scripts change several keys at once")
    return BusConfig(kind, redis_hosts.labels(shards), {**native, **redis, "hosts": shards})


def for_child(config: BusConfig) -> BusConfig:
    """The same for a process that was forked: it is another client."""
    if config.native is None or "client" not in config.native:
        return config
    return BusConfig(config.kind, config.where, {**config.native, "client": _client()})


def _client() -> str:
    """This process, in the names of its channels: a UUID. Where that has its version, e: so that others of Peneus know it."""
    digits = uuid.uuid4().hex
    return f"{digits[:12]}e{digits[13:]}"


def _digests(keys: object) -> list[bytes]:
    """32 bytes for each key: 16 that sign, 16 that encrypt. The text of a key appears in no error."""
    if keys is None:
        return []
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (list, tuple)):
        raise SettingError("symmetric_encryption_keys", "is not a list; write [key], or [new key, old key]")
    if not all(isinstance(key, (str, bytes)) and key for key in keys):
        raise SettingError("symmetric_encryption_keys", "has a key that is no text; write [key], or [new key, old key]")
    return [hashlib.sha256(key.encode() if isinstance(key, str) else key).digest() for key in keys]


def _globs(channel_capacity: Mapping[Any, int] | None) -> list[tuple[str, int]]:
    """Other processes' channels get their capacity natively, where compiled patterns match nothing."""
    items = (channel_capacity or {}).items()
    return [(pattern, capacity) for pattern, capacity in items if not isinstance(pattern, re.Pattern)]


def _event(name: str, value: object, serializer: Serializer) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise SettingError(name, f"{value!r} is no type of a message; write one such as 'redis.disconnect'")
    return serializer.encode({"type": value})
