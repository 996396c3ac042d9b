"""HTTP/2 clients that make work and take nothing: their faults are paid for, and what they can hold is bounded."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.integration.core_harness import CoreServer, eventually
from tests.integration.raw_http2 import (
    CANCEL,
    ENHANCE_YOUR_CALM,
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
