"""The command `peneus`: its arguments, from the table in options.py and from PENEUS_… variables, and its exit codes.

0: it served and was stopped; 1: it could not serve, or a second signal ended it; 2: the command line is wrong;
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

from . import endpoints, imports, logs, options, server, settings
from .errors import ApplicationImportError, ConfigurationError, SettingError
from .options import Option
from .version import installed_version

logger = logging.getLogger(__name__)

APPLICATION = "PENEUS_APPLICATION"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal; the exit code."""
    try:
        path, given = parse(sys.argv[1:] if arguments is None else arguments, os.environ)
        checked = settings.from_keywords(given)
    except SettingError as error:
        print(f"peneus: error: {error}", file=sys.stderr)
        return 2
    try:
        logs.configure(checked.verbosity, checked.log_fmt, checked.log_format)
    except ValueError as error:
        print(f"peneus: error: --log-fmt: {error}", file=sys.stderr)
        return 2
    try:
        application = imports.import_application(path)
    except ApplicationImportError as error:
        print(f"peneus: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        _print_failure(error)
        print(f"peneus: {path!r} failed while it was imported, see above", file=sys.stderr)
        return 1
    return _serve(application, given, checked)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The application's path and the settings that were given, checked. SettingError names the option, or the variable."""
    parsed = vars(make_parser(bool(environment.get(APPLICATION))).parse_args(arguments))
    given: dict[str, Any] = {}
    for option in options.all_options():
        if option.name in parsed:
            given[option.name] = _checked(option, parsed[option.name], option.flag)
        elif text := environment.get(option.variable):
            value = shlex.split(text) if option.kind.many else text
            given[option.name] = _checked(option, value, option.variable)
    return parsed.get("application") or environment[APPLICATION], given


def make_parser(application_is_known: bool = False) -> argparse.ArgumentParser:
    """The parser of the table. Values stay text: the table's kinds read them, for variables and keywords too."""
    parser = argparse.ArgumentParser(
        prog="peneus",
        description="Serves an ASGI application: HTTP, WebSockets, and a channel layer that no client who leaves can fill.",
        epilog="Each option is also a variable: PENEUS_HTTP_TIMEOUT=30 is --http-timeout 30.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "application",
        nargs="?" if application_is_known else None,
        help="the ASGI application, as module:attribute, for example mysite.asgi:application",
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


def _serve(application: Any, given: dict[str, Any], checked: settings.Settings) -> int:
    try:
        made = server.make(application, given, checked)
        made.owns_process = True
        made.run()
    except ConfigurationError as error:
        logger.critical("%s", error)
        return 1
    if made.hurried and _workers():
        # Python would wait for these threads at its exit, however long they are stuck.
        logger.warning("Leaving without waiting for %s", ", ".join(_workers()))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    return 0


def _workers() -> list[str]:
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
