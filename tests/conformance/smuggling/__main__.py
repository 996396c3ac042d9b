"""Runs the corpus against Peneus and its peers: docs/strictness.md. Counts what it does to Peneus: docs/bad-input.md."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.__main__ import install_peers
from bench.servers import PEERS as ENVIRONMENT
from bench.servers import ROOT
from tests.conformance.smuggling import pages
from tests.conformance.smuggling.client import Innocents, Outcome, Target, exchange, problem
from tests.conformance.smuggling.corpus import Case, cases
from tests.conformance.smuggling.mutants import ends, mutants
from tests.conformance.smuggling.servers import APP, PEERS, PENEUS, run
from tests.conformance.smuggling.test_smuggling import peneus

MUTANTS, SEED = 10_000, 5


@dataclass
class Count:
    """What bad input has done to a server, and to the clients beside."""

    way: str
    requests: int = 0
    otherwise: int = 0  # outcomes that the corpus does not want
    unended: int = 0  # connections that the server left open
    disturbed: int = 0  # times that an innocent connection did not work
    crashes: int = 0
    details: list[str] = field(default_factory=list)

    def after(self, name: str, target: Target, innocents: Innocents) -> Innocents:
        self.requests += 1
        if not (count := innocents.disturbed()):
            return innocents
        self.disturbed += count
        self.details.append(f"{name} has disturbed {count}")
        innocents.close()
        return Innocents(target)


def count_cases(way: str, target: Target, corpus: list[Case], step: int = 0) -> Count:
    count = Count(way)
    innocents = Innocents(target)
    for case in corpus:
        if found := problem(case, exchange(target, case.send, step)):
            count.otherwise += 1
            count.details.append(found)
        innocents = count.after(case.name, target, innocents)
    innocents.close()
    return count


def count_mutants(target: Target, corpus: list[Case]) -> Count:
    count = Count(f"{MUTANTS:,} mutants of them, at random (seed {SEED})")
    innocents = Innocents(target)
    for data in mutants(corpus, MUTANTS, SEED):
        if not ends(target, data):
            count.unended += 1
            count.details.append(f"not ended: {data!r}")
        innocents = count.after(repr(data), target, innocents)
    innocents.close()
    target.get("/control/seen")
    return count


def bad_input(corpus: list[Case]) -> list[Count]:
    """A crash ends the run of its way: nobody can connect any more."""
    counts = []
    with tempfile.TemporaryDirectory() as directory:
        for way in ("whole", "byte by byte", "by TLS", "mutants"):
            with peneus(Path(directory) if way == "by TLS" else None) as target:
                try:
                    if way == "mutants":
                        counts.append(count_mutants(target, corpus))
                    else:
                        short = [case for case in corpus if way != "byte by byte" or len(case.send) <= 5000]
                        counts.append(count_cases(f"each case, {way}", target, short, 1 if way == "byte by byte" else 0))
                except OSError as error:
                    counts.append(Count(way, crashes=1, details=[str(error)]))
            print(f"==> {counts[-1].way}: {counts[-1].requests} requests, {counts[-1].details or 'all well'}", flush=True)
    return counts


def ask_peer(target: Target, corpus: list[Case]) -> list[Outcome]:
    outcomes = []
    for case in corpus:
        try:
            outcomes.append(exchange(target, case.send))
        except (OSError, ValueError):
            outcomes.append(Outcome("", "closed", "nothing"))
    return outcomes


def versions() -> dict[str, str]:
    listed = subprocess.run([str(ENVIRONMENT / "pip"), "freeze"], check=True, capture_output=True, text=True).stdout
    pairs = [line.split("==") for line in listed.splitlines() if "==" in line]
    return {name.lower(): version for name, version in pairs}


def main() -> None:
    install_peers()
    corpus = cases()
    found = {}
    for server in (PENEUS, *PEERS):
        with run(server, APP) as port:
            found[server.name] = ask_peer(Target(port, patience=1 if server.peer else 5), corpus)
        print(f"==> {server.name}", flush=True)
    (ROOT / "docs/strictness.md").write_text(pages.strictness(corpus, found, versions()))
    counts = bad_input(corpus)
    rows = [(c.way, c.requests, c.otherwise, c.unended, c.crashes, c.disturbed) for c in counts]
    (ROOT / "docs/bad-input.md").write_text(pages.bad_input(rows))
    if any(c.otherwise or c.unended or c.crashes or c.disturbed for c in counts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
