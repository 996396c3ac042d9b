"""`peneus.Server`: one application, its listeners and its event loop, from start to end."""

import asyncio
import faulthandler
import gc
import logging
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from . import (
    access,
    bus_log,
    closes,
    consumers,
    counters,
    endpoints,
    hubs,
    imports,
    kill,
    layer_backends,
    limit_log,
    logs,
    loops,
    proxy,
    signals,
    sockets,
    tls,
)
from . import settings as settings_module
from ._core import Connection
from ._core import Server as Core
from .desk import DeskThread
from .errors import ListenError
from .gone import client_left
from .lifespan import Lifespan
from .loop_watch import LoopWatch
from .printable import printable
from .words import counted

logger = logging.getLogger(__name__)

ActionLogger = Callable[[str, str, dict[str, Any]], None]

GOING_AWAY = 1001
CANCEL_TIME = 1.0  # s that cancelled applications get to end
PROMPT_TIME = 0.5  # s that applications get instead of graceful_timeout where somebody waits for the prompt
POLL = 0.02  # s between two looks at whether applications have ended
STUCK_TIME = 2.0  # s after a second signal in which the process must have ended by itself
SWEEP_TIME = 1.0  # s between two sweeps of the channel layers, and tries to host a hub


class Server:
    """Serves application, an ASGI callable or the path of one (`module:attribute`).

    settings are those of docs/options.md by their keywords, and those of `daphne.server.Server` (`websocket_handshake_timeout`,
    `proxy_forwarded_*_header`). action_logger(protocol, action, details) is called for each line of the access log; without it
    `access_log` says where that goes. ready_callable() is called, on the loop's thread, when connections are answered.
    SettingError where a setting is wrong.
    """

    def __init__(
        self,
        application: Any,
        endpoints: list[str] | None = None,
        signal_handlers: bool = True,
        action_logger: ActionLogger | None = None,
        *,
        ready_callable: Callable[[], object] | None = None,
        **settings: Any,
    ) -> None:
        self.settings = settings_module.from_keywords({"endpoints": endpoints or [], **settings})
        settings_module.refuse_workers(self.settings)
        if isinstance(application, str):
            application = imports.import_application(application)
        self.application = imports.single_callable(application, repr(application))
        self.endpoints = self.settings.endpoint_strings()
        self.signal_handlers = signal_handlers
        self.action_logger = action_logger or access.make(self.settings.access_log, 0, self.settings.log_format)
        self.ready_callable = ready_callable
        self.owns_process = False  # it may end the process when an application does not let it stop
        self.answers = False  # it has a control socket, for `peneus channels`
        self.crew: tuple[int, int] | None = None  # of a worker: file descriptor and place of `join_crew()`
        self.ticket_keys: bytes | None = None  # of a worker: those of TLS sessions, which its supervisor gives to all
        self.supervised = False  # a worker's: its supervisor says where it listens, and hosts hubs
        self.prompt = False  # it is for development: a stop ends applications after PROMPT_TIME
        self.hurried = False  # it has stopped without waiting for all applications
        self._loop: asyncio.AbstractEventLoop | None = None
        self._core: Core | None = None
        self._addresses: list[tuple[str, int] | str] = []
        self._tls: tls.Contexts | None = None
        self._watch: LoopWatch | None = None
        self._serving = False
        self._stops: list[int] = []  # the close codes of the calls of stop()
        self._changed = asyncio.Event()  # something that _wait() may wait for has happened

    @property
    def listening_addresses(self) -> list[tuple[str, int] | str]:
        """(host, port) of each TCP listener, the path of each Unix socket; empty before it listens."""
        return list(self._addresses)

    def run(self) -> None:
        """Serves until stop() or a signal. ListenError, StartupFailed, or what ready_callable raised. Once for each Server."""
        if self._loop is not None:
            raise RuntimeError("a Server runs once; make another")
        settings_module.check_descriptors()
        self._loop = loop = loops.new_event_loop(self.settings.loop)
        asyncio.set_event_loop(loop)
        if self.settings.verbosity >= 3:
            loop.set_debug(True)
        try:
            # Without TLS SIGHUP ends a process as ever; in a worker it is the supervisor's.
            reload = self.reload_tls if self._has_tls() and not self.supervised else None
            handlers = signals.handled(loop, self._on_signal, self.reopen_logs, reload)
            with handlers if self.signal_handlers else nullcontext():
                loop.run_until_complete(self._main())
        finally:
            self._core = None
            self._end_loop(loop)

    def stop(self, code: int = GOING_AWAY) -> None:
        """Any thread, and twice: closes the listeners and the WebSockets (with code), waits for applications as long as
        graceful_timeout says, then ends. The second call ends at once."""
        self._stops.append(code)
        core, loop = self._core, self._loop
        if core is not None and self._serving:
            if len(self._stops) == 1:
                core.shutdown(code)
            else:
                core.stop()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._changed.set)

    def retire(self) -> None:
        """Any thread: closes the listeners, where others listen on, and serves who has been taken; stop() follows."""
        core = self._core
        if core is not None and self._serving:
            core.retire()

    def reload_tls(self) -> None:
        """Any thread: reads certificates and keys again, for clients that come from now on; who is there notices nothing. Files
        that cannot be used change nothing, and the log says why."""
        contexts, loop = self._tls, self._loop
        if contexts is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(contexts.reload)

    def reopen_logs(self) -> None:
        """Any thread: goes on with the access log in a new file at its path, after somebody has renamed the old one."""
        log, loop = self.action_logger, self._loop
        if isinstance(log, access.AccessLog) and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(log.reopen)

    def _is_stuck(self) -> bool:
        return self._watch is not None and self._watch.is_stuck

    def _has_tls(self) -> bool:
        return any(isinstance(endpoints.parse(string), endpoints.SSL) for string in self.endpoints)

    def _on_signal(self, code: int) -> None:
        self.stop(code)
        if self.owns_process and len(self._stops) > 1:
            # A watchdog in C: it ends the process, and says where it was, even if an application blocks the loop.
            faulthandler.dump_traceback_later(STUCK_TIME, exit=True, file=sys.__stderr__ or 2)

    async def _main(self) -> None:
        logs.keep()  # the application has been imported
        layer_backends.check()
        state: dict[str, Any] = {}
        core = self._make_core(state)
        desk: DeskThread | None = None
        try:
            self._listen(core)
            if self.crew is not None:
                core.join_crew(*self.crew)
            if self.settings.metrics is not None or self.answers:
                desk = DeskThread(self.settings.metrics, self.answers, self._is_stuck)
                desk.start()
            lifespan = Lifespan(self.application, state)
            starting = asyncio.ensure_future(lifespan.startup())
            starting.add_done_callback(lambda done: self._changed.set())
            await self._wait(starting.done)
            if not starting.done():
                starting.cancel()
                return
            starting.result()
            try:
                await self._serve(core)
            finally:
                await lifespan.shutdown(0 if len(self._stops) > 1 else self.settings.graceful_timeout)
        finally:
            if desk is not None:
                desk.close()
            core.close()

    async def _serve(self, core: Core) -> None:
        logs.keep()  # its startup has run
        consumers.install(not self.settings.no_consumer_inbox, not self.settings.no_database_shortcut)
        if self.owns_process or self.supervised:
            # What is imported by now lives as long as the process: the garbage collector need not look at it again. In somebody
            # else's process, what happens to live now may become garbage later.
            gc.collect()
            gc.freeze()
        self._stopped = False
        self._drained = False
        counted = counters.servers.add(self, core)
        hosting = hubs.Hosting()
        if not self.supervised:
            hubs.listen(hosting.add)
        sweeper = asyncio.ensure_future(_sweep(hosting))
        core.start(asyncio.get_running_loop())
        self._core = core
        self._serving = True
        try:
            # A worker's supervisor watches it too, and writes the log.
            timeout = None if self.supervised else self.settings.worker_timeout
            self._watch = LoopWatch(core, self.settings.application_close_timeout, timeout)
            if self._stops:  # it came before _serving was set
                core.shutdown(self._stops[0])
            if not self.supervised:
                announce(self._addresses)
            if self.ready_callable is not None:
                self.ready_callable()
            await self._wait(lambda: False)
            await self._drain(core)
        finally:
            core.stop()
            while not self._stopped:
                self._changed.clear()
                await self._changed.wait()
            self._serving = False
            if self._watch is not None:
                self._watch.close()
            sweeper.cancel()
            hubs.ignore(hosting.add)
            hosting.close()
            counted()

    async def _wait(self, reached: Callable[[], bool]) -> None:
        """Until reached(), or stop() has been called."""
        while not self._stops and not reached():
            self._changed.clear()
            if not self._stops and not reached():
                await self._changed.wait()

    async def _drain(self, core: Core) -> None:
        """Waits for the applications; cancels those that graceful_timeout is too short for. At once after a second stop()."""
        core.end_streams()
        running = len(core.connections())
        timeout = self.settings.graceful_timeout
        if self.prompt:
            timeout = min(timeout, PROMPT_TIME)
        applications, (verb, pronoun) = counted(running, "application"), ("runs", "it") if running == 1 else ("run", "them")
        waiting = (waits_for(applications, pronoun, timeout) if running > 0 else "") or f"; {applications} {verb}"
        logger.info("Stopping: WebSockets are closed with %d%s", self._stops[0], waiting)
        if not await self._ended(core, timeout):
            self.hurried = True
            cancelled = core.cancel_applications()
            logger.warning("Cancelled %s that had not ended", counted(cancelled, "application"))
            if len(self._stops) == 1:
                await self._ended(core, CANCEL_TIME)

    async def _ended(self, core: Core, timeout: float) -> bool:
        """Whether every connection and application has ended within timeout seconds, and before a second stop()."""
        deadline = time.monotonic() + timeout
        while core.connections() or not self._drained:
            if time.monotonic() >= deadline or len(self._stops) > 1:
                return False
            await asyncio.sleep(POLL)
        return True

    def _make_core(self, state: dict[str, Any]) -> Core:
        settings, action_logger = self.settings, self.action_logger
        return Core(
            self._called(),
            settings=settings.native(),
            root_path=settings.root_path or "",
            state=state,
            on_access=_logging_with(action_logger) if action_logger is not None else None,
            on_error=_on_error,
            on_fault=_on_fault,
            on_kill=self._on_kill,
            on_drained=self._on_drained,
            on_stopped=self._on_stopped,
            prepare_scope=None
            if settings.trusted_proxies
            else proxy.scope_hook(settings.proxy_address_header, settings.proxy_port_header, settings.proxy_proto_header),
            offers_files=self.settings.pathsend,
            on_refused=_refusing_with(action_logger),
            on_closed=_on_closed,
            on_malformed=_on_malformed if logger.isEnabledFor(logging.DEBUG) else None,
        )

    def _on_kill(self, connection: Connection) -> None:
        kill.report_kill(connection, self._watch.place if self._watch is not None else "")

    def _called(self) -> Any:
        """The application, as connections call it."""
        if not self.settings.thread_per_connection:
            return self.application
        from .own_thread import in_own_thread

        return in_own_thread(self.application)

    def _listen(self, core: Core) -> None:
        self._tls = contexts = tls.Contexts(self.settings, self.ticket_keys)
        for string in self.endpoints:
            if not self.supervised:
                logger.info("Configuring endpoint %s", string)
            try:
                endpoint = endpoints.parse(string)
                secure = contexts.of(endpoint, string) if isinstance(endpoint, endpoints.SSL) else None
                match endpoint.where if isinstance(endpoint, endpoints.SSL) else endpoint:
                    case endpoints.TCP(host, port):
                        core.listen_tcp(host, port, secure)
                    case endpoints.Unix(path, mode):
                        core.listen_unix(path, mode, secure)
                    case endpoints.FileDescriptor(number):
                        core.listen_fd(sockets.duplicate(number).detach(), secure)
            except OSError as error:
                raise ListenError(f"{string}: {error.strerror or error}") from error
        self._addresses = core.addresses

    def _on_drained(self) -> None:
        self._drained = True

    def _on_stopped(self) -> None:
        self._stopped = True
        self._changed.set()

    def _end_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels what still runs, and closes loop. Worker threads are not waited for."""
        try:
            if tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_TIME))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def run(application: Any, **settings: Any) -> None:
    """Serves application, an ASGI callable or its path, until SIGTERM or SIGINT, as the command `peneus` does: with its log, and
    its access log from verbosity 1 on. settings as of Server, and `workers` and `reload`, for which application must be a path:
    then WorkersFailed is raised where none of them can start."""
    checked = settings_module.from_keywords(settings)
    logs.configure(checked.verbosity, checked.log_fmt, checked.log_format)
    if checked.is_supervised:
        from .supervisor import Supervisor

        Supervisor(application, settings, checked).run()
        return
    server = make(application, settings, checked)
    server.answers = True
    server.run()


def make(application: Any, settings: dict[str, Any], checked: settings_module.Settings, **more: Any) -> Server:
    """A Server with its access log, announced in the log: what run(), the command line and LiveServer share. more are
    arguments of Server that are no settings."""
    action_logger = access_logger(checked)
    if isinstance(application, str):
        application = imports.import_application(application)
    logs.keep()
    logger.info("Starting server at %s", ", ".join(checked.endpoint_strings()))
    return Server(application, action_logger=action_logger, **more, **settings)


def access_logger(checked: settings_module.Settings) -> ActionLogger | None:
    """What writes the access log that the command line asks for, or says nothing of."""
    return access.make(checked.access_log, checked.verbosity, checked.log_format)


def announce(addresses: list[tuple[str, int] | str]) -> None:
    """Says in the log where a server listens that answers now."""
    for address in addresses:
        if isinstance(address, str):
            logger.info("Listening on Unix socket %s", address)
        else:
            host, port = address
            logger.info("Listening on TCP address %s:%d", f"[{host}]" if ":" in host else host, port)


def waits_for(whom: str, pronoun: str, timeout: float) -> str:
    """The end of the log line about stopping; empty where the wait is too short to be worth mentioning. timeout: seconds."""
    if timeout < 1:
        return ""
    return f"; {whom} may go on for up to {timeout:g} s; a second signal (CTRL-C) ends {pronoun} at once"


async def _sweep(hosting: hubs.Hosting) -> None:
    log, limits = bus_log.log, limit_log.LimitLog()
    while True:
        await asyncio.sleep(SWEEP_TIME)
        counters.sweep()
        log.look()
        limits.look()
        hosting.try_again()


def _logging_with(action_logger: ActionLogger) -> Callable[[Connection, str, dict[str, Any]], None]:
    return lambda connection, action, details: action_logger(connection.protocol, action, details)


def _refusing_with(action_logger: ActionLogger | None) -> Callable[[dict[str, Any], str | None], None] | None:
    """What logs a request that the server refuses; None where nobody would see it."""
    if action_logger is None and not logger.isEnabledFor(logging.DEBUG):
        return None

    def on_refused(details: dict[str, Any], reason: str | None) -> None:
        details["method"] = printable(details["method"]) or "-"
        details["path"] = details["path"] or "-"
        logger.debug("Refused a request from %s: %s", details["client"], closes.refusal(details["status"], reason))
        if action_logger is not None:
            action_logger("http", "complete", details)

    return on_refused


def _on_closed(connection: Connection, how: tuple[str, int, int]) -> None:
    scope, client = connection.scope, connection.scope.get("client")
    peer = f" from {client[0]}:{client[1]}" if client else ""
    name = f"{scope.get('method', 'WEBSOCKET')} {scope.get('path')}{peer}"
    logger.info("%s", printable(f"{name} {closes.sentence(*how)}"))


def _on_error(connection: Connection, error: BaseException) -> None:
    if client_left(error):
        logger.debug("The client has left, and with it ends its application: %s", printable(error), exc_info=error)
    else:
        logger.error("Exception inside application: %s", printable(str(error) or repr(error)), exc_info=error)


def _on_malformed(scope: dict[str, Any]) -> None:
    logger.debug("%s: ignored what is malformed in a proxy's headers", printable(scope.get("path")))


def _on_fault(connection: Connection, sentence: str) -> None:
    scope = connection.scope
    logger.error("%s", printable(f"{scope.get('method', 'WEBSOCKET')} {scope.get('path')}: {sentence}"))
