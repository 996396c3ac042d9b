"""The kinds of values that settings have: how each is read, from text or from Python, and what is said about a wrong one."""

import ipaddress
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Wrong(ValueError):
    """What is wrong with a value, and what to write instead; without the setting's name."""


def wrong(value: object, problem: str, instead: str) -> Wrong:
    return Wrong(f"{value!r} {problem}; write {instead}")


@dataclass(frozen=True)
class Kind:
    """`read(value)` gives the value as the server uses it or raises Wrong. `metavar` stands for it in --help."""

    read: Callable[[Any], Any]
    metavar: str | None = None
    flag: bool = False
    many: bool = False
    choices: tuple[str, ...] = ()


def _number(value: Any, whole: bool) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = int(value) if whole and isinstance(value, str) else float(value)
    except ValueError:
        return None
    if number != number or number in (float("inf"), float("-inf")) or (whole and number != int(number)):
        return None
    return int(number) if number == int(number) else number


UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
TIMES = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _in_units(value: object, pattern: str, units: dict[str, Any]) -> str:
    """What value, written with a unit, would be without one; as the end of a sentence, "" where it is nothing of the kind."""
    found = re.fullmatch(rf"(\d+(?:\.\d+)?) ?({pattern})", str(value).strip().lower())
    return f"; {value} is {float(found[1]) * units[found[2].removesuffix('b')]:.15g}" if found else ""


def seconds(never: bool = True, zero: bool = False) -> Kind:
    """Seconds, fractions allowed. None is never, and so are 0 and -1, where never is possible; zero: people are told of 0."""
    example = "a number such as 10 or 0.5" + (f", or {0 if zero else -1} for never" if never else "")

    def read(value: Any) -> float | int | None:
        if value is None and never:
            return None
        number = _number(value, whole=False)
        if number is None:
            raise wrong(value, "is not a number of seconds", example + _in_units(value, "ms|s|min|m|h|d", TIMES))
        if never and number in (0, -1):
            return None
        if number < 0 or (number == 0 and not never):
            raise wrong(value, "is too short a time", example)
        if number > 10**9:
            raise wrong(value, "is more than 30 years", example)
        return number

    return Kind(read, "SECONDS")


def patience() -> Kind:
    """Seconds of which 0 is "at once"."""

    def read(value: Any) -> float | int:
        number = _number(value, whole=False)
        if number is None or not 0 <= number <= 10**9:
            raise wrong(value, "is not a number of seconds", "a number such as 20, or 0 for at once")
        return number

    return Kind(read, "SECONDS")


def size(unlimited: bool, metavar: str = "BYTES", most: int = 2**40, zero: str = "no limit") -> Kind:
    """A whole number; 0 and None are "no limit", or what zero says, where that is possible."""
    example = "a whole number such as 65536" if metavar == "BYTES" else f"a whole number from {0 if unlimited else 1} to {most}"
    if unlimited:
        example += f", or 0 for {zero}" if metavar == "BYTES" else f"; 0 is {zero}"

    def read(value: Any) -> int:
        if value is None and unlimited:
            return 0
        number = _number(value, whole=True)
        if number is None:
            hint = _in_units(value, "(?:[kmg]|[kmg]i)b?", UNITS) if metavar == "BYTES" else ""
            raise wrong(value, "is not a whole number", example + hint)
        if number < 0 or (number == 0 and not unlimited):
            raise wrong(value, "is too small", example)
        if number > most:
            raise wrong(value, f"is more than {most}", example)
        return int(number)

    return Kind(read, metavar)


def limit(metavar: str, most: int) -> Kind:
    """As size(), but None is not "no limit"."""
    number = size(True, metavar, most)
    return Kind(lambda value: None if value is None else number.read(value), metavar)


def whole(least: int, most: int, metavar: str, example: int) -> Kind:
    def read(value: Any) -> int | None:
        if value is None:
            return None
        number = _number(value, whole=True)
        if number is None or not least <= number <= most:
            raise wrong(value, f"is not a whole number from {least} to {most}", f"one, such as {example}")
        return int(number)

    return Kind(read, metavar)


def port() -> Kind:
    def read(value: Any) -> int | None:
        if value is None:
            return None
        number = _number(value, whole=True)
        if number is None or not 0 <= number <= 65535:
            raise wrong(value, "is not a port", "a number from 1 to 65535, or 0 for any free port")
        return int(number)

    return Kind(read, "PORT")


def address() -> Kind:
    """HOST:PORT, as a string that split_address() takes."""

    def read(value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, str):
            host, separator, number = value.rpartition(":")
            whole_host = not host.startswith("[") or host.endswith("]")
            if separator and whole_host and number.isascii() and number.isdigit() and int(number) <= 65535:
                return value
        port = value if isinstance(value, str) and value.isascii() and value.isdigit() and int(value) <= 65535 else "9100"
        raise wrong(value, "is not HOST:PORT", f"one such as 127.0.0.1:{port} or [::1]:{port}")

    return Kind(read, "HOST:PORT")


def split_address(value: str) -> tuple[str, int]:
    """Host and port of what address() has read; the host "" is every interface."""
    host, _, number = value.rpartition(":")
    return host.strip("[]"), int(number)


def text(metavar: str) -> Kind:
    def read(value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise wrong(value, f"is of type {type(value).__name__}", "a string")
        if "\0" in value or "\n" in value or "\r" in value:
            raise wrong(value, "has a line break or a NUL in it", "one line of text")
        return value

    return Kind(read, metavar)


def host() -> Kind:
    """An address or a name; with a port, or as a path, it is what other servers take for --bind."""
    inner = text("HOST")

    def read(value: Any) -> str | None:
        line: str | None = inner.read(value)
        if line is None:
            return None
        if line.startswith("unix:"):
            raise wrong(line, "is a Unix socket", f"--unix-socket {line.removeprefix('unix:')}")
        if line.startswith("fd://"):
            raise wrong(line, "is a file descriptor", f"--fd {line.removeprefix('fd://')}")
        found = re.fullmatch(r"(?:\w+://)?([^:\[\]]+|\[.*\]):(\d+)", line)
        if found:
            raise wrong(line, "has a port in it", f"--bind {found[1]} --port {found[2]}")
        return line

    return Kind(read, "HOST")


def url_path() -> Kind:
    """ "", or a path that begins with a slash."""
    inner = text("PATH")

    def read(value: Any) -> str | None:
        line: str | None = inner.read(value)
        if line and not line.startswith("/"):
            raise wrong(line, "does not begin with a slash", f"/{line}")
        return line

    return Kind(read, "PATH")


def log_line() -> Kind:
    """A format of Python's logging, which every line can be written in."""
    example = "a format of Python's logging, such as '%(asctime)s %(levelname)s %(name)s %(message)s'"
    inner = text("FORMAT")

    def read(value: Any) -> str | None:
        line: str | None = inner.read(value)
        try:
            logging.Formatter(line).format(logging.makeLogRecord({"name": "peneus", "msg": ""}))
        except (ValueError, TypeError) as error:
            missing = error.__context__
            if isinstance(missing, KeyError):
                raise wrong(line, f"names {missing.args[0]!r}, which no line of the log has", example) from None
            raise wrong(line, "is no format", example) from None
        return line

    return Kind(read, "FORMAT")


def field_value(metavar: str) -> Kind:
    """What goes out as the value of a header: RFC 9110, 5.5."""
    inner = text(metavar)

    def read(value: Any) -> str | None:
        line: str | None = inner.read(value)
        if line is not None and any(ord(character) < 32 or ord(character) == 127 for character in line):
            raise wrong(value, "has a control character in it", "one line of text")
        return line

    return Kind(read, metavar)


def texts(metavar: str) -> Kind:
    def read(value: Any) -> list[str]:
        if value is None:
            return []
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
            raise wrong(value, "is not a list of strings", f"a list, such as [{'tcp:8000'!r}]")
        return list(value)

    return Kind(read, metavar, many=True)


def peers() -> Kind:
    """Addresses and networks, "unix" and "*": a list, or a string with commas."""
    example = "a list such as 127.0.0.1,10.0.0.0/8,2001:db8::/32,unix, or * for everybody"

    def read(value: Any) -> list[str]:
        if value is None:
            return []
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise wrong(value, "is not a list of addresses", example)
        return [one(item.strip()) for item in items if item.strip()]

    def one(item: str) -> str:
        if item in ("unix", "*"):
            return item
        try:
            if "%" not in item:
                return str(ipaddress.ip_network(item, strict=False))
        except ValueError:
            pass
        raise wrong(item, "is neither an address nor a network", example)

    return Kind(read, "LIST")


def subset(*choices: str) -> Kind:
    """Some of choices, in any order: a list, or a string with commas; "none" is none of them."""

    def read(value: Any) -> list[str]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise wrong(value, "is not a list of names", ",".join(choices))
        names = [item.strip().lower() for item in items if item.strip().lower() not in ("", "none")]
        for name in names:
            if name not in choices:
                raise wrong(name, "is not one of the choices", f"some of {','.join(choices)}, or none")
        return names

    return Kind(read, "LIST")


def files() -> Kind:
    """Paths of files: a list, or one."""

    def read(value: Any) -> list[str]:
        if value is None:
            return []
        items = [value] if isinstance(value, (str, os.PathLike)) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, (str, os.PathLike)) for item in items):
            raise wrong(value, "is not the path of a file", "one such as 'certificate.pem', or a list of them")
        return [text("FILE").read(os.fspath(item)) for item in items]

    return Kind(read, "FILE", many=True)


def choice(*choices: str) -> Kind:
    def read(value: Any) -> str:
        if value not in choices:
            raise wrong(value, "is not one of the choices", " or ".join(choices))
        return str(value)

    return Kind(read, "|".join(choices), choices=choices)


_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off", "")


def switch() -> Kind:
    def read(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word not in _YES + _NO:
            raise wrong(value, "is neither yes nor no", "1 or 0")
        return word in _YES

    return Kind(read, flag=True)
