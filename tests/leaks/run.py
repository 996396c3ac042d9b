"""Runs one case under one stack, then sends to what its clients have left behind, and measures."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.leaks.cases import MESSAGES, Case
from tests.leaks.harness import Running, Stack, running

# Sent before anything is measured, so that what a first message needs for good is there already.
WARM_UP = 1_000


@dataclass(frozen=True)
class Result:
    case: Case
    stack: Stack
    left: dict[str, int]  # measured when the clients are gone and the applications have ended
    after: dict[str, int]  # after MESSAGES more
    killed: int
    ended: str  # applications that ended, of those that were started
    notes: dict[str, object]

    @property
    def growth(self) -> int:
        """KiB by which MESSAGES, sent when every client had gone, have made the process grow."""
        return self.after["rss_kib"] - self.left["rss_kib"]


def run(case: Case, stack: Stack, options: Sequence[str] | None = None) -> Result:
    chosen = case.options if options is None else options
    with running(stack, f"tests.leaks.programs.{case.program}", *(chosen if stack.kills else ())) as server:
        server.publish(WARM_UP)
        notes = case.scenario(server)
        settle(server, case)
        server.publish(WARM_UP)
        left = server.measure()
        server.publish(MESSAGES)
        after = server.measure()
        counts = server.counts()
        ended = f"{counts['ended']} of {counts['started']}"
        return Result(case, stack, left, after, server.killed, ended, notes)


def settle(server: Running, case: Case) -> None:
    """Waits until every application has ended."""
    server.wait_ended(case.longest)
