"""The native core: asgi/ in C, over server/ and channellayer/.

Everything here is internal to the package; people use `peneus.Server`, `peneus.ChannelLayer` and `peneus.stats`.
Times are in seconds (float) unless a name says otherwise; sizes are in bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypedDict, final

class Connection(Protocol):
    """What the callbacks of `Server` are told about one exchange (one HTTP request, or one WebSocket)."""

    @property
    def scope(self) -> dict[str, Any]: ...
    @property
    def task(self) -> asyncio.Task[None]: ...
    @property
    def protocol(self) -> str:
        """`"http"` or `"websocket"`."""
    @property
    def state(self) -> str:
        """The state of the exchange's state machine, by name, for messages."""
    @property
    def status(self) -> int:
        """Status of the response: the application's or the server's own; 0 before there is one."""
    @property
    def sent(self) -> int:
        """Bytes of response body that the application has sent."""
    @property
    def started(self) -> float:
        """`time.monotonic()` at which the application was called."""
    @property
    def told(self) -> bool:
        """Whether `receive()` has given the disconnect."""
    @property
    def stood_still(self) -> float:
        """Seconds that the event loop has stood still since the disconnect came."""
    @property
    def owner(self) -> int:
        """Id of its owner in the channel layer (channellayer/owner.h)."""
    def report(self) -> OwnerReport | None:
        """What it holds or held in the channel layers, or None where its owner has ended."""

class OwnerReport(TypedDict):
    channels: int
    groups: int
    group_names: list[str]
    queued: int
    queued_bytes: int
    dropped: int

class ClientGone(ConnectionResetError):
    """`send()` after the client has left. Source: ASGI specification, HTTP & WebSocket 2.4."""

current_connection: ContextVar[Connection | None]
"""The exchange whose application runs in this context; None where none does. Owns the channels that `Layer.new_channel` makes."""

@final
class Server:
    """Listeners, the I/O thread, and the applications of its connections on one event loop.

    `settings` has every field of `struct server_settings` (server/settings.h) under its own name, times in whole
    milliseconds as there; its strings are `str | None`.

    Callbacks run on the loop's thread. An exception out of one goes to `loop.call_exception_handler`.

    - `on_access(connection, action, details)`: None where there is no access log. action is `"complete"` for HTTP and
      `"connecting"`, `"connected"`, `"rejected"`, `"disconnected"` for WebSockets; details is a dict with
      `path` (str, with the query), `client` (`"host:port"`, or None for a Unix socket) and, for `"complete"`, `status`,
      `method`, `time_taken` (s), `size`.
    - `on_error(connection, error)`: the application raised error (not CancelledError after a kill).
    - `on_fault(connection, sentence)`: something to log as an error about one exchange (response framing, an application
      that ended without a response).
    - `on_kill(connection)`: application_close_timeout has passed; called before the task is cancelled and its owner ended.
    - `on_drained()`, `on_stopped()`: after `shutdown` and `stop`.
    - `prepare_scope(scope)`: None, or a function that may change a scope before the application gets it (proxy headers).
    - `offers_files`: scopes of HTTP have the extensions that send files (`--pathsend`).
    - `on_refused(details, reason)`: None, or what is told of a request that the server has answered by itself (400, 431 …),
      or reset, before any application heard of it: details as for `"complete"` of on_access; method and path are `""`, or cut
      off, where they were not read. reason: a sentence, or None where the status says enough.
    - `on_closed(connection, (cause, code, status))`: None, or what is told of an exchange that the server ends although its
      client is there: cause is a key of `closes.CAUSES`; the close code of a WebSocket, the status that was answered, or 0.
    - `on_malformed(scope)`: None, or what is told of a request of which a trusted proxy said something malformed.
    """

    def __init__(
        self,
        application: Callable[..., Awaitable[None]],
        *,
        settings: Mapping[str, Any],
        root_path: str = "",
        state: dict[str, Any] | None = None,
        on_access: Callable[[Connection, str, dict[str, Any]], None] | None = None,
        on_error: Callable[[Connection, BaseException], None],
        on_fault: Callable[[Connection, str], None],
        on_kill: Callable[[Connection], None],
        on_drained: Callable[[], None],
        on_stopped: Callable[[], None],
        prepare_scope: Callable[[dict[str, Any]], None] | None = None,
        on_malformed: Callable[[dict[str, Any]], None] | None = None,
        offers_files: bool = False,
        on_refused: Callable[[dict[str, Any], str | None], None] | None = None,
        on_closed: Callable[[Connection, tuple[str, int, int]], None] | None = None,
    ) -> None: ...
    def listen_tcp(self, host: str, port: int, tls: TLS | None = None) -> None:
        """Raises OSError with a sentence that names the address and the cause. So do the next two."""
    def listen_unix(self, path: str, mode: int = -1, tls: TLS | None = None) -> None: ...
    def listen_fd(self, fd: int, tls: TLS | None = None) -> None:
        """Takes fd over; a duplicate of it is the caller's to make."""
    def join_crew(self, fd: int, place: int) -> None:
        """Shares the listening sockets with other processes, at place (server/crew.h) in the memory that fd is. OSError."""
    @property
    def addresses(self) -> list[tuple[str, int] | str]:
        """(host, port) for TCP, the path for a Unix socket, in the order of the listeners."""
    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the I/O thread; applications run on loop, which must be running or about to. Call on loop's thread."""
    def beat(self, interval: float) -> None:
        """On the loop's thread: the loop runs, and will beat again in interval seconds unless something blocks it. After twice
        that time without a beat, time no longer counts against applications that have to end."""
    def retire(self) -> None:
        """Any thread: stops listening, and serves as before those who have been taken; `shutdown()` follows."""
    def shutdown(self, code: int) -> None:
        """Any thread: stops listening, closes WebSockets with code, lets requests end; then `on_drained()`."""
    def cancel_applications(self) -> int:
        """Cancels every running application (after the graceful timeout); returns how many."""
    def end_streams(self) -> None:
        """On the loop's thread, when draining begins: receive() gives http.disconnect to applications that stream a response
        without Content-Length, now and later."""
    def connections(self) -> list[Connection]:
        """Every exchange whose application has not ended."""
    def stop(self) -> None:
        """Any thread: closes every connection now; then `on_stopped()`."""
    def close(self) -> None:
        """After `on_stopped()`, or instead of `start()`: frees the server. Twice does nothing."""
    def stats(self) -> dict[str, int]:
        """Every field of `struct server_stats`, by name; and `applications` and `applications_killed_total`."""

@final
class TLS:
    """What listeners encrypt with (server/tls_context.h). Each certificate is a tuple of the paths of its file, of its key
    (None: in the same file) and of more of its chain, and the key's password. `verify`: clients show certificates not at all
    (0), if they like (1), always (2). `minimum_version` and `alpn` are as TLS writes them; `ticket_keys`: 80 bytes
    (server/tls_tickets.h), the same in processes that resume each other's sessions; reload() ends them. Raises
    ValueError(what, sentence), what being one of certificate, key, password, chain, ca, ciphers, version, dh."""

    def __init__(
        self,
        certificates: tuple[tuple[str, str | None, str | None, str | None], ...],
        *,
        ca_file: str | None = None,
        ca_directory: str | None = None,
        verify: int = 0,
        ciphers: str | None = None,
        minimum_version: int = 0,
        dh_parameters: str | None = None,
        alpn: bytes = b"",
        ticket_keys: bytes | None = None,
    ) -> None: ...
    def reload(self) -> None:
        """Reads the files again, for who comes from now on. ValueError as above: then nothing changes."""

@final
class Inbox:
    """`await inbox`, again and again: the next event of connection or message of channel, whichever came first (asgi/inbox.h)."""

    def __init__(
        self, layer: Layer, connection: Connection, channel: str, capacity: int, decode: Callable[[memoryview], Any]
    ) -> None: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...

@final
class Hub:
    """The hub of the processes of one machine (channellayer/bus/hub_server.h). Raises OSError where path cannot be had."""

    def __init__(self, path: str) -> None: ...
    def close(self) -> None:
        """Ends it; its socket is gone when this returns. Twice does nothing."""
    def stats(self) -> dict[str, int]:
        """`members` and `groups`; `published`, `forwarded`, `dropped` and `refused` so far."""

@final
class Layer:
    """One native channel layer (channellayer/layer.h). Any thread, any event loop.

    Names are checked by the caller. Payloads are encoded messages. Raises MemoryError where there is no memory.
    """

    def __init__(
        self,
        *,
        expiry: float,
        group_expiry: float,
        message_limit: int,
        mailbox_bytes: int,
        bus: Mapping[str, Any] | None = None,
        json: bool = False,
    ) -> None:
        """bus: None for this process alone, or what bus_config.py makes. json: messages are JSON; a bus's dict says it too."""
    def new_channel(self, channel: str, capacity: int, gaps: bool = False) -> bool:
        """gaps: it gets a `channel.layer.gap` message when the bus may have lost messages of its groups.
        Makes channel for `current_connection`, or for nobody. False where its owner has ended: nothing is stored."""
    def send(self, channel: str, capacity: int, payload: bytes) -> str:
        """`"ok"`, `"full"`, `"too-large"`, `"unknown"` or `"unsent"` (layer_send)."""
    def receive(
        self,
        channel: str,
        capacity: int,
        decode: Callable[[memoryview], Any],
        never: Callable[[str], object] | None = None,
    ) -> Awaitable[Any]:
        """Awaits the next message of channel, decoded. A message is taken only when the awaiting task gets it. never(channel) is
        called soon when the channel has ended while it is awaited, or before: it waits for ever."""
    def group_add(self, group: str, channel: str, capacity: int, overflow: str) -> str:
        """`"ok"`, `"closed"` (its owner's connection has ended: nothing was changed) or `"unknown"`."""
    def group_discard(self, group: str, channel: str) -> None: ...
    def group_send(self, group: str, payload: bytes, key: bytes | None) -> str:
        """`"ok"`, `"too-large"` or `"unsent"` (the bus cannot send it)."""
    def group_channels(self, group: str) -> Awaitable[list[str] | str | None]:
        """Awaits the names of the channels in group, in all processes; None where the others cannot be asked; a str where they
        have not all answered: the reason."""
    def members(self, group: str) -> list[str]:
        """The names of the channels in group, in this process."""
    def has(self, channel: str) -> bool:
        """Whether channel is in this process."""
    def settled(
        self, wait: float, name: str | None = None, is_group: bool = False, joined: bool = False
    ) -> Awaitable[bool | str | None]:
        """Awaits, at most wait seconds, that the bus has confirmed what was asked of it before: for the group or channel name,
        or everything. joined: it is a join, or a new channel, and is not waited for where the other side is known to be away.
        False where some of it has failed or is late; a str where the other side has refused it: the reason; None where the
        `send()` just before found the channel full elsewhere."""
    def abandon(self) -> None:
        """In the child of a fork: it is never freed, as threads that are not here may hold its locks."""
    def flush(self) -> None: ...
    def sweep(self) -> None: ...
    def trouble(self) -> str:
        """Why the bus is not connected, or refused something, for people; empty where all is well."""
    def stats(self) -> dict[str, int]:
        """Every field of `struct layer_stats`; `dropped` as `dropped_oldest`, `dropped_newest`, `dropped_latest` and
        `dropped_close`."""
    def groups(self) -> dict[str, dict[str, int]]:
        """For each group: `members`, `messages`, `dropped`, and what its members have `queued` and `queued_bytes`."""
    def channels(self) -> dict[str, dict[str, Any]]:
        """For each channel: `owner` (int, or None), `groups` (at most 64 names), `queued`, `queued_bytes`, `dropped`."""
