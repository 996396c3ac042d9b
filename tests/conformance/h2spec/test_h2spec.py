"""h2spec against Peneus: all of it, over TLS and cleartext."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peneus.testing import LiveServer

from tests.conformance.h2spec.tool import NO_GO, built, go, outcomes
from tests.support import nghttp2
from tests.support.identities import Authority
from tests.support.locks import locked

GO = go()
pytestmark = [pytest.mark.skipif(GO is None, reason=NO_GO), pytest.mark.timeout(900)]
APPLICATION = "tests.integration.tls_apps:application"
AT_LEAST = 146
# What h2spec, which goes by RFC 7540, calls wrong in these versions of nghttp2 and later: parts of the tests' names.
NOT_RFC_7540 = {
    nghttp2.HAS_NO_OLD_PRIORITIES: ["PRIORITY frame that depend on itself", "PRIORITY frame with 0x0 stream identifier"],
    nghttp2.FLOW_ERRORS_END_THE_CONNECTION: ["flow control window to above 2^31-1 on a stream"],
}


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    assert GO is not None
    try:
        with locked("h2spec"):
            compiled = built(GO)
        yield compiled
    except RuntimeError as error:
        pytest.skip(str(error))


def wrong_of(found: dict[str, str]) -> dict[str, str]:
    """Tests that must pass and have not."""
    assert len(found) >= AT_LEAST, sorted(found)
    known = [part for since, parts in NOT_RFC_7540.items() if nghttp2.version() >= since for part in parts]
    return {name: what for name, what in found.items() if what and not any(part in name for part in known)}


def judge(found: dict[str, str]) -> None:
    wrong = wrong_of(found)
    assert not wrong, "\n\n".join(f"{name}: {what}" for name, what in wrong.items())


def test_over_tls(program: Path, tmp_path: Path) -> None:
    server = Authority(tmp_path).issue("localhost", "localhost", "127.0.0.1")
    with LiveServer(APPLICATION, ssl_certfile=str(server.certificate), ssl_keyfile=str(server.key)) as live:
        judge(outcomes(program, live.port, tls=True))


def test_cleartext(program: Path) -> None:
    """On a port that speaks HTTP/2 only: where HTTP/1.1 is spoken too, what is no preface is answered in HTTP/1.1 (400)."""
    with LiveServer(APPLICATION, http2="only") as live:
        judge(outcomes(program, live.port, tls=False))


def test_cleartext_beside_http1(program: Path) -> None:
    with LiveServer(APPLICATION) as live:
        wrong = list(wrong_of(outcomes(program, live.port, tls=False)))
        assert len(wrong) == 1 and "invalid connection preface" in wrong[0], wrong
