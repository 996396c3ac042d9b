"""The corpus against Peneus: README.md beside this file says how to read its cases."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.smuggling.client import Innocents, Target, exchange, problem
from tests.conformance.smuggling.corpus import cases
from tests.conformance.smuggling.mutants import ends, mutants
from tests.conformance.smuggling.servers import APP, PENEUS, run, with_tls
from tests.support.certificates import make


@contextmanager
def peneus(directory: Path | None = None) -> Iterator[Target]:
    if directory is None:
        with run(PENEUS, APP) as port:
            yield Target(port)
        return
    made = make(directory)
    context = ssl.create_default_context(cafile=str(made.authority))
    with run(with_tls(PENEUS, made), APP) as port:
        yield Target(port, context)


def check(target: Target, step: int) -> None:
    innocents = Innocents(target)
    problems = []
    try:
        for case in cases():
            if step and len(case.send) > 5000:
                continue
            if found := problem(case, exchange(target, case.send, step)):
                problems.append(found)
            if innocents.disturbed():
                problems.append(f"{case.name} has disturbed others")
                innocents.close()
                innocents = Innocents(target)
    finally:
        innocents.close()
    assert not problems, "\n".join(problems)


def test_there_are_enough_cases() -> None:
    found = cases()
    assert len(found) >= 160
    assert sum(case.verdict == "reject" for case in found) >= 125


@pytest.mark.parametrize("step", [0, 1], ids=["whole", "byte by byte"])
def test_each_case(step: int) -> None:
    with peneus() as target:
        check(target, step)


def test_each_case_by_tls(tmp_path: Path) -> None:
    with peneus(tmp_path) as target:
        check(target, 0)


def test_mutants_of_them() -> None:
    with peneus() as target:
        innocents = Innocents(target)
        for data in mutants(cases(), 300, 7):
            assert ends(target, data), data
            assert innocents.disturbed() == 0, data
        innocents.close()
