"""The parser of command lines: what is wrong with one is a sentence, with the option that was probably meant."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .errors import ConfigurationError

# What other servers call these options: uvicorn, gunicorn, hypercorn.
ELSEWHERE = {
    "--host": "--bind",
    "--uds": "--unix-socket",
    "--log-level": "--verbosity",
    "--access-logfile": "--access-log",
    "--certfile": "--ssl-certfile",
    "--keyfile": "--ssl-keyfile",
    "--ca-certs": "--ssl-ca-certs",
    "--forwarded-allow-ips": "--trusted-proxies",
    "--timeout-keep-alive": "--keep-alive-timeout",
    "--keep-alive": "--keep-alive-timeout",
    "--timeout-graceful-shutdown": "--graceful-timeout",
    "--limit-concurrency": "--limit-connections",
    "--ws-max-size": "--websocket-max-message-size",
    "--ws-ping-interval": "--ping-interval",
    "--ws-ping-timeout": "--ping-timeout",
    "--no-server-header": "--no-server-name",
}
FACTORY = "a function that makes the application is recognised without it"


class Parser(argparse.ArgumentParser):
    """Raises ConfigurationError where argparse would print 40 lines of usage before one of use."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message}; {self.prog} --help lists the options")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # Before argparse takes the value behind an unknown option for the application.
        self._check_flags(args)
        return super().parse_known_args(args, namespace)

    def _check_flags(self, arguments: Sequence[str]) -> None:
        known = {flag for action in self._actions for flag in action.option_strings}
        for argument in arguments:
            if argument == "--":
                return
            flag = argument.partition("=")[0]
            is_short = flag[:1] == "-" and flag[1:2].isalpha()
            if (flag[:2] == "--" and flag not in known) or (is_short and flag[:2] not in known):
                self.error(f"there is no option {flag}{meant(flag, known)}")


def meant(flag: str, known: Iterable[str]) -> str:
    """What somebody who wrote flag may have meant, as the end of a sentence."""
    if flag == "--factory":
        return f"; {FACTORY}"
    found = [ELSEWHERE[flag]] if flag in ELSEWHERE else difflib.get_close_matches(flag, sorted(known), 1, 0.6)
    return f"; did you mean {found[0]}?" if found else ""
