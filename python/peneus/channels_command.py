"""`peneus channels`: the groups and channels of a running server, asked over its control socket."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import control
from .errors import ConfigurationError
from .parser import Parser
from .printable import printable
from .words import counted

DEFAULT_ROWS = 20
CLEAR = "\x1b[2J\x1b[H"


class NotFound(Exception):
    """No server answers, or several do and none is named."""


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = _parser()
    try:
        parsed = parser.parse_args(arguments)
    except ConfigurationError as error:
        parser.print_usage(sys.stderr)  # short, here
        print(f"peneus channels: error: {error}", file=sys.stderr)
        return 2
    try:
        client = _connect(parsed.pid)
        try:
            while True:
                text = render(client.ask(do="channels", rows=parsed.rows), parsed.rows, _width())
                if not _print(CLEAR + text if parsed.watch and sys.stdout.isatty() else text):
                    return 0
                if not parsed.watch:
                    return 0
                time.sleep(parsed.watch)
        finally:
            client.close()
    except NotFound as error:
        print(f"peneus channels: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"peneus channels: the server does not answer any more: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _print(text: str) -> bool:
    """Whether somebody still reads it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its exit
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="peneus channels",
        description="Shows the groups and channels of a running server of yours, of all its workers: those with the most queued "
        "bytes first.",
    )
    parser.add_argument("--pid", type=int, help="the server's process, where you run several")
    parser.add_argument(
        "--watch", type=_seconds, nargs="?", const=1.0, metavar="SECONDS", help="show it again every second, or every SECONDS"
    )
    parser.add_argument(
        "--rows", type=_rows, default=DEFAULT_ROWS, help=f"groups and channels to show at most (default: {DEFAULT_ROWS})"
    )
    return parser


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.05 <= float(text) <= 86400:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.05 to 86400")


def _rows(text: str) -> int:
    with suppress(ValueError):
        if 1 <= int(text) <= control.ROWS:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {control.ROWS}")


def _connect(pid: int | None) -> control.Client:
    """To the server whose process is pid, or to the only one that answers. NotFound."""
    uid = os.getuid()
    if pid is not None:
        with suppress(OSError):
            uid = os.stat(f"/proc/{pid}").st_uid
    refused: list[str] = []
    clients: dict[int, control.Client] = {}
    for path in _sockets(uid, refused):
        number = int(path.stem)
        if number not in clients and pid in (None, number):
            with suppress(OSError):
                clients[number] = control.Client(path)
    if len(clients) == 1:
        return next(iter(clients.values()))
    for client in clients.values():
        client.close()
    if clients:
        raise NotFound(f"several servers run; write --pid and one of {', '.join(map(str, sorted(clients)))}")
    why = "".join(f"; {problem}" for problem in refused)
    raise NotFound((f"no server of yours answers as process {pid}" if pid is not None else "no server of yours answers") + why)


def _sockets(uid: int, refused: list[str]) -> list[Path]:
    found = []
    for directory in dict.fromkeys(control.directories(uid)):
        try:
            control.check_directory(directory, uid)
            found += [path for path in sorted(directory.glob("*.sock")) if path.stem.isdigit()]
        except control.Refused as error:
            refused.append(str(error))
        except OSError:
            continue
    return found


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 10_000


def render(answer: dict[str, Any], rows: int, width: int) -> str:
    """answer of the control socket as tables, of lines no longer than width."""
    stats, workers = answer["stats"], answer["workers"]
    groups = _groups(workers)
    channels = [(name, worker["pid"], channel) for worker in workers for name, channel in worker.get("channels", {}).items()]
    channels.sort(key=lambda row: (-(row[2].get("queued_bytes") or 0), -(row[2].get("dropped") or 0), row[0]))
    queued = stats.get("channel_messages_queued", 0)
    dropped = sum(stats.get("messages_dropped_total", {}).values())
    lines = [
        f"Server {answer['pid']}: {counted(stats['workers'], 'worker')}, {counted(stats.get('connections', 0), 'connection')}, "
        f"{counted(stats.get('channels', 0), 'channel')}, {counted(stats.get('group_members', 0), 'group member')}, "
        f"{counted(queued, 'message')} queued ({_bytes(stats.get('channel_bytes_queued', 0))}), "
        f"{dropped} dropped"
    ]
    lines += [f"Worker {worker['pid']} does not answer" for worker in workers if worker.get("silent")]
    lines += ["", *_table(GROUP_HEADS, [_group_row(*group) for group in groups[:rows]]), *_more(groups, rows, "group")]
    known = max(len(channels), sum(worker.get("channels_total", 0) for worker in workers))
    lines += ["", *_table(CHANNEL_HEADS, [_channel_row(*channel) for channel in channels[:rows]])]
    if known > rows:
        lines.append(f"… and {counted(known - rows, 'more channel')}")
    return "\n".join(line[:width].rstrip() for line in lines)


GROUP_HEADS = ("GROUP", ">MEMBERS", ">MESSAGES", ">DROPPED", ">QUEUED", ">BYTES", ">WORKERS")
CHANNEL_HEADS = (
    "CONSUMER",
    "MADE AT",
    "OWNER",
    ">GROUPS",
    ">QUEUED",
    ">BYTES",
    ">DROPPED",
    ">WORKER",
    "CHANNEL",
)


def _groups(workers: list[dict[str, Any]]) -> list[tuple[str, dict[str, int], int]]:
    """Name, sums, and number of workers of each group."""
    sums: dict[str, dict[str, int]] = {}
    where: dict[str, int] = {}
    for worker in workers:
        for name, group in worker.get("groups", {}).items():
            total = sums.setdefault(name, {})
            where[name] = where.get(name, 0) + 1
            for key, value in group.items():
                total[key] = total.get(key, 0) + value
    names = sorted(sums, key=lambda name: (-sums[name].get("queued_bytes", 0), -sums[name].get("members", 0), name))
    return [(name, sums[name], where[name]) for name in names]


def _group_row(name: str, group: dict[str, int], workers: int) -> list[str]:
    numbers = [str(group.get(key, 0)) for key in ("members", "messages", "dropped", "queued")]
    return [name, *numbers, _bytes(group.get("queued_bytes", 0)), str(workers)]


def _channel_row(name: str, pid: int, channel: dict[str, Any]) -> list[str]:
    words = [str(channel.get(key) or "-") for key in ("consumer", "made_at", "owner")]
    groups = channel.get("groups") or 0
    number = len(groups) if isinstance(groups, (list, tuple)) else groups
    numbers = [str(number), str(channel.get("queued") or 0), _bytes(channel.get("queued_bytes") or 0)]
    return [*words, *numbers, str(channel.get("dropped") or 0), str(pid), name]


def _more(found: list[Any], rows: int, what: str) -> list[str]:
    return [f"… and {counted(len(found) - rows, f'more {what}')}"] if len(found) > rows else []


def _table(heads: Sequence[str], rows: list[list[str]]) -> list[str]:
    """Columns as wide as what is in them; those whose head begins with > are numbers."""
    titles = [head.removeprefix(">") for head in heads]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        columns = zip(cells, widths, heads, strict=True)
        return "  ".join(cell.rjust(width) if head.startswith(">") else cell.ljust(width) for cell, width, head in columns)

    return [line(titles), *(line(row) for row in rows)] if rows else [f"No {titles[0].lower()}."]


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
