"""--thread-per-connection: a synchronous consumer that blocks stalls nobody else."""

import httpx
import pytest
from peneus.testing import LiveServer

from tests.integration.programs import until
from tests.leaks.client import Client

APPLICATION = "tests.integration.consumer_apps:application"


@pytest.fixture
def serve(tmp_path):
    servers = []

    def serve(**settings):
        server = LiveServer(APPLICATION, environment={"TEST_FLAG": str(tmp_path / "flag")}, **settings)
        servers.append(server.__enter__())
        return server

    yield serve
    (tmp_path / "flag").touch()
    for server in servers:
        server.__exit__()


def block(server):
    client = Client(server.port, "/blocking").open()
    client.send(b"block")
    until(lambda: "blocked" in server.stdout, "a handler blocks its thread")
    return client


def test_a_blocked_consumer_stalls_nobody_else(serve, tmp_path):
    server = serve(thread_per_connection=True)
    blocked = block(server)
    for _ in range(3):
        other = Client(server.port, "/blocking").open()
        other.send(b"other")
        assert other.receive() == b"other False"
    (tmp_path / "flag").touch()
    assert blocked.receive() == b"block False"


def test_without_it_they_share_a_thread_as_under_daphne(serve, tmp_path):
    server = serve()
    blocked = block(server)
    other = Client(server.port, "/blocking", timeout=1)
    with pytest.raises(TimeoutError):
        other.open()
    (tmp_path / "flag").touch()
    assert blocked.receive() == b"block False"


def test_one_that_is_killed_while_it_blocks_holds_nobody_up(serve):
    server = serve(thread_per_connection=True, application_close_timeout=1)
    block(server).reset()
    until(lambda: "took too long to shut down and was killed" in server.stderr, "the kill is logged")
    assert "consumer_apps.py" in server.stderr.split("was killed")[1]
    other = Client(server.port, "/blocking").open()
    other.send(b"other")
    assert other.receive() == b"other False"
    assert httpx.post(server.url, content=b"body").status_code == 200
