r"""Endpoint strings, as Daphne takes them from Twisted: `tcp:port=8000:interface=127.0.0.1`, `unix:/path:mode=660`,
`fd:fileno=3`, `ssl:443:privateKey=key.pem:certKey=cert.pem`.

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


@dataclass(frozen=True)
class SSL:
    """One of the others, with TLS. Paths of PEM files; certificate None: those of --ssl-certfile and --ssl-keyfile."""

    where: TCP | Unix | FileDescriptor
    certificate: str | None = None
    key: str | None = None
    chain: str | None = None
    dh_parameters: str | None = None


Endpoint: TypeAlias = TCP | Unix | FileDescriptor | SSL

# For each kind of endpoint, the names of its arguments in the order in which they may stand without names.
ARGUMENTS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "fd": ("fileno",),
    # Behind dhParameters: ours, to have TLS on what is no TCP port.
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
        "address",
        "mode",
        "fileno",
    ),
}
# Twisted's names for "every version that both sides know".
ANY_VERSION = ("SSLv23_METHOD", "TLS_METHOD", "TLS_SERVER_METHOD")
EXAMPLES = {
    "tcp": "tcp:port=8000:interface=127.0.0.1",
    "tcp6": r"tcp6:port=8000:interface=\:\:1",
    "unix": "unix:/run/peneus.sock:mode=660",
    "fd": "fd:fileno=3",
    "ssl": "ssl:443:privateKey=key.pem:certKey=cert.pem",
}
ANY_EXAMPLE = ", ".join(EXAMPLES.values())
_PART = re.compile(r"((?:\\.|[^:\\])*)(?::|$)", re.DOTALL)
_NAMED = re.compile(r"([a-zA-Z]\w*)=(.*)", re.DOTALL)


def parse(text: str, name: str = "endpoints") -> Endpoint:
    """The endpoint that text describes. SettingError, with name, where it describes none."""
    kind, arguments = _split(text, name)
    match kind:
        case "tcp" | "tcp6":
            return _tcp(arguments, text, name, "" if kind == "tcp" else "::")
        case "unix":
            return _unix(arguments, text, name)
        case "ssl":
            return _ssl(arguments, text, name)
        case _:
            return FileDescriptor(_number(arguments, "fileno", text, name, 10, 2**20))


def _tcp(arguments: dict[str, str], text: str, name: str, interface: str) -> TCP:
    port = _number(arguments, "port", text, name, 10, 65535)
    return TCP(arguments.get("interface", interface).strip("[]"), port)


def _unix(arguments: dict[str, str], text: str, name: str) -> Unix:
    if not arguments.get("address"):
        raise _error(text, name, "has no path", EXAMPLES["unix"])
    mode = _number(arguments, "mode", text, name, 8, 0o7777) if "mode" in arguments else UNIX_MODE
    return Unix(arguments["address"], mode)


def _ssl(arguments: dict[str, str], text: str, name: str) -> SSL:
    method = arguments.get("sslmethod")
    if method and method not in ANY_VERSION:
        raise _error(text, name, f"has the sslmethod {method!r}, which Peneus has not", "--ssl-min-version instead of it")
    places = [key for key in ("port", "address", "fileno") if arguments.get(key)]
    if len(places) > 1:
        raise _error(text, name, f"has {places[0]} and {places[1]}", EXAMPLES["ssl"])
    where: TCP | Unix | FileDescriptor
    if arguments.get("address"):
        where = _unix(arguments, text, name)
    elif arguments.get("fileno"):
        where = FileDescriptor(_number(arguments, "fileno", text, name, 10, 2**20))
    else:
        where = _tcp(arguments, text, name, "")
    key = arguments.get("privateKey") or None
    certificate = arguments.get("certKey") or key
    chain, parameters = arguments.get("extraCertChain") or None, arguments.get("dhParameters") or None
    if certificate is None and chain is not None:
        raise _error(text, name, "has an extraCertChain, and no certificate before it", EXAMPLES["ssl"])
    return SSL(where, certificate, key, chain, parameters)


def describe(
    host: str | None = None,
    port: int | None = None,
    unix_socket: str | None = None,
    file_descriptor: int | None = None,
    secure: bool = False,
) -> list[str]:
    """The strings for what the simple options say; secure: with TLS."""
    strings = []
    if host is not None and port is not None:
        strings.append(f"{'ssl' if secure else 'tcp'}:port={port}:interface={_escape(host.strip('[]'))}")
    if unix_socket:
        strings.append(f"{'ssl:address=' if secure else 'unix:'}{_escape(unix_socket)}")
    if file_descriptor is not None:
        strings.append(f"{'ssl' if secure else 'fd'}:fileno={file_descriptor}")
    return strings


def without_place(endpoint: Endpoint) -> str:
    """What makes an endpoint string of a descriptor of endpoint's socket when `:fileno=…` is put behind it."""
    if not isinstance(endpoint, SSL):
        return "fd"
    files = {
        "privateKey": endpoint.key,
        "certKey": endpoint.certificate,
        "extraCertChain": endpoint.chain,
        "dhParameters": endpoint.dh_parameters,
    }
    return "".join(["ssl", *(f":{key}={_escape(value)}" for key, value in files.items() if value is not None)])


def _escape(value: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", value)


def _split(text: str, name: str) -> tuple[str, dict[str, str]]:
    kind, *parts = _parts(text)
    if kind not in ARGUMENTS:
        raise _error(text, name, f"is no endpoint: {kind!r} is not known", ANY_EXAMPLE)
    names = ARGUMENTS[kind]
    arguments: dict[str, str] = {}
    position = 0
    for part in parts:
        named = _NAMED.fullmatch(part)
        if kind == "ssl" and named is not None and named[1] == "caCertsDir":
            raise _error(text, name, "has caCertsDir, which is for clients", "--ssl-ca-certs for whom clients have to show")
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
        if start == found.end(1):  # no colon behind it
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
