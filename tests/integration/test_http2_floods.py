"""HTTP/2 clients that make work and take nothing: their faults are paid for, and what they can hold is bounded."""

from __future__ import annotations

import os
import struct
import time
from typing import Any

import pytest
from hpack.hpack import encode_integer

from tests.integration.core_harness import CoreServer, eventually
from tests.integration.raw_http2 import (
    CANCEL,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    RST_STREAM,
    Attacker,
    frame,
    request,
)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """/wait waits for its client to leave; everything else is answered at once."""
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


# control frames a second, how many streams are reset, and whether that is too many: the purse has ten seconds' worth
@pytest.mark.parametrize(("rate", "count", "flood"), [(0, 4000, False), (1000, 4000, False), (100, 1500, True), (10, 300, True)])
def test_resets_by_the_client(rate: int, count: int, flood: bool) -> None:
    """--http2-control-rate alone says how many RST_STREAM a client may send; nghttp2's own limit does not count."""
    with CoreServer(application, settings={"http2_control_rate": rate}) as server, Attacker(server.port) as attacker:
        for first in range(1, 2 * count, 100):
            batch = b"".join(request(stream, "/wait") + reset(stream) for stream in range(first, first + 100, 2))
            if not attacker.send(batch) or attacker.closed:
                break
        if flood:
            assert attacker.wait_for_goaway() == ENHANCE_YOUR_CALM
        else:
            assert attacker.alive() and attacker.goaway is None
            server.idle()
            last = 2 * count + 1
            attacker.send(request(last, "/"))
            attacker.wait(lambda: last in attacker.ended)
            assert attacker.statuses[last] == 200
        assert server.stats()["http2_floods_total"] == int(flood)
        server.idle()
        eventually(lambda: server.stats()["exchanges"] == 0)


def literal(name: str, value: str, indexed: bool = False) -> bytes:
    """A field; indexed: it goes into the table, from which one byte repeats it."""
    name_bytes, value_bytes = name.encode("latin-1"), value.encode("latin-1")
    sizes = [bytes(encode_integer(len(part), 7)) for part in (name_bytes, value_bytes)]
    return (b"\x40" if indexed else b"\0") + sizes[0] + name_bytes + sizes[1] + value_bytes


PSEUDO = b"".join(
    literal(name, value) for name, value in [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
)
FIRST_INDEX = 0x80 | 62  # of the table: the last field that went into it
FRAME = 16384  # the largest, in bytes


def head(stream: int, fields: bytes, flags: int = END_STREAM, pseudo: bytes = PSEUDO) -> bytes:
    """HEADERS, with CONTINUATION where it is long."""
    block = pseudo + fields
    parts = [block[at : at + FRAME] for at in range(0, len(block), FRAME)] or [b""]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    ends = [0] * (len(parts) - 1) + [END_HEADERS]
    return b"".join(
        frame(kind, end | (flags if kind == HEADERS else 0), stream, part)
        for kind, end, part in zip(kinds, ends, parts, strict=True)
    )


def bomb(kind: str, size: int = 12_000) -> bytes:
    """Fields whose bytes are few here and many when inflated: size times one of 4 kB, or one of 4 bytes."""
    name, value = {"values": ("v", "x" * 4000), "names": ("n" * 4000, "x"), "small": ("n", "x"), "bad": ("b", "\x85" * 4000)}[
        kind
    ]
    return literal(name, value, indexed=True) + bytes([FIRST_INDEX]) * size


KINDS = ["values", "names", "small", "bad"]
LIMITS = {"max_header_size": 10_000, "max_header_count": 20}


@pytest.mark.parametrize("field", ["x" * 12_000, "x" * 1000], ids=["one long", "many"])
def test_a_head_somewhat_over_the_limit_is_answered(field: str) -> None:
    """Up to twice the limits it is read to its end, so that the client gets 431."""
    with CoreServer(application, settings=LIMITS) as server, Attacker(server.port) as client:
        fields = b"".join(literal(f"x{number}", field) for number in range(12_000 // len(field)))
        for first in range(1, 4001, 100):
            streams = range(first, first + 100, 2)
            client.send(b"".join(head(stream, fields) for stream in streams))
            client.wait(lambda: client.ended.issuperset(streams))  # noqa: B023
        assert set(client.statuses.values()) == {431} and not client.resets and client.goaway is None
        assert server.stats()["bad_requests_total"] == 2000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_a_head_far_over_the_limit_is_reset(where: str, kind: str) -> None:
    """Nobody checks the rest of it. Others on the connection do not notice, until the client has done it too often."""
    settings = {**LIMITS, "http2_control_rate": 2, "header_timeout_ms": 500}
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as client:
        for number in range(10):
            stream = 4 * number + 1
            if where == "trailers":
                client.send(request(stream, "/wait", method="POST", ends=False))
            client.send(head(stream, bomb(kind), pseudo=PSEUDO if where == "head" else b""))
            client.wait(lambda: stream in client.resets)  # noqa: B023
            assert client.resets[stream] == ENHANCE_YOUR_CALM
            client.send(request(stream + 2, "/"))
            client.wait(lambda: stream + 2 in client.ended)  # noqa: B023
            assert client.statuses[stream + 2] == 200
        assert server.stats()["bad_requests_total"] == 10
        time.sleep(1)  # no head is incomplete: --header-timeout does not pass
        assert client.alive() and server.stats()["header_timeouts_total"] == 0
        for number in range(10, 40):
            client.send(head(4 * number + 1, bomb(kind)))
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
        assert server.stats()["http2_floods_total"] == 1
        server.idle()


def test_trailers_within_the_limit() -> None:
    with CoreServer(application, settings=LIMITS) as server, Attacker(server.port) as client:
        for stream in (1, 3, 5):  # each has the limit for itself, and its head too
            client.send(head(stream, literal("a", "x" * 9_900), flags=0) + head(stream, literal("b", "x" * 9_900), pseudo=b""))
            client.wait(lambda: stream in client.ended)  # noqa: B023
        assert set(client.statuses.values()) == {200} and not client.resets


def test_a_refused_head_that_does_not_end() -> None:
    """It has --header-timeout like every other."""
    with CoreServer(application, settings={**LIMITS, "header_timeout_ms": 500}) as server, Attacker(server.port) as client:
        client.send(frame(HEADERS, END_STREAM, 1, PSEUDO + bomb("values", 100)))
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
        assert server.stats()["header_timeouts_total"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_heads_cost_little(where: str, kind: str) -> None:
    """What is over the limit costs no more than its bytes: before, 64 MB were checked for each frame of 16 KiB."""
    settings = {"http2_control_rate": 0}
    count = 100
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as client:
        before = time.process_time()
        for stream in range(1, 2 * count, 2):
            if where == "trailers":
                client.send(request(stream, "/wait", method="POST", ends=False))
            client.send(head(stream, bomb(kind), pseudo=PSEUDO if where == "head" else b""))
        assert client.alive()
        assert len(client.resets) == count
        used = time.process_time() - before
        assert used < count * 0.01 * (10 if "PENEUS_SANITIZED" in os.environ else 1), f"{used / count * 1000:.1f} ms each"
        server.idle()
