"""After ten thousand turns of each scenario the server holds the Python objects that it held before: none more, none fewer.

Each scenario is warmed up first, so that what is cached (strings of headers, free lists, threads) has its size. Then objects are
counted by type, and beside them the allocator's blocks, the references to what is there once, tasks, files and memory.
PENEUS_TURNS: how many turns, 10,000 by default; PENEUS_STARTS: how many starts of a whole server, which take longer, 600.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leaks.turns import SCENARIOS, Site, Turn, site

SLOWDOWN = int(os.environ.get("PENEUS_TEST_SLOWDOWN", "1"))  # of instrumented builds
TURNS = int(os.environ.get("PENEUS_TURNS", "10000")) // (SLOWDOWN * SLOWDOWN)
STARTS = int(os.environ.get("PENEUS_STARTS", "600")) // SLOWDOWN
WARM_UP = max(200, TURNS // 8)
# A leak is one for each turn, or more. Less than so many are in tables that are emptied when they are full (the layer's origins
# of channels, the core's caches), in free lists, and in what the interpreter specialises.
SLACK = 2000
CACHED = 30  # objects of a type that the interpreter and the event loop may have at hand, or not
# `make test` runs these scenarios, `make test-all` runs all of them.
QUICK = ("requests", "HTTP/2 streams", "messages", "groups")
ALONE = (1, 1)  # connections and applications while one asks
BACKLOG = 100  # turns that the server may be behind the clients, which do not all wait for it: they need memory
PEERS = 1024  # connections whose addresses are kept, as Python objects
MEMORY = 8 * 1024 * 1024 * SLOWDOWN  # bytes: a leak of 800 for each of 10,000 turns


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("references")
    with site(directory) as started:
        for _ in range(PEERS + 1):
            started.ask("/stats")
        yield started


def after(running: Site, turn: Turn, turns: int, active: tuple[int, int]) -> dict[str, Any]:
    """What the server holds after so many turns, when nothing is under way any more."""
    for number in range(1, turns + 1):
        turn()
        if number % BACKLOG == 0:
            running.wait_for_at_most(active, BACKLOG)
    running.wait_for(active)
    return settled(running)


def settled(running: Site) -> dict[str, Any]:
    """Measures until nothing changes: a timer of the event loop may be at work in between."""
    running.ask("/measure")  # what the measuring itself leaves is there from the first time on
    last = running.ask("/measure")
    for _ in range(20):
        now = running.ask("/measure")
        if now["types"] == last["types"]:
            break
        time.sleep(0.1)
        last = now
    return now


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in SCENARIOS])
def test_scenario(running: Site, name: str) -> None:
    running.wait_for(ALONE)
    with SCENARIOS[name](running) as turn:
        active = running.active()
        before = after(running, turn, WARM_UP, active)
        then = after(running, turn, TURNS, active)
    compare(before, then, SLACK)


@pytest.mark.long
def test_starts() -> None:
    """A whole server, with its lifespan, from its start to its end."""
    command = [sys.executable, "-m", "tests.leaks.programs.starts", str(STARTS), str(STARTS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120 + STARTS)
    assert ended.returncode == 0, ended.stderr
    before, then = (json.loads(line) for line in ended.stdout.splitlines())
    compare(before, then, STARTS // 2)


def compare(before: dict[str, Any], then: dict[str, Any], slack: int) -> None:
    types = {each: then["types"].get(each, 0) - before["types"].get(each, 0) for each in {*before["types"], *then["types"]}}
    assert {each: count for each, count in types.items() if abs(count) > CACHED} == {}
    for what in ("threads", "files"):
        assert then[what] == before[what], what
    for what in ("blocks", "eternal"):
        assert abs(then[what] - before[what]) < slack, (what, before[what], then[what])
    assert then["memory"] - before["memory"] < MEMORY
