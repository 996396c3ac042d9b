"""`manage.py runserver` with Peneus: options, output, autoreload and static files as Daphne's."""

import datetime
import importlib
import logging
from typing import Any

from django.apps import apps  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.core.management import CommandError  # type: ignore[import-untyped]
from django.core.management.commands import runserver  # type: ignore[import-untyped]

from peneus import endpoints, logs
from peneus.errors import ConfigurationError
from peneus.printable import printable
from peneus.server import Server
from peneus.version import installed_version

# Where Django's own and Daphne's runserver log, so that LOGGING settings go on working.
logger = logging.getLogger("django.channels.server")

MIB = 1024 * 1024
WEBSOCKET_LINES = {
    "connecting": "WebSocket HANDSHAKING %(path)s [%(client)s]",
    "connected": "WebSocket CONNECT %(path)s [%(client)s]",
    "rejected": "WebSocket REJECT %(path)s [%(client)s]",
    "disconnected": "WebSocket DISCONNECT %(path)s [%(client)s]",
}


class Command(runserver.Command):  # type: ignore[misc]
    protocol = "http"
    server_cls: Any = Server

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--noasgi", action="store_false", dest="use_asgi", default=True, help="Run Django's own WSGI server instead."
        )
        parser.add_argument(
            "--http_timeout", type=int, default=None, help="Seconds to the end of a response (default: no timeout)."
        )
        parser.add_argument(
            "--websocket_handshake_timeout", type=int, default=5, help="Seconds to accept or reject a WebSocket (default: 5)."
        )
        for what in ("message", "frame"):
            parser.add_argument(
                f"--websocket-max-{what}-size",
                type=int,
                default=None,
                help=f"Maximum bytes of a WebSocket {what} from a client; 0 is no limit (default: 1 MiB).",
            )
        if apps.is_installed("django.contrib.staticfiles"):
            parser.add_argument(
                "--nostatic", action="store_false", dest="use_static_handler", help="Do not serve static files at STATIC_URL."
            )
            parser.add_argument(
                "--insecure", action="store_true", dest="insecure_serving", help="Serve static files even if DEBUG is False."
            )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["use_asgi"] and not getattr(settings, "ASGI_APPLICATION", None):
            raise CommandError("You have not set ASGI_APPLICATION, which is needed to run the server.")
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        if not options.get("use_asgi", True):
            if hasattr(runserver.Command, "server_cls"):
                self.server_cls = runserver.Command.server_cls
            super().inner_run(*args, **options)
            return
        self.stdout.write("Performing system checks...\n\n")
        self.check(display_num_errors=True)
        self.check_migrations()
        self.stdout.write(self._greeting())
        try:
            server = self._server(options)
            server.answers = True  # to `peneus channels`
            logs.keep(logger.name)
            server.prompt = True
            server.run()
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            if message := options.get("shutdown_message", ""):
                self.stdout.write(message)

    def get_application(self, options: dict[str, Any]) -> Any:
        """The project's application, with static files where they are to be served."""
        if _serves_static(options):
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # type: ignore[import-untyped]

            return ASGIStaticFilesHandler(default_application())
        return default_application()

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """The same for --noasgi. The runserver of staticfiles would do it, but only the first of INSTALLED_APPS is asked."""
        handler = super().get_handler(*args, **options)
        if _serves_static(options):
            from django.contrib.staticfiles.handlers import StaticFilesHandler

            return StaticFilesHandler(handler)
        return handler

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """The console's line for a request, in Django's colours."""
        details = {**details, "path": printable(details["path"]), "client": printable(details["client"])}
        if protocol == "http" and action == "complete":
            line = "HTTP %(method)s %(path)s %(status)s [%(time_taken).2f, %(client)s]"
            level, style = self._manner(details["status"])
            logger.log(level, style(line), details)
        elif protocol == "websocket" and action in WEBSOCKET_LINES:
            logger.info(WEBSOCKET_LINES[action], details)

    def _manner(self, status: int) -> tuple[int, Any]:
        if status == 304:
            return logging.INFO, self.style.HTTP_NOT_MODIFIED
        if status == 404:
            return logging.WARNING, self.style.HTTP_NOT_FOUND
        by_class = {
            1: (logging.INFO, self.style.HTTP_INFO),
            2: (logging.INFO, self.style.HTTP_SUCCESS),
            3: (logging.INFO, self.style.HTTP_REDIRECT),
            4: (logging.WARNING, self.style.HTTP_BAD_REQUEST),
        }
        return by_class.get(status // 100, (logging.ERROR, self.style.HTTP_SERVER_ERROR))

    def _greeting(self) -> str:
        address = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        return (
            f"{datetime.datetime.now().strftime('%B %d, %Y - %X')}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting ASGI/Peneus version {installed_version()} development server at {self.protocol}://{address}:{self.port}/\n"
            "Quit the server with CONTROL-C.\n"
        )

    def _server(self, options: dict[str, Any]) -> Any:
        return self.server_cls(
            self.get_application(options),
            endpoints=endpoints.describe(host=self.addr, port=int(self.port)),
            # Under the autoreloader this is not the main thread, which handles signals itself.
            signal_handlers=not options["use_reloader"],
            action_logger=self.log_action,
            http_timeout=options.get("http_timeout"),
            root_path=getattr(settings, "FORCE_SCRIPT_NAME", "") or "",
            websocket_handshake_timeout=options.get("websocket_handshake_timeout", 5),
            websocket_max_message_size=_size(options, "MESSAGE"),
            websocket_max_frame_size=_size(options, "FRAME"),
            graceful_timeout=2,  # of the application's own shutdown; requests get less, as Server.prompt says
        )


def _serves_static(options: dict[str, Any]) -> bool:
    wanted = options.get("use_static_handler", apps.is_installed("django.contrib.staticfiles"))
    return bool(wanted and (settings.DEBUG or options.get("insecure_serving", False)))


def _size(options: dict[str, Any], what: str) -> int:
    """From the command line, or the setting PENEUS_…, or Daphne's."""
    name = f"WEBSOCKET_MAX_{what}_SIZE"
    given: Any = options.get(name.lower())
    if given is None:
        given = getattr(settings, f"PENEUS_{name}", getattr(settings, f"DAPHNE_{name}", MIB))
    return int(given)


def default_application() -> Any:
    """What the setting ASGI_APPLICATION names."""
    try:
        path, name = settings.ASGI_APPLICATION.rsplit(".", 1)
    except (ValueError, AttributeError):
        raise ImproperlyConfigured(
            f"ASGI_APPLICATION is {settings.ASGI_APPLICATION!r}; write it as 'mysite.asgi.application'."
        ) from None
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise ImproperlyConfigured(f"Cannot import ASGI_APPLICATION module {path!r}: {error}") from None
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImproperlyConfigured(f"Cannot find {name!r} in ASGI_APPLICATION module {path}") from None
