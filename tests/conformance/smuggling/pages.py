"""The two pages of docs/ that the run writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.conformance.smuggling.client import Outcome
from tests.conformance.smuggling.corpus import Case, title

SHOWN = 30

STRICTNESS = """# Strictness

Written by `make strictness`, which sends each case of
[tests/conformance/smuggling](../tests/conformance/smuggling/README.md) to Peneus and to its peers, with a second request behind
it: {count} cases, {rejected} of them to be refused. Versions: {versions}.
Peneus runs with `--max-body-size 1000000`, everything else as it comes.

How to read it:

- **rule**: what RFC 9110, 9112 or another asks of a server, and where. MAY: it leaves it to the server, and
  this is what Peneus has chosen.
- **a server's cell**: the statuses that came; `kept`: the second request was answered; `closed`: it was not, and the connection
  ended; `waits`: neither within a second; then what the application saw, `cut` if it was told that the rest does not come.
- **✗**: against a MUST or a SHOULD: accepted what is to be refused, or refused or changed what is to be accepted; kept a
  connection that must close, or whose framing nobody can know.

| | against a MUST | against a SHOULD | MAY: not as Peneus | waits |
|---|---|---|---|---|
{numbers}

What is not of the grammar is to be refused by a SHOULD (RFC 9112, 2.2), unless the RFC says more. It lets a server replace a
fold, a bare CR or a NUL by a blank: there MAY stands. As a second request always follows, one that closes may be answered
otherwise by a server that minds what comes behind it.

Where Peneus is not as the RFC says, and why:

{own}

Peneus refuses what it cannot read in one way only: the request's status, `Connection: close`, and nothing that came behind it is
looked at. A request whose chunks are faulty ends with `http.disconnect`, and with the status where the application has not
answered yet.
"""

BAD_INPUT = """# Bad input, counted

Written by `make strictness`. Each request is sent on a connection of its own while a kept HTTP connection and a WebSocket are in
use; after each of them both must still work, on the same connections.

| what was sent | requests | not answered as the corpus says | connections not ended | crashes | innocents disturbed |
|---|---|---|---|---|---|
{rows}

The cases: [tests/conformance/smuggling](../tests/conformance/smuggling/README.md); how each is answered:
[strictness](strictness.md). `make test` sends them too, and fewer mutants.
"""


def broken(case: Case, outcome: Outcome) -> bool:
    """Whether it is against the case's rule, MAY being none."""
    if case.level == "MAY":
        return False
    if case.verdict == "reject":
        return outcome.accepted or (outcome.end == "kept" and case.rule.startswith("RFC 9112, 6"))
    return not outcome.accepted or outcome.app != case.app or (outcome.end == "kept" and not case.kept)


def _cell(case: Case, outcome: Outcome) -> str:
    app = "" if outcome.app == "nothing" else f": {outcome.app}"
    if len(app) > SHOWN:
        app = app[:SHOWN] + "…"
    text = f"{outcome.statuses or 'no answer'} {outcome.end}{app}".replace("|", "\\|").replace("<", "&lt;")
    return f"✗ {text}" if broken(case, outcome) else text


def _numbers(corpus: Sequence[Case], found: Mapping[str, Sequence[Outcome]]) -> str:
    own = next(iter(found.values()))
    rows = []
    for server, outcomes in found.items():
        pairs = list(zip(corpus, outcomes, strict=True))
        must = sum(case.level == "MUST" and broken(case, outcome) for case, outcome in pairs)
        should = sum(case.level == "SHOULD" and broken(case, outcome) for case, outcome in pairs)
        other = sum(
            case.level == "MAY" and outcome.accepted != ours.accepted for (case, outcome), ours in zip(pairs, own, strict=True)
        )
        waits = sum(outcome.end == "waits" for outcome in outcomes)
        rows.append(f"| {server} | {must} | {should} | {other} | {waits} |")
    return "\n".join(rows)


def _own(corpus: Sequence[Case], outcomes: Sequence[Outcome]) -> str:
    return "\n".join(
        f"- `{case.name}` ({case.level} {case.verdict}, {case.rule}): {outcome}. {case.note}"
        for case, outcome in zip(corpus, outcomes, strict=True)
        if broken(case, outcome)
    )


def strictness(corpus: Sequence[Case], found: Mapping[str, Sequence[Outcome]], versions: Mapping[str, str]) -> str:
    names = ("uvicorn", "h11", "httptools", "daphne", "hypercorn")
    parts = [
        STRICTNESS.format(
            count=len(corpus),
            rejected=sum(case.verdict == "reject" for case in corpus),
            versions=", ".join(f"{name} {versions[name]}" for name in names),
            numbers=_numbers(corpus, found),
            own=_own(corpus, next(iter(found.values()))),
        )
    ]
    servers = list(found)
    group = ""
    for i, case in enumerate(corpus):
        if case.group != group:
            group = case.group
            parts.append(f"\n## {group[2:].replace('-', ' ').capitalize()}\n\n{title(group)}\n\n")
            parts.append(f"| case | rule | {' | '.join(servers)} |\n|{'---|' * (len(servers) + 2)}\n")
        cells = " | ".join(_cell(case, found[server][i]) for server in servers)
        link = f"[{case.name}](../tests/conformance/smuggling/cases/{group}.txt)"
        parts.append(f"| {link} | {case.level} {case.verdict}, {case.rule} | {cells} |\n")
    return "".join(parts)


def bad_input(rows: Sequence[Sequence[object]]) -> str:
    numbers = [list(row) for row in rows]
    total: list[object] = ["together", *(sum(int(str(row[i])) for row in numbers) for i in range(1, 6))]
    lines = [
        f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in row)} |" for row in [*numbers, total]
    ]
    return BAD_INPUT.format(rows="\n".join(lines))
