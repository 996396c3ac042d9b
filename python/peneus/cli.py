"""The command `peneus`: its arguments, from the table in options.py and from PENEUS_… variables, and its exit codes.

0: it served and was stopped; 1: it could not serve, or was stopped while something in it was stuck; 2: the command line is wrong;
130: interrupted before it served.
"""

import argparse
import logging
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from . import endpoints, environment, imports, init, logs, options, server, settings, signals
from .errors import ApplicationImportError, ConfigurationError, WorkersFailed
from .options import Option
from .parser import Parser
from .printable import printable
from .version import installed_version

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "channels":
        from . import channels_command

        return channels_command.main(arguments[1:])
    try:
        path, given = parse(arguments, os.environ)
        checked = settings.from_keywords(given)
    except ConfigurationError as error:
        print(f"peneus: error: {error}", file=sys.stderr)
        return 2
    logs.configure(checked.verbosity, checked.log_fmt, checked.log_format)
    for doubt in environment.doubts(os.environ):
        logger.warning("%s", printable(doubt))
    signals.spare()
    init.stand_in()
    if checked.is_supervised:
        return _supervise(path, given, checked)
    try:
        application = load(path)
    except NotLoaded as error:
        return error.status
    return _serve(application, given, checked)


class NotLoaded(Exception):
    """The application could not be imported; why has been printed. status is for the end of the process."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def load(path: str) -> Any:
    """The application that path names. NotLoaded."""
    try:
        return imports.import_application(path)
    except ApplicationImportError as error:
        print(f"peneus: {error}", file=sys.stderr)
        raise NotLoaded(1) from None
    except KeyboardInterrupt:
        raise NotLoaded(130) from None
    except Exception as error:
        _print_failure(error)
        print(f"peneus: {path!r} failed while it was imported, see above", file=sys.stderr)
        raise NotLoaded(1) from None


def parse(arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The application's path and the settings that were given, checked. ConfigurationError; a SettingError names the option,
    or the variable."""
    parsed = vars(make_parser().parse_args(arguments))
    path = parsed.get("application") or variables.get(environment.APPLICATION)
    if not path:
        doubts = "".join(f" ({doubt})" for doubt in environment.doubts(variables))
        raise ConfigurationError(f"no application is named; write peneus mysite.asgi:application, or peneus --help{doubts}")
    given: dict[str, Any] = {}
    for option in options.all_options():
        if option.name in parsed:
            given[option.name] = _checked(option, parsed[option.name], option.flag)
        elif text := environment.value(option, variables):
            value = shlex.split(text) if option.kind.many else text
            given[option.name] = _checked(option, value, option.variable)
    return path, given


def make_parser() -> argparse.ArgumentParser:
    """The parser of the table. Values stay text: the table's kinds read them, for variables and keywords too."""
    parser = Parser(
        prog="peneus",
        usage="peneus [options] module:application",
        description="Serves an ASGI application: HTTP, WebSockets, and a channel layer that no client who leaves can fill.",
        epilog="Each option is also a variable: PENEUS_HTTP_TIMEOUT=30 is --http-timeout 30. "
        "peneus channels shows the groups and channels of a running server; peneus channels --help says more.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "application",
        nargs="?",
        help="the ASGI application, or a function without arguments that makes it, as module:attribute, for example "
        "mysite.asgi:application; without it, what PENEUS_APPLICATION names",
    )
    parser.add_argument("--version", action="version", version=f"peneus {installed_version()}")
    for title, members in options.SECTIONS.items():
        group = parser.add_argument_group(title)
        for option in members:
            text = f"{option.help} Default: {option.default_text}.".replace("%", "%%")
            if option.kind.flag:
                group.add_argument(*option.flags, dest=option.name, action="store_true", help=text)
            else:
                action = "append" if option.kind.many else "store"
                group.add_argument(*option.flags, dest=option.name, action=action, metavar=option.kind.metavar, help=text)
    return parser


def _checked(option: Option, value: Any, name: str) -> Any:
    result = settings.check(option, value, name)
    if option.name == "endpoints":
        for string in result:
            endpoints.parse(string, name)
    return result


def _supervise(path: str, given: dict[str, Any], checked: settings.Settings) -> int:
    from .supervisor import Supervisor

    try:
        return Supervisor(path, given, checked).run()
    except ConfigurationError as error:
        logger.critical("%s", error)
        return error.status if isinstance(error, WorkersFailed) else 1


def _serve(application: Any, given: dict[str, Any], checked: settings.Settings) -> int:
    try:
        made = server.make(application, given, checked)
        made.answers = True
        return run(made)
    except ConfigurationError as error:
        logger.critical("%s", error)
        return 1


def run(made: server.Server) -> int:
    """Runs a server that is all that this process does: the exit code, if it returns. ConfigurationError."""
    made.owns_process = True
    made.run()
    if made.hurried and _threads():
        # Python would wait for these threads at its exit, however long they are stuck.
        logger.warning("Leaving without waiting for %s", ", ".join(map(printable, _threads())))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    return 0


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread is not threading.current_thread() and not thread.daemon]


def _print_failure(error: Exception) -> None:
    """The traceback, from the application's first frame on."""
    own: TracebackType | None = error.__traceback__
    while own is not None and (
        own.tb_frame.f_globals.get("__name__", "").split(".")[0] in ("peneus", "importlib")
        or own.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        own = own.tb_next
    traceback.print_exception(type(error), error, own)
