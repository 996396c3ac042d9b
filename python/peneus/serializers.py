"""How channel messages are written: MessagePack, strict as the Channels specification is, or JSON.

Whatever is not a dict, list, tuple, str, bytes, int (64 bits), float, bool or None is a TypeError where it is sent; nothing
is changed silently, except that a tuple arrives as a list. Every decode gives objects of its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import ormsgpack

from .errors import SettingError

# ormsgpack would write all of these of its own accord, and they would arrive as something else.
_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
)


@dataclass(frozen=True)
class Serializer:
    encode: Callable[[Any], bytes]
    decode: Callable[[memoryview], Any]


def _plain(value: Any) -> Any:
    """A subclass of a type that can be sent, such as a SafeString or a TextChoices, as that type. TypeError for all else."""
    if isinstance(value, Enum) and isinstance(value, (str, int, float)):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a channel message cannot hold a {type(value).__name__}: {value!r}")


def _encode_msgpack(message: Any) -> bytes:
    try:
        return ormsgpack.packb(message, _plain, _OPTIONS)
    except TypeError:
        # ormsgpack takes no subclass of str as a key, such as a TextChoices; the second error, if there is one, is the message's.
        return ormsgpack.packb(_with_plain_keys(message), _plain, _OPTIONS)


def _with_plain_keys(value: Any) -> Any:
    """A copy of value whose keys are of no subclass of str. TypeError for a key that is no str at all."""
    if isinstance(value, dict):
        return {_key(key): _with_plain_keys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_plain_keys(item) for item in value]
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of a channel message are strings: {key!r} is a {type(key).__name__}")
    return str.__str__(key.value if isinstance(key, Enum) else key)


def _decode_json(payload: memoryview) -> Any:
    return json.loads(bytes(payload))


def _encode_json(message: Any) -> bytes:
    return json.dumps(_with_plain_keys(message)).encode()  # which would write other keys as strings


SERIALIZERS = {
    "msgpack": Serializer(_encode_msgpack, ormsgpack.unpackb),
    "json": Serializer(_encode_json, _decode_json),
}


def serializer(name: object) -> Serializer:
    """SettingError where there is none of that name."""
    found = SERIALIZERS.get(name) if isinstance(name, str) else None
    if found is None:
        raise SettingError("serializer_format", f"{name!r} is not known; write {' or '.join(map(repr, SERIALIZERS))}")
    return found
