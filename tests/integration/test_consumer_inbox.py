"""Which consumers await the native inbox, and that all of them do what they do under Channels' own loop."""

import json

import httpx
import pytest
from peneus.testing import LiveServer

from tests.integration.programs import until
from tests.leaks.client import PING, PONG, Client

APPLICATION = "tests.integration.consumer_apps:application"

WAYS = {
    "way": "inbox",
    "none": "inbox",
    "dispatch": "inbox websocket.connect websocket.receive say.way",
    "call": "inbox /call",
    "send": "inbox",
    "session": "inbox",
    "nested": "inbox",
    "receive": "channels",
    "memory": "channels",
    "own": "channels seen",
}


def ask(server, path, text="?"):
    client = Client(server.port, f"/{path}").open()
    client.send(text.encode())
    answer = client.receive().decode()
    client.close()
    return answer


@pytest.fixture(scope="module", params=[False, True], ids=["inbox", "channels"])
def server(request):
    with LiveServer(APPLICATION, no_consumer_inbox=request.param) as server:
        server.by_channels = request.param
        yield server


@pytest.mark.parametrize("path", WAYS)
def test_how_a_consumer_is_run(server, path):
    expected = WAYS[path]
    if server.by_channels:
        expected = expected.replace("inbox", "channels")
    assert ask(server, path) == expected


def test_somebody_elses_call_goes_on_being_called():
    with LiveServer(APPLICATION, environment={"TEST_WRAPPED": "1"}) as server:
        assert ask(server, "way") == "channels"
        assert server.stdout.count("traced") == 1


def test_json_and_groups(server):
    content = {"a": [1, 2.5, None, "ü"]}
    assert json.loads(ask(server, "json", json.dumps(content))) == content
    assert json.loads(ask(server, "json-in-thread", json.dumps(content))) == {**content, "thread": True}


def test_a_request(server):
    way = "channels" if server.by_channels else "inbox"
    assert httpx.post(server.url, content=b"body").text == f"body by {way}"


def test_an_exception_ends_the_consumer_and_is_logged(server):
    before = server.stderr.count("LookupError: what a handler raises")
    client = Client(server.port, "/failing").open()
    client.send(b"go")
    client.wait_closed()
    assert client.code == 1011
    until(lambda: server.stderr.count("LookupError: what a handler raises") == before + 1, "it is logged")


def test_events_and_messages_come_in_their_order(tmp_path):
    flag = tmp_path / "flag"
    with LiveServer(APPLICATION, environment={"TEST_FLAG": str(flag)}) as server:
        publisher = Client(server.port, "/publish").open()
        client = Client(server.port, "/ordered").open()
        client.send(b"wait")
        until(lambda: "waiting" in server.stdout, "its handler runs")
        channel = server.stdout.split()[-1]
        for number in range(10):
            client.send(b"event%d" % number)
            client.send(b"", PING)
            assert client.frame()[0] == PONG
            publisher.ask({"channel": channel, "text": f"message{number}"})
        client.send(b"last")
        flag.touch()
        expected = [f"{kind}{number}" for number in range(10) for kind in ("event", "message")]
        assert client.receive().decode().split() == [*expected, "last"]
