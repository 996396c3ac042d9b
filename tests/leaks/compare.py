"""python -m tests.leaks.compare [case …]: every case under Peneus, Daphne and uvicorn, side by side."""

import sys
from collections.abc import Sequence

from tests.leaks.cases import CASES, MESSAGES, NEVER_KILLED, Case, case_named
from tests.leaks.harness import DAPHNE, PENEUS, UVICORN, Stack
from tests.leaks.run import Result, run

HEADS = ("stack", "killed", "member-\nships", "channels", "Redis\nsubs", "queued", "KiB\nqueued", "MiB\ngrown", "remarks")
WIDTHS = (22, 7, 8, 9, 6, 8, 8, 7, 0)


def plan(case: Case) -> list[tuple[str, Stack, Sequence[str] | None]]:
    """The rows of a case: a name, the stack, and its options where they are not the case's."""
    rows: list[tuple[str, Stack, Sequence[str] | None]] = [(PENEUS.name, PENEUS, None), (DAPHNE.name, DAPHNE, None)]
    if case.name in ("pool", "synchronous"):
        rows.insert(1, ("peneus, never killed", PENEUS, NEVER_KILLED))
    if case.name in ("toy", "coming-and-going"):
        rows.append((UVICORN.name, UVICORN, None))
    return rows


def line(cells: Sequence[object]) -> str:
    first, *rest = [str(cell) for cell in cells]
    numbers = "".join(cell.rjust(width) for cell, width in zip(rest[:-1], WIDTHS[1:-1], strict=True))
    return f"  {first.ljust(WIDTHS[0])}{numbers}  {rest[-1]}".rstrip()


def header() -> str:
    tops = [head.split("\n")[0] for head in HEADS]
    bottoms = [head.split("\n")[1] if "\n" in head else "" for head in HEADS]
    return line(tops) + "\n" + line(bottoms)


def row(name: str, result: Result) -> str:
    after = result.after
    remarks = "; ".join(f"{key}: {value}" for key, value in result.notes.items())
    return line(
        (
            name,
            result.killed,
            after["memberships"],
            after["channels"],
            after.get("redis_subscriptions", "–"),
            after["queued"],
            after["queued_bytes"] // 1024,
            f"{result.growth / 1024:.2f}",
            remarks,
        )
    )


def main(names: Sequence[str]) -> None:
    cases = [case_named(name) for name in names] or CASES
    print(f"What is left when every client has gone and {MESSAGES:,} messages of 1 KiB have been sent after them.")
    print("Queues share the bytes of a group message, so the process grows by less than is queued.\n")
    print(header())
    for case in cases:
        print(f"{case.title} ({case.clients} client{'s' * (case.clients > 1)})")
        for name, stack, options in plan(case):
            try:
                print(row(name, run(case, stack, options)), flush=True)
            except Exception as error:
                print(f"  {name.ljust(WIDTHS[0])} failed: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
