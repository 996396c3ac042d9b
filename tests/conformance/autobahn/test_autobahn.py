"""The Autobahn testsuite's fuzzing client against Peneus: every case; those of compression again with takeover.

The tests of compression are long because the client is slow: Python 2.7 masks and checks each byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.conformance.autobahn.python27 import python27
from tests.conformance.autobahn.testsuite import installed, outcomes
from tests.support.locks import locked

pytestmark = pytest.mark.timeout(3600)

GROUPS = {
    "framing": (["1.*"], 16),
    "pings": (["2.*"], 11),
    "reserved bits": (["3.*"], 7),
    "opcodes": (["4.*"], 10),
    "fragmentation": (["5.*"], 20),
    "utf8": (["6.*"], 145),
    "close": (["7.*"], 37),
    "limits": (["9.*"], 54),
    "mixed": (["10.*"], 1),
}
COMPRESSION = {"12.1.*": 18, "12.2.*": 18, "12.3.*": 18, "12.4.*": 18, "12.5.*": 18} | {f"13.{n}.*": 18 for n in range(1, 8)}


# `make test` runs these groups of compression, with takeover; `make test-all` runs all groups, with takeover and without.
QUICK = ("12.1.*", "13.1.*")


def takeover_groups() -> list[Any]:
    """The groups of compression as parameters, marked long except for the quick ones."""
    return [group if group in QUICK else pytest.param(group, marks=pytest.mark.long) for group in COMPRESSION]


def judge(found: dict[str, dict[str, str]], at_least: int) -> None:
    assert len(found) >= at_least, sorted(found)
    wrong = {
        case: result["description"]
        for case, result in found.items()
        if result["behavior"] not in ("OK", "INFORMATIONAL") or result["behaviorClose"] not in ("OK", "INFORMATIONAL")
    }
    assert not wrong, "\n\n".join(f"{case}: {found[case]['behavior']}: {what}" for case, what in wrong.items())


@pytest.fixture(scope="module", autouse=True)
def python() -> str:
    """With the testsuite's packages. It and they may have to be fetched."""
    try:
        with locked("autobahn"):
            found = python27()
            installed(found)
    except RuntimeError as error:
        pytest.skip(f"the Autobahn testsuite cannot run: {error}")
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def server_with_takeover() -> Iterator[LiveServer]:
    with serving(websocket_deflate_takeover=True, websocket_deflate_window_bits=15) as server:
        yield server


def serving(**settings: Any) -> LiveServer:
    limits = {"websocket_max_message_size": 2**26, "websocket_max_frame_size": 0}
    return LiveServer("tests.conformance.autobahn.application:application", **limits, **settings)


# Of each group of 18: small and large messages, whole and fragmented. PENEUS_AUTOBAHN=all takes all of them.
SOME = (1, 6, 10, 14, 18)


def run(python: str, server: LiveServer, cases: list[str], at_least: int) -> None:
    judge(outcomes(python, server.ws_url, cases), at_least)


@pytest.mark.parametrize("group", GROUPS)
def test_protocol(python: str, server: LiveServer, group: str) -> None:
    run(python, server, *GROUPS[group])


@pytest.mark.long
@pytest.mark.parametrize("cases", COMPRESSION)
def test_compression(python: str, server: LiveServer, cases: str) -> None:
    run(python, server, [cases], COMPRESSION[cases])


@pytest.mark.parametrize("cases", takeover_groups())
def test_compression_with_takeover(python: str, server_with_takeover: LiveServer, cases: str) -> None:
    if os.environ.get("PENEUS_AUTOBAHN") == "all":
        run(python, server_with_takeover, [cases], COMPRESSION[cases])
    else:
        run(python, server_with_takeover, [cases.replace("*", str(number)) for number in SOME], len(SOME))
