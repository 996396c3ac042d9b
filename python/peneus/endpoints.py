r"""Endpoint strings, as Daphne takes them from Twisted: `tcp:port=8000:interface=127.0.0.1`, `unix:/path:mode=660`,
`fd:fileno=3`.

A colon or equals sign that belongs to a value is written `\:` or `\=`, a backslash `\\`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from .errors import SettingError

# What Twisted gives a Unix socket: whoever reaches its folder may connect.
UNIX_MODE = 0o666


@dataclass(frozen=True)
class TCP:
    host: str  # "" is every interface
    port: int


@dataclass(frozen=True)
class Unix:
    path: str
    mode: int = UNIX_MODE


@dataclass(frozen=True)
class FileDescriptor:
    number: int


Endpoint: TypeAlias = TCP | Unix | FileDescriptor

# For each kind of endpoint, the names of its arguments in the order in which they may stand without names.
ARGUMENTS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "fd": ("fileno",),
}
EXAMPLES = {
    "tcp": "tcp:port=8000:interface=127.0.0.1",
    "tcp6": r"tcp6:port=8000:interface=\:\:1",
    "unix": "unix:/run/peneus.sock:mode=660",
    "fd": "fd:fileno=3",
}
ANY_EXAMPLE = ", ".join(EXAMPLES.values())
_PART = re.compile(r"((?:\\.|[^:\\])*)(?::|$)", re.DOTALL)
_NAMED = re.compile(r"([a-zA-Z]\w*)=(.*)", re.DOTALL)


def parse(text: str, name: str = "endpoints") -> Endpoint:
    """The endpoint that text describes. SettingError, with name, where it describes none."""
    kind, arguments = _split(text, name)
    match kind:
        case "tcp" | "tcp6":
            port = _number(arguments, "port", text, name, 10, 65535)
            return TCP(arguments.get("interface", "" if kind == "tcp" else "::").strip("[]"), port)
        case "unix":
            if not arguments.get("address"):
                raise _error(text, name, "has no path", EXAMPLES["unix"])
            mode = _number(arguments, "mode", text, name, 8, 0o7777) if "mode" in arguments else UNIX_MODE
            return Unix(arguments["address"], mode)
        case _:
            return FileDescriptor(_number(arguments, "fileno", text, name, 10, 2**20))


def describe(
    host: str | None = None, port: int | None = None, unix_socket: str | None = None, file_descriptor: int | None = None
) -> list[str]:
    """The strings for what the simple options say."""
    strings = []
    if host is not None and port is not None:
        strings.append(f"tcp:port={port}:interface={_escape(host.strip('[]'))}")
    if unix_socket:
        strings.append(f"unix:{_escape(unix_socket)}")
    if file_descriptor is not None:
        strings.append(f"fd:fileno={file_descriptor}")
    return strings


def _escape(value: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", value)


def _split(text: str, name: str) -> tuple[str, dict[str, str]]:
    kind, *parts = _parts(text)
    if kind == "ssl":
        raise _error(text, name, "asks for TLS, which is not built yet", f"{EXAMPLES['tcp']}, behind a proxy that speaks TLS")
    if kind not in ARGUMENTS:
        raise _error(text, name, f"is no endpoint: {kind!r} is not known", ANY_EXAMPLE)
    names = ARGUMENTS[kind]
    arguments: dict[str, str] = {}
    position = 0
    for part in parts:
        named = _NAMED.fullmatch(part)
        if named is not None and named[1] not in names:
            raise _error(text, name, f"has an argument {named[1]!r}, which {kind} has not", EXAMPLES[kind])
        if named is None and position == len(names):
            raise _error(text, name, "has too many arguments", EXAMPLES[kind])
        key, value = (named[1], named[2]) if named is not None else (names[position], part)
        if named is None:
            position += 1
        arguments[key] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    return kind, arguments


def _parts(text: str) -> Iterable[str]:
    """text split at its colons; escapes stay as they are."""
    parts: list[str] = []
    start = 0
    while True:
        found = _PART.match(text, start)
        if found is None:  # a backslash at the end
            return [*parts, text[start:]]
        parts.append(found[1])
        start = found.end()
        if start == len(text) and not found[0].endswith(":"):
            return parts


def _number(arguments: dict[str, str], key: str, text: str, name: str, base: int, most: int) -> int:
    kind = next(kind for kind, names in ARGUMENTS.items() if key in names)
    if not arguments.get(key):
        raise _error(text, name, f"has no {key}", EXAMPLES[kind])
    try:
        number = int(arguments[key], base)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise _error(text, name, f"has the {key} {arguments[key]!r}, which is none", EXAMPLES[kind])
    return number


def _error(text: str, name: str, problem: str, instead: str) -> SettingError:
    return SettingError(name, f"{text!r} {problem}; write {instead}")
