"""Who hosts a hub: the supervisor for its workers, a server for its layers, and whoever is left when a host ends."""

import os
import select
import sys

import pytest
from channels.layers import get_channel_layer
from peneus import hubs

from tests.integration.programs import command, connect, get, peneus, until
from tests.integration.test_metrics import metrics_port, scrape
from tests.integration.test_supervisor import workers
from tests.leaks.client import Client

HERE = "tests.integration.test_hosting"


async def application(scope, receive, send):
    """A WebSocket hears what is sent to its group, with the number of its process; a request publishes its path."""
    layer = get_channel_layer()
    if scope["type"] == "websocket":
        channel = await layer.new_channel()
        await layer.group_add("all", channel)
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await layer.receive(channel)
            await send({"type": "websocket.send", "text": f"{message['text']} {os.getpid()}"})
    assert scope["type"] == "http"
    await layer.group_send("all", {"type": "told", "text": scope["path"]})
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": layer.bus.encode()})


PUBLISHER = """
import asyncio, sys
import django
django.setup()
from channels.layers import get_channel_layer
asyncio.run(get_channel_layer().group_send("all", {"type": "told", "text": sys.argv[1]}))
"""


@pytest.fixture
def settings(tmp_path):
    """Variables that give a process Django's settings, with CONFIG for its channel layer."""

    def write(**config):
        runtime = tmp_path / "runtime"
        runtime.mkdir(0o700, exist_ok=True)
        layer = {"default": {"BACKEND": "peneus.ChannelLayer", "CONFIG": config}}
        text = f"SECRET_KEY = 'x'\nINSTALLED_APPS = ['peneus']\nCHANNEL_LAYERS = {layer!r}\n"
        (tmp_path / "hosting_settings.py").write_text(text)
        return {
            "XDG_RUNTIME_DIR": str(runtime),
            "DJANGO_SETTINGS_MODULE": "hosting_settings",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        }

    return write


def serving(environment, *options):
    return peneus("-p", "0", "--graceful-timeout", "1", *options, f"{HERE}:application", **environment)


def publish(environment, text):
    with command("-c", PUBLISHER, text, **environment) as publisher:
        assert publisher.wait() == 0, publisher.output


def heard(clients):
    """What each of the clients is told next: the texts, and the processes that told it."""
    told = [client.frame()[1].decode().split() for client in clients]
    return {text for text, _ in told}, {int(pid) for _, pid in told}


def test_workers_are_connected_without_a_word(settings):
    environment = settings()
    with serving(environment, "--workers", "2", "--metrics", "127.0.0.1:0") as server:
        port = server.port()
        pids = workers(server)
        clients = [Client(port, "/").open() for _ in range(16)]
        assert get(("127.0.0.1", port), "/one").endswith(b"hub")
        assert heard(clients) == ({"/one"}, set(pids))
        place = os.path.join(environment["XDG_RUNTIME_DIR"], "peneus")
        path = f"{server.process.pid}.hub"
        assert path in os.listdir(place)
        publish({**environment, "PENEUS_HUB": os.path.join(place, path)}, "two")
        assert heard(clients) == ({"two"}, set(pids))
        counted = scrape(metrics_port(server))
        assert (counted["peneus_hub_members",], counted["peneus_hub_groups",]) == (2, 1)
        assert (counted["peneus_hub_published_total",], counted["peneus_hub_forwarded_total",]) == (2, 3)
        server.process.terminate()
        assert server.wait() == 0
        assert os.listdir(place) == []


def test_one_process_needs_none(settings):
    with serving(settings()) as server:
        assert get(("127.0.0.1", server.port())).endswith(b"local")
        assert "Hosting" not in server.output


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_hub_that_is_named_is_hosted(settings, tmp_path, options):
    path = tmp_path / "named"
    environment = settings(hub=str(path))
    with serving(environment, *options) as server:
        port = server.port()
        if options:
            workers(server)
        clients = [Client(port, "/").open() for _ in range(8)]
        server.wait_for(f"Hosting the hub at {path}\n")
        assert path.stat().st_mode & 0o777 == 0o600
        publish(environment, "named")
        assert heard(clients)[0] == {"named"}
        server.process.terminate()
        assert server.wait() == 0
        assert not path.exists()
        assert server.output.count(f"Hosting the hub at {path}\n") == 1


def test_two_servers_share_a_hub_and_the_second_takes_it_over(settings, tmp_path):
    path = tmp_path / "shared"
    environment = settings(hub=str(path))
    with serving(environment) as first, serving(environment, "--workers", "2") as second:
        ports = first.port(), second.port()
        workers(second)
        one, *others = clients = [Client(port, "/").open() for port in (ports[0], *[ports[1]] * 6)]
        until(lambda: sum(f"Hosting the hub at {path}\n" in server.output for server in (first, second)) == 1)
        hosts, guests = (first, second) if str(path) in first.output else (second, first)
        assert get(("127.0.0.1", ports[0]), "/both").endswith(b"hub")
        assert heard(clients)[0] == {"/both"}
        hosts.process.kill()
        guests.wait_for(f"Hosting the hub at {path}\n")
        left = others if guests is second else [one]
        # A worker that finds the new hub later than the publisher misses what has been published meanwhile.
        waiting = {client.socket for client in left}

        def all_have_heard():
            get(("127.0.0.1", guests.port()), "/again")
            waiting.difference_update(select.select(waiting, [], [], 0.1)[0])
            return not waiting

        until(all_have_heard, "every member hears over the new hub")
        assert heard(left)[0] == {"/again"}
        for client in clients:
            client.close()


def test_what_cannot_be_hosted_is_said(settings, tmp_path):
    path = tmp_path / "file"
    path.write_text("no socket")
    with serving(settings(hub=str(path))) as server:
        port = server.port()
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for(rf"ERROR +The hub at {path} is not hosted here: .*no socket")
    assert path.read_text() == "no socket"


def test_listeners_hear_of_every_hub_once():
    heard_of, late = [], []
    assert hubs.listen(heard_of.append)
    try:
        assert not hubs.listen(late.append)
        before = len(heard_of)
        hubs.want("/a/hub")
        hubs.want("/a/hub")
        hubs.ignore(late.append)
        hubs.want("/another")
        assert heard_of[before:] == ["/a/hub", "/another"] and not late
    finally:
        hubs.ignore(heard_of.append)
        hubs._wanted.remove("/a/hub")
        hubs._wanted.remove("/another")
