"""The cases, read from cases/*.txt: README.md says how they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "cases"
ESCAPE = re.compile(r"\\(?:\{(\d+) ((?:[^}\\]|\\.)*)\}|x([0-9a-f]{2})|(.))")
BYTES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
RULE = re.compile(r"(MUST|SHOULD|MAY) (accept|reject): (RFC \d+, [\w.]+)")


@dataclass(frozen=True)
class Case:
    name: str
    group: str
    note: str
    level: str  # MUST, SHOULD, MAY
    verdict: str  # accept, reject
    rule: str
    send: bytes
    statuses: tuple[str, ...]  # those that will do, such as "200" or "100,200"
    kept: bool
    app: str


def unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        count, repeated, code, byte = match.groups()
        if count is not None:
            return unescape(repeated) * int(count)
        return chr(int(code, 16)) if code is not None else BYTES[byte]

    return ESCAPE.sub(one, text)


def _bytes(lines: list[str]) -> bytes:
    sent = []
    for i, line in enumerate(lines):
        if re.search(r"(?<!\\)(\\\\)*\\$", line):
            sent.append(unescape(line[:-1]))
        elif line or i == 0 or not lines[i - 1].endswith("\\"):
            sent.append(unescape(line) + "\r\n")
    return "".join(sent).encode("latin-1")


def _case(group: str, parts: dict[str, list[str]]) -> Case:
    name = parts["case"][0]
    rule = RULE.fullmatch(parts["rfc"][0])
    assert rule is not None, f"{name}: {parts['rfc'][0]}"
    statuses, end = parts.get("answer", ["400 closed"])[0].split()
    assert end in ("kept", "closed"), name
    note = parts.get("note", [""])[0]
    return Case(
        name, group, note, rule[1], rule[2], rule[3], _bytes(parts["send"]), tuple(statuses.split("|")), end == "kept",
        parts.get("app", ["nothing"])[0],
    )  # fmt: skip


def _read(path: Path) -> Iterator[Case]:
    parts: dict[str, list[str]] = {}
    key = ""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        word, _, text = ("", "", line[5:]) if line[:1] in ("", " ") else line.partition(" ")
        if word == "case" and parts:
            yield _case(path.stem, parts)
            parts = {}
        if word:
            key = word
            parts[key] = [text if key == "send" else text.strip()]
        elif key == "send":
            parts[key].append(text)
    yield _case(path.stem, parts)


def title(group: str) -> str:
    """The comment at the head of a file, as one line."""
    lines = (DIRECTORY / f"{group}.txt").read_text().splitlines()
    head = [line[2:] for line in lines if line.startswith("#")]
    return " ".join(head)


def cases() -> list[Case]:
    found = [case for path in sorted(DIRECTORY.glob("*.txt")) for case in _read(path)]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return found
