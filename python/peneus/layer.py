"""`peneus.ChannelLayer`: the Channels layer of this process, over the native one."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from channels.exceptions import ChannelFull, MessageTooLarge  # type: ignore[import-untyped]
from channels.layers import BaseChannelLayer  # type: ignore[import-untyped]

from . import bus_config, bus_log, counters, hubs, layer_config, layer_life, layer_names
from ._core import Connection, Inbox, Layer, current_connection
from .channel_names import ChannelNames
from .errors import BusUnavailable, ForeignChannel, SettingError
from .layer_config import MIB
from .origin import Origin, origin
from .printable import printable
from .seldom import Seldom
from .serializers import serializer

logger = logging.getLogger(__name__)
Value = TypeVar("Value")

SWEEP_TIME = 1.0  # s between two looks for what has expired
FIRST_PRUNE = 1024  # origins of channels, before the first look for those that are gone
# Seconds that a join or a new channel waits for its confirmation, and a message within a connection: less than the default of
# --websocket-connect-timeout.
JOIN_TIME = 3.0
SEND_TIME = 3.0
CONFIRM_TIME = 10.0  # s that it does elsewhere
OUTSIDE = "What outlives the connection that starts it does so within `with peneus.outside_connection():`"
# What subclasses of channels_redis's layers override, and ChannelLayer never calls. Each with what to write instead.
CONVERT = "override send() and group_send(), and convert the message before they pass it on"
CONNECT = "hosts and the other keys of CONFIG say how connections are made"
NEVER_CALLED = {
    "serialize": CONVERT,
    "deserialize": "override receive(), and convert what it returns",
    "create_pool": CONNECT,
    "connection": CONNECT,
    "consistent_hash": CONNECT,
}


class CalledBefore(dict[str, Value]):
    """The mapping that Channels has, where this layer used to have a method: a call returns what that method returned."""

    def __init__(self, items: Mapping[str, Value], called: Callable[[], dict[str, Any]]) -> None:
        super().__init__(items)
        self._called = called

    def __call__(self) -> dict[str, Any]:
        return self._called()


class ChannelLayer(BaseChannelLayer):  # type: ignore[misc]
    """The layer of the Channels specification; any thread, any event loop of the process, any ASGI server or none.

    A channel that is made while a connection's application runs belongs to the connection: its memberships end with the
    connection, its messages with the application. Keys of CONFIG, all optional:

    - capacity (100), channel_capacity ({glob or compiled pattern: capacity}): messages that a channel holds
    - mailbox_bytes (16 MiB), message_limit (as mailbox_bytes): bytes that a channel holds, and bytes of one message
    - expiry (60), group_expiry (86400): seconds
    - overflow ("drop-oldest", on bus "redis-core" "drop-newest"): what a full channel does to a group message; "latest" (of each
      message["key"]), "close"; or {glob of group names: policy}
    - serializer_format ("msgpack", or "json"), prefix, hosts, symmetric_encryption_keys, random_prefix_length,
      on_disconnect, on_reconnect: as channels_redis has them (redis_hosts: the forms of hosts)
    - bus ("auto"): "local", this process alone; "hub", the processes of this machine; "redis", the wire of
      channels_redis.pubsub; "redis-core", that of channels_redis.core. "auto" is "redis" where hosts is given, else "hub"
      where hub is, or the supervisor runs several workers, else "local"
    - hub: the path of the hub's socket
    - buffer_limit (16 MiB), buffer_time (10): bytes and seconds that publishes wait while the bus is not connected

    send() raises ChannelFull; send() and group_send() raise MessageTooLarge, TypeError for what cannot be sent, and
    BusUnavailable. Within a connection's application they return when the message is on its way; elsewhere (a management
    command, a task queue) when the bus has confirmed it.
    """

    extensions = ["groups", "flush"]

    def __init_subclass__(cls, **keywords: Any) -> None:
        """SettingError for a subclass with a method that would never be called."""
        super().__init_subclass__(**keywords)
        for name, instead in NEVER_CALLED.items():
            if hasattr(cls, name):
                raise SettingError(f"{cls.__qualname__}.{name}", f"peneus.ChannelLayer never calls it; {instead}")

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
        overflow: str | Mapping[Any, str] | None = None,
        mailbox_bytes: int = 16 * MIB,
        message_limit: int | None = None,
        hub: Any = None,
        on_disconnect: str | None = None,
        on_reconnect: str | None = None,
        buffer_limit: int = bus_config.BUFFER_LIMIT,
        buffer_time: float = bus_config.BUFFER_TIME,
        random_prefix_length: int = 12,
    ) -> None:
        self.prefix = layer_config.prefix(prefix)
        self.expiry = layer_config.seconds("expiry", expiry)
        self.group_expiry = layer_config.seconds("group_expiry", group_expiry)
        self.capacity = layer_config.whole("capacity", capacity)
        self._capacities = layer_config.capacities(channel_capacity, self.capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self._serializer = serializer(serializer_format)
        self._bus = bus_config.configure(
            bus,
            hosts=hosts,
            hub=hub,
            prefix=self.prefix,
            keys=symmetric_encryption_keys,
            serializer=self._serializer,
            json=serializer_format == "json",
            expiry=self.expiry,
            group_expiry=self.group_expiry,
            capacity=self.capacity,
            channel_capacity=channel_capacity,
            random_prefix_length=random_prefix_length,
            on_disconnect=on_disconnect,
            on_reconnect=on_reconnect,
            buffer_limit=buffer_limit,
            buffer_time=buffer_time,
        )
        self._overflow = layer_config.overflow(overflow, self._bus.kind)
        self._limits: dict[str, Any] = {
            "expiry": self.expiry,
            "group_expiry": self.group_expiry,
            "message_limit": layer_config.whole("message_limit", message_limit or 0, least=0),
            "mailbox_bytes": layer_config.whole("mailbox_bytes", mailbox_bytes),
            "json": serializer_format == "json",
        }
        if self._bus.kind == "hub":
            hubs.want(self._bus.where)
        self._check_channel, self._check_group = layer_names.checks(self._bus.kind)
        self._begin()
        self._start()
        layer_life.watch(self)

    def _begin(self) -> None:
        """Everything that belongs to one native layer."""
        native = self._bus.native
        self._starting = threading.Lock()
        self.client_prefix = native["client"] if native is not None and "client" in native else uuid.uuid4().hex
        self._origins: dict[str, Origin] = {}
        self._prune_at = FIRST_PRUNE
        self._swept = time.monotonic()
        self._used = False
        self._names = ChannelNames(self._bus.kind, self.prefix, self.client_prefix)
        self._late, self._deaf = Seldom(logger), Seldom(logger)

    def _start(self) -> None:
        """The native layer, which connects."""
        native = self._bus.native
        self._core = Layer(**self._limits) if native is None else Layer(**self._limits, bus=dict(native))
        self._end_counting = counters.layers.add(self, self._core)

    def __getattr__(self, name: str) -> Any:
        """In the child of a fork, the native layer is made when it is first used: most children never use it."""
        if name != "_core":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self._starting:
            if "_core" not in self.__dict__:
                self._start()
        return self._core

    @property
    def bus(self) -> str:
        """ "local", "hub", "redis" or "redis-core"."""
        return self._bus.kind

    @property
    def where(self) -> str:
        """What the bus reaches, for people."""
        return self._bus.where

    def trouble(self) -> str:
        """Why the other processes cannot be reached; "" where all is well. Cheap."""
        return self._core.trouble()

    def get_capacity(self, channel: str) -> int:
        """The capacity of the first pattern of channel_capacity that matches, or `capacity`."""
        return self._capacities.of(channel)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Puts message into channel; one that is gone takes it without a word. ChannelFull where there is no room."""
        self._check_channel(self, channel)
        payload = self._encode(message)
        self._sweep()
        result = self._core.send(channel, self._capacities.of(channel), payload)
        if result == "full":
            raise ChannelFull()
        self._accepted(result, payload)
        if channel not in self._origins and (self._bus.kind == "redis-core" or self._alone()):
            await self._confirmed(channel)  # one of this process's own has it already

    async def receive(self, channel: str) -> Any:
        """The next message of channel. Of several that wait for it, one gets it. ForeignChannel for another process's own."""
        self._check_channel(self, channel)
        if self._is_foreign(channel):
            raise ForeignChannel(f"{channel!r} belongs to another process, which alone receives from it")
        self._sweep()
        return await self._core.receive(channel, self._capacities.of(channel), self._serializer.decode, self._warn_of_deaf)

    def inbox(self, channel: str, connection: Connection) -> Inbox:
        """What a consumer awaits for each event of connection and message of channel; as receive() takes them."""
        return Inbox(self._core, connection, channel, self._capacities.of(channel), self._serializer.decode)

    async def new_channel(self, prefix: str = "specific") -> str:
        """A new channel of this process. It belongs to the connection whose application runs here, if one does."""
        channel = self._names.new(prefix)
        self._check_channel(self, channel)
        made_by = origin(self)
        if not self._core.new_channel(channel, self._capacities.of(channel), made_by.gaps):
            text = "Channel %s gets no messages: it was made%s when the connection that it would belong to had ended. " + OUTSIDE
            self._deaf.warning(text, printable(channel), made_by.at)
            return channel
        self._origins[channel] = made_by
        if len(self._origins) > self._prune_at:
            self._prune()
        if self._bus.kind == "redis":
            await self._joined(channel, False, "Channel %s is not subscribed to at %s yet", channel, self._bus.where)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        """Joins, or renews group_expiry. After the end of the channel's connection it changes nothing.

        When it returns, messages of other processes reach the channel too; where the bus cannot be reached, as soon as it can.
        BusUnavailable where Redis has refused it; it is tried again, until group_discard(). A channel of another process: on bus
        "redis-core" that process joins it, and ends the membership with the connection; on the others ForeignChannel is raised.
        """
        self._check_group(self, group)
        self._check_channel(self, channel)
        self._check_own(channel)
        self._sweep()
        result = self._core.group_add(group, channel, self._capacities.of(channel), self._overflow.of(group))
        if result != "ok":
            logger.debug("group_add(%r, %r) came after the end of the channel's connection: nothing was changed", group, channel)
        elif self._bus.remote:
            late = "Group %s is not joined at %s yet: %s waits for its messages"
            await self._joined(group, True, late, group, self._bus.where, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leaves; not being a member is no error. Another process's channel: as in group_add()."""
        self._check_group(self, group)
        self._check_channel(self, channel)
        self._check_own(channel)
        self._core.group_discard(group, channel)
        if self._alone():
            await self._joined(group, True, "Group %s is not left at %s yet by %s", group, self._bus.where, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Puts message into every channel of group; at a full one the group's overflow policy decides. No ChannelFull."""
        self._check_group(self, group)
        payload = self._encode(message)
        self._sweep()
        key = message.get("key") if self._overflow.of(group) == "latest" else None
        self._accepted(self._core.group_send(group, payload, None if key is None else self._serializer.encode(key)), payload)
        if self._alone():
            await self._confirmed(group, True)

    async def flush(self) -> None:
        """Empties every channel and every group; on bus "redis-core" everywhere."""
        self._core.flush()
        if self._bus.remote:
            await self._confirmed()

    async def close(self) -> None:
        """Does nothing: there is no connection of one event loop to close. Those of the process end with it, when what was sent
        has arrived."""

    async def close_pools(self) -> None:
        """Does nothing, as close()."""

    @property
    def groups(self) -> CalledBefore[set[str]]:
        """The channels of this process in each group. A copy."""
        self._core.sweep()
        members = {group: set(self._core.members(group)) for group in self._core.groups()}
        return CalledBefore({group: channels for group, channels in members.items() if channels}, self.group_details)

    def group_details(self) -> dict[str, dict[str, int]]:
        """For each group with members in this process: `members`, `messages` sent to it, `dropped` of them, and what its members
        have `queued` and `queued_bytes`."""
        return self._core.groups()

    @property
    def channels(self) -> CalledBefore[dict[str, Any]]:
        """For each channel of this process: `consumer` (its class, or the function that made it), `made_at` ("file:line"),
        `owner` (its connection's, or None), `groups`, and its messages: `queued`, `queued_bytes`, `dropped`. A copy, without
        those that are forgotten: they belong to nobody, are empty, in no group, and nobody waits on them."""
        self._core.sweep()
        found = self._core.channels()
        for name, channel in found.items():
            made_by = self._origins.get(name)
            channel["consumer"] = made_by.consumer if made_by is not None else None
            channel["made_at"] = made_by.made_at if made_by is not None else None
        return CalledBefore(found, lambda: found)

    async def group_channels(self, group: str) -> list[str]:
        """The channels in group, sorted, of every process; on bus "redis" of every process of Peneus, as Redis's pub/sub does not
        know who listens, and those of channels_redis are not asked. BusUnavailable where nobody can be asked, and on bus "hub"
        where one of the processes has not answered."""
        self._check_group(self, group)
        channels = await self._core.group_channels(group)
        if channels is None or isinstance(channels, str):
            raise BusUnavailable(f"{self._bus.where} has not said who is in group {group!r}. {channels or self._why()}")
        return sorted(channels)

    async def group_count(self, group: str) -> int:
        """How many channels are in group: of those that group_channels() finds."""
        return len(await self.group_channels(group))

    async def settled(self) -> bool | None:
        """Awaits that the other processes' side has confirmed what was asked of it before: False where some has failed."""
        self._used = False
        settled = await self._core.settled(CONFIRM_TIME)
        return settled if settled is None else settled is True

    @property
    def unsettled(self) -> bool:
        """Whether something may be on its way to other processes."""
        return self._used

    def begin_again(self) -> None:
        """In the child of a fork: another native layer from its first use on, without the parent's channels and connections."""
        core = self.__dict__.pop("_core", None)
        if core is not None:
            core.abandon()
        self._bus = bus_config.for_child(self._bus)
        self._begin()

    def _warn_of_deaf(self, channel: str) -> None:
        """channel has ended, and somebody awaits a message of it."""
        made_by = self._origins.get(channel)
        text = "receive() waits for ever: channel %s, made%s, has ended with the connection that it belonged to. " + OUTSIDE
        self._deaf.warning(text, printable(channel), made_by.at if made_by is not None else "")

    def _is_foreign(self, channel: str) -> bool:
        return channel not in self._origins and self._names.is_foreign(channel) and not self._core.has(channel)

    def _check_own(self, channel: str) -> None:
        if self._bus.kind != "redis-core" and self._is_foreign(channel):
            raise ForeignChannel(
                f"{channel!r} belongs to another process, which alone can change its groups on bus {self._bus.kind!r}: "
                "send it a message, and let its consumer do it"
            )

    def _encode(self, message: dict[str, Any]) -> bytes:
        if not isinstance(message, dict):
            raise TypeError(f"a channel message is a dict, not a {type(message).__name__}")
        return self._serializer.encode(message)

    def _accepted(self, result: str, payload: bytes) -> None:
        self._used = self._bus.remote
        if result == "too-large":
            raise MessageTooLarge(f"{len(payload)} bytes; message_limit and mailbox_bytes limit a message")
        if result == "unsent":
            raise BusUnavailable(
                f"{self._bus.where} takes no message: more than buffer_limit bytes wait to be sent. {self._why()}"
            )

    def _alone(self) -> bool:
        """Whether nobody but the caller keeps the message on its way: no connection's application runs here."""
        return self._bus.remote and current_connection.get(None) is None

    async def _confirmed(self, name: str | None = None, is_group: bool = False) -> None:
        """The message for name, or everything, has arrived; or the error that says why it has not."""
        settled = await self._core.settled(CONFIRM_TIME if self._alone() else SEND_TIME, name, is_group)
        if settled is None:
            raise ChannelFull()
        if isinstance(settled, str):
            raise BusUnavailable(f"{self._bus.where} has refused the message: {settled}")
        if not settled:
            raise BusUnavailable(f"{self._bus.where} has not confirmed the message. {self._why()}")

    async def _joined(self, name: str, is_group: bool, late: str, *words: str) -> None:
        """The other side knows of it. Where it is away that is done later, and late says so in the log."""
        self._used = True
        settled = await self._core.settled(JOIN_TIME, name, is_group, True)
        if isinstance(settled, str):
            raise BusUnavailable(f"{self._bus.where} has refused {'group' if is_group else 'channel'} {name!r}: {settled}")
        if not settled:
            self._late.warning(late, *map(printable, words))

    def _why(self) -> str:
        """What the bus says itself, or what to look at."""
        return self.trouble() or f"Is it running, and is CHANNEL_LAYERS' {'hub' if self._bus.kind == 'hub' else 'hosts'} right?"

    def _prune(self) -> None:
        """Forgets who made the channels that are gone."""
        alive = self._core.channels().keys()
        self._origins = {name: made_by for name, made_by in self._origins.items() if name in alive}
        self._prune_at = max(FIRST_PRUNE, 2 * len(self._origins))

    def _sweep(self) -> None:
        """Now and then, on whoever calls: what has expired goes even where no Peneus server runs."""
        now = time.monotonic()
        if now - self._swept >= SWEEP_TIME:
            self._swept = now
            self._core.sweep()
            bus_log.log.look_at(self)
