"""`peneus.ChannelLayer`: the Channels layer of this process, over the native one."""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from channels.exceptions import ChannelFull, MessageTooLarge  # type: ignore[import-untyped]
from channels.layers import BaseChannelLayer  # type: ignore[import-untyped]

from . import counters, layer_config
from ._core import Layer
from .layer_config import MIB
from .serializers import serializer

logger = logging.getLogger(__name__)

SWEEP_TIME = 1.0  # s between two looks for what has expired

# Channels before 4.2.1 has other names for these.
_check_channel = getattr(BaseChannelLayer, "require_valid_channel_name", None) or BaseChannelLayer.valid_channel_name
_check_group = getattr(BaseChannelLayer, "require_valid_group_name", None) or BaseChannelLayer.valid_group_name


class ChannelLayer(BaseChannelLayer):  # type: ignore[misc]
    """The layer of the Channels specification; any thread, any event loop of the process, any ASGI server or none.

    A channel that is made while a connection's application runs belongs to the connection: its memberships end with the
    connection, its messages with the application. Keys of CONFIG, all optional:

    - capacity (100), channel_capacity ({glob or compiled pattern: capacity}): messages that a channel holds
    - mailbox_bytes (16 MiB), message_limit (as mailbox_bytes): bytes that a channel holds, and bytes of one message
    - expiry (60), group_expiry (86400): seconds
    - overflow ("drop-oldest"): what a full channel does to a group message; also "drop-newest", "latest" (of each
      message["key"]), "close"; or {glob of group names: policy}
    - serializer_format ("msgpack", or "json"), prefix, hosts, symmetric_encryption_keys: as channels_redis has them
    - bus ("auto"): the one bus now is "local", which has no hosts and encrypts nothing, as nothing leaves the process

    send() raises ChannelFull; send() and group_send() raise MessageTooLarge, and TypeError for what cannot be sent.
    """

    extensions = ["groups", "flush"]

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[Any, int] | None = None,
        symmetric_encryption_keys: list[str | bytes] | None = None,
        serializer_format: str = "msgpack",
        bus: str = "auto",
        overflow: str | Mapping[Any, str] = "drop-oldest",
        mailbox_bytes: int = 16 * MIB,
        message_limit: int | None = None,
    ) -> None:
        layer_config.check_bus(bus, hosts)
        layer_config.keys(symmetric_encryption_keys)
        self.prefix = layer_config.prefix(prefix)
        self.expiry = layer_config.seconds("expiry", expiry)
        self.group_expiry = layer_config.seconds("group_expiry", group_expiry)
        self.capacity = layer_config.whole("capacity", capacity)
        self._capacities = layer_config.capacities(channel_capacity, self.capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self._overflow = layer_config.overflow(overflow)
        self._serializer = serializer(serializer_format)
        self._core = Layer(
            expiry=self.expiry,
            group_expiry=self.group_expiry,
            message_limit=layer_config.whole("message_limit", message_limit or 0, least=0),
            mailbox_bytes=layer_config.whole("mailbox_bytes", mailbox_bytes),
        )
        self.client_prefix = uuid.uuid4().hex
        self._swept = time.monotonic()
        counters.layers.add(self, self._core)

    def get_capacity(self, channel: str) -> int:
        """The capacity of the first pattern of channel_capacity that matches, or `capacity`."""
        return self._capacities.of(channel)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Puts message into channel; one that is gone takes it without a word. ChannelFull where there is no room."""
        _check_channel(self, channel)
        payload = self._encode(message)
        self._sweep()
        result = self._core.send(channel, self._capacities.of(channel), payload)
        if result == "full":
            raise ChannelFull()
        if result == "too-large":
            raise MessageTooLarge(f"{len(payload)} bytes; message_limit and mailbox_bytes limit a message")

    async def receive(self, channel: str) -> Any:
        """The next message of channel. Of several that wait for it, one gets it."""
        _check_channel(self, channel)
        self._sweep()
        return await self._core.receive(channel, self._capacities.of(channel), self._serializer.decode)

    async def new_channel(self, prefix: str = "specific") -> str:
        """A new channel of this process. It belongs to the connection whose application runs here, if one does."""
        channel = f"{prefix}.{self.client_prefix}!{uuid.uuid4().hex}"
        _check_channel(self, channel)
        if not self._core.new_channel(channel, self._capacities.of(channel)):
            logger.debug("Channel %s was made after its application had ended: it gets no message", channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        """Joins, or renews group_expiry. After the end of the channel's connection it changes nothing."""
        _check_group(self, group)
        _check_channel(self, channel)
        self._sweep()
        result = self._core.group_add(group, channel, self._capacities.of(channel), self._overflow.of(group))
        if result != "ok":
            logger.debug("group_add(%r, %r) came after the end of the channel's connection: nothing was changed", group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leaves; not being a member is no error."""
        _check_group(self, group)
        _check_channel(self, channel)
        self._core.group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Puts message into every channel of group; at a full one the group's overflow policy decides. No ChannelFull."""
        _check_group(self, group)
        payload = self._encode(message)
        self._sweep()
        key = message.get("key") if self._overflow.of(group) == "latest" else None
        result = self._core.group_send(group, payload, None if key is None else self._serializer.encode(key))
        if result == "too-large":
            raise MessageTooLarge(f"{len(payload)} bytes; message_limit and mailbox_bytes limit a message")

    async def flush(self) -> None:
        """Empties every channel and every group."""
        self._core.flush()

    def groups(self) -> dict[str, dict[str, int]]:
        """For each group: `members`, `messages` sent to it, `dropped` of them."""
        return self._core.groups()

    def _encode(self, message: dict[str, Any]) -> bytes:
        if not isinstance(message, dict):
            raise TypeError(f"a channel message is a dict, not a {type(message).__name__}")
        return self._serializer.encode(message)

    def _sweep(self) -> None:
        """Now and then, on whoever calls: what has expired goes even where no Peneus server runs."""
        now = time.monotonic()
        if now - self._swept >= SWEEP_TIME:
            self._swept = now
            self._core.sweep()
