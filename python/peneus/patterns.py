"""What applies to a name, by an ordered mapping from glob, or compiled regular expression, to value: the first match wins."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from .errors import SettingError

T = TypeVar("T")

REMEMBERED = 4096  # names


class ByPattern(Generic[T]):
    """`of(name)` is the value of the first pattern that matches name, or the default. Any thread."""

    def __init__(self, setting: str, patterns: Mapping[object, T] | Iterable[tuple[object, T]], default: T) -> None:
        items = patterns.items() if isinstance(patterns, Mapping) else patterns
        self._patterns = [(_compiled(setting, pattern), value) for pattern, value in items]
        self._default = default
        self._known: dict[str, T] = {}

    def of(self, name: str) -> T:
        if not self._patterns:
            return self._default
        found = self._known.get(name)
        if found is None:
            found = next((value for pattern, value in self._patterns if pattern.match(name)), self._default)
            if len(self._known) >= REMEMBERED:
                self._known = {}
            self._known[name] = found
        return found


def _compiled(setting: str, pattern: object) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern):
        return pattern
    if isinstance(pattern, str):
        return re.compile(fnmatch.translate(pattern))
    raise SettingError(setting, f"{pattern!r} is no pattern; write a glob such as 'prices.*', or a compiled regular expression")
