"""A `peneus.Server` in somebody else's process leaves the process as it was."""

import gc
import threading
import weakref

import httpx
import peneus
import pytest
from peneus.testing import LiveServer

from tests.integration.programs import until


async def frozen(scope, receive, send):
    """Says how many objects the garbage collector does not look at."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(gc.get_freeze_count()).encode()})


class Ring:
    def __init__(self):
        self.ring = self
        self.memory = bytes(1_000_000)


def test_garbage_of_the_process_is_collected():
    before = gc.get_freeze_count()
    rings = []
    for _ in range(3):
        ring = Ring()
        rings.append(weakref.ref(ring))
        server = peneus.Server(frozen, host="127.0.0.1", port=0, signal_handlers=False)
        thread = threading.Thread(target=server.run)
        thread.start()
        until(lambda server=server: server.listening_addresses and server._serving, "it serves")
        assert int(httpx.get(f"http://127.0.0.1:{server.listening_addresses[0][1]}/").text) == before
        server.stop()
        thread.join()
        del ring
    gc.collect()
    assert gc.get_freeze_count() == before
    assert [ring() for ring in rings] == [None] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_of_its_own_is_frozen(workers):
    with LiveServer("tests.integration.test_embedded:frozen", workers=workers) as server:
        assert int(httpx.get(server.url).text) > 1000
