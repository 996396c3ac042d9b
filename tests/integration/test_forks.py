"""Children that fork: what they have of their parent's sockets, and what they open."""

import asyncio
import contextlib
import os
import signal
import socket

import peneus
import pytest
import redis as redis_client
from peneus.testing import LiveServer

from tests.integration.core_harness import PATIENCE, Client, WebSocket, eventually
from tests.support.ports import free_port
from tests.support.redis import redis_server

layer = None  # of the server's process


async def application(scope, receive, send):
    """A request for /fork starts a child that lives until the descriptor ends that COMMAND names; it uses the layer for /use."""
    global layer
    if layer is None and scope["type"] != "lifespan":
        hosts = os.environ.get("HOSTS")
        layer = peneus.ChannelLayer(bus=os.environ["BUS"], **({"hosts": [hosts]} if hosts else {"hub": os.environ["HUB"]}))
        await layer.group_add("group", await layer.new_channel())
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
    elif scope["type"] == "http":
        body = str(child(scope["path"]) if scope["path"] != "/" else os.getpid()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})


def child(path):
    life = open(os.environ["LIFE"])
    used, told = os.pipe()
    pid = os.fork()
    if pid != 0:
        os.read(used, 1)
        return pid
    code = 1
    try:
        if path == "/use":
            asyncio.run(use())
        os.write(told, b"x")
        life.read()
        code = 0
    finally:
        os._exit(code)


async def use():
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "t"})
    assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"type": "t"}


@contextlib.contextmanager
def life(tmp_path):
    """A FIFO that children of the server read: they live as long as it is open for writing."""
    path = tmp_path / "life"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield str(path)
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def redis():
    with redis_server() as server:
        yield server


@pytest.fixture
def environment(tmp_path):
    with life(tmp_path) as path:
        yield {"LIFE": path, "HUB": str(tmp_path / "hub"), "BUS": "hub"}


def fetch(server, path):
    """The answer's body, when the server has closed the connection."""
    with Client(server.port) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        response = client.response()
        assert not client.fill(), "the client hears of the end"
    return int(response.body)


def is_closed(client):
    client.socket.settimeout(PATIENCE)
    try:
        return client.socket.recv(1) == b""
    except ConnectionResetError:
        return True


def sockets_of(pid):
    names = os.listdir(f"/proc/{pid}/fd")
    return sum(os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:") for name in names)


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def test_clients_hear_of_the_end_while_a_child_lives(environment):
    with LiveServer(application, environment=environment) as server, Client(server.port) as waiting:
        waiting.send(b"GET / HTTP/1.1\r\nHost: test\r\n")
        with WebSocket(server.port).open() as websocket:
            child = fetch(server, "/fork")
            assert os.path.exists(f"/proc/{child}")
            websocket.close()
            assert websocket.receive()[0] == 8
            assert not websocket.fill()
        waiting.send(b"Connection: close\r\n\r\n")
        waiting.response()
        assert is_closed(waiting)


@pytest.mark.parametrize("bus", ["hub", "redis", "redis-core"])
def test_a_dead_server_leaves_nothing_open(environment, redis, bus):
    if bus != "hub":
        environment |= {"BUS": bus, "HOSTS": redis.url}
    port, metrics = free_port(), free_port()
    settings = {"port": port, "metrics": f"127.0.0.1:{metrics}"}
    with redis_client.Redis(port=redis.port) as observer:

        def connections():
            return sum(each["id"] != str(observer.client_id()) for each in observer.client_list())

        eventually(lambda: connections() == 0, "a Redis without clients")
        with LiveServer(application, environment=environment, **settings) as server:
            with WebSocket(server.port).open() as websocket:
                child = fetch(server, "/fork")
                assert (connections() > 0) == (bus != "hub")
                os.kill(fetch(server, "/"), signal.SIGKILL)
                server.process.wait()
                assert os.path.exists(f"/proc/{child}")
                assert is_closed(websocket)
                eventually(lambda: connections() == 0, "the end of the dead server's connections to Redis")
        for number in (port, metrics):
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", number))
                listener.listen()
        with LiveServer(application, environment=environment, **settings) as server:  # the hub's path is to be had again
            fetch(server, "/")
            assert "is not hosted here" not in server.stderr


@pytest.mark.parametrize("bus", ["hub", "redis", "redis-core"])
def test_a_child_that_does_not_use_the_layer_opens_nothing(environment, redis, bus):
    if bus != "hub":
        environment |= {"BUS": bus, "HOSTS": redis.url}
    with LiveServer(application, environment=environment) as server:
        child = fetch(server, "/fork")
        # Native threads connect: where there is none, nothing will.
        assert threads_of(child) == 1
        user = fetch(server, "/use")
        assert threads_of(user) > 1 and sockets_of(user) > sockets_of(child)


def test_a_grandchild(environment):
    """Of a child that has not used the layer."""
    layer = peneus.ChannelLayer()

    def fork(then):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                then()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0

    def talk():
        async def main():
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "t"})
            assert await layer.receive(channel) == {"type": "t"}

        asyncio.run(main())
        assert peneus.stats()["channels"] == 1

    fork(lambda: fork(talk))
    fork(talk)
    assert not hasattr(layer, "nothing")
