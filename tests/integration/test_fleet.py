"""Relayed messages from other processes, to the sockets of several workers: on the hub and on both Redis buses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import peneus
import pytest
from asgiref.sync import async_to_sync
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, WebSocket, eventually
from tests.support.hosts import Host, can_make_hosts, hosts
from tests.support.redis import redis_server

APPLICATION = "tests.integration.relay_apps:application"
BUSES = ["hub", "redis", "redis-core"]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def fleet(bus: str, directory: Path, **settings: Any) -> Iterator[tuple[LiveServer, peneus.ChannelLayer]]:
    """Two workers, and the layer of a process that only publishes."""
    with ExitStack() as stack:
        config: dict[str, Any] = {"bus": bus}
        if bus == "hub":
            config["hub"] = str(directory / "hub")
        else:
            config["hosts"] = [stack.enter_context(redis_server()).url]
        environment = {"RELAY_LAYER": json.dumps(config)}
        server = stack.enter_context(LiveServer(APPLICATION, workers=2, environment=environment, close_timeout=1, **settings))
        yield server, peneus.ChannelLayer(**config)


def publish(layer: peneus.ChannelLayer, text: str, group: str = "prices") -> None:
    async_to_sync(layer.group_send)(group, {"type": "websocket.send", "text": text})


def text(client: WebSocket) -> str:
    return client.receive()[1].decode()


def join_both(server: LiveServer, stack: ExitStack, count: int) -> dict[int, list[WebSocket]]:
    """At least count clients for each of the two workers, by its pid."""
    serving: set[bytes] = set()

    def both_serve() -> bool:
        with Client(server.port) as client:
            client.send(b"GET /pid HTTP/1.1\r\nHost: test\r\n\r\n")
            serving.add(client.response().body)
        return len(serving) == 2

    # Otherwise the first worker may have hundreds of clients before the second one serves, each a member for every message.
    eventually(both_serve, "a second worker that serves")
    by_worker: dict[int, list[WebSocket]] = {}
    deadline = time.monotonic() + 30
    while len(by_worker) < 2 or min(map(len, by_worker.values())) < count:
        assert time.monotonic() < deadline, by_worker
        client = stack.enter_context(WebSocket(server.port, "/prices").open())
        assert text(client) == "joined"
        client.text("pid")
        by_worker.setdefault(int(text(client)), []).append(client)
    return by_worker


@pytest.mark.parametrize("bus", BUSES)
def test_every_worker_relays_and_a_killed_one_costs_its_own_clients_alone(bus: str, tmp_path: Path) -> None:
    with fleet(bus, tmp_path) as (server, layer), ExitStack() as stack:
        by_worker = join_both(server, stack, 3)
        everyone = [client for clients in by_worker.values() for client in clients]
        for number in range(50):
            publish(layer, str(number))
        for client in everyone:
            assert [text(client) for _ in range(50)] == [str(number) for number in range(50)]
        killed, kept = by_worker
        if bus != "redis":  # where pub/sub does not know
            assert async_to_sync(layer.group_count)("prices") == len(everyone)
        os.kill(killed, signal.SIGKILL)
        for client in by_worker[killed]:
            assert client.rest() == b""
        for number in range(50, 60):
            publish(layer, str(number))
        for client in by_worker[kept]:
            assert [text(client) for _ in range(10)] == [str(number) for number in range(50, 60)]
        if bus == "hub":
            eventually(lambda: async_to_sync(layer.group_count)("prices") == len(by_worker[kept]))
        with WebSocket(server.port, "/prices").open() as late:  # whoever serves it, the new worker or the old
            assert text(late) == "joined"
            publish(layer, "again")
            assert text(late) == "again"


@pytest.mark.parametrize("bus", BUSES)
def test_a_publisher_that_floods(bus: str, tmp_path: Path) -> None:
    """Memory stays bounded, nobody is disconnected, and what is published when it is over arrives. The clients neither read nor
    answer pings meanwhile, however long it takes."""
    with fleet(bus, tmp_path, ping_interval=0, send_timeout=-1) as (server, layer), ExitStack() as stack:
        by_worker = join_both(server, stack, 2)
        before = {pid: resident_mib(pid) for pid in by_worker}
        flood = "import sys, json, tests.integration.test_fleet as t; t.flood(json.loads(sys.argv[1]))"
        config = {"bus": bus, "hub": str(tmp_path / "hub")} if bus == "hub" else {"bus": bus, "hosts": layer_hosts(server)}
        subprocess.run([sys.executable, "-c", flood, json.dumps(config)], cwd=ROOT, check=True, timeout=120)
        time.sleep(0.5)
        publish(layer, "last")
        for clients in by_worker.values():
            for client in clients:
                while text(client) != "last":
                    pass
        for pid in by_worker:
            assert resident_mib(pid) - before[pid] < 100, "MiB, where 40,000 KiB were published"


def layer_hosts(server: LiveServer) -> list[str]:
    found: list[str] = json.loads(server.environment["RELAY_LAYER"])["hosts"]
    return found


def flood(config: dict[str, Any]) -> None:
    """40,000 messages of 1 KiB, as fast as they are taken."""
    layer = peneus.ChannelLayer(**config)

    async def send() -> None:
        message = {"type": "websocket.send", "text": "x" * 1024}
        for _ in range(400):
            results = await asyncio.gather(*(layer.group_send("prices", message) for _ in range(100)), return_exceptions=True)
            assert all(result is None or isinstance(result, peneus.BusUnavailable) for result in results), results

    async_to_sync(send)()


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


class Remote:
    """A Peneus server on a host of its own."""

    def __init__(self, host: Host, redis: str, directory: Path) -> None:
        self.host = host
        environment = {**os.environ, "RELAY_LAYER": json.dumps({"hosts": [redis]})}
        command = [*host.prefix, sys.executable, "-m", "peneus", "-b", host.address, "-p", "8000", APPLICATION]
        self.log = (directory / host.name).open("wb")
        self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=self.log, stderr=self.log)
        eventually(self.answers)

    def answers(self) -> bool:
        try:
            self.host.run(lambda: Client(8000, self.host.address)).socket.close()
        except RuntimeError:
            return False
        return True

    def join(self) -> WebSocket:
        client = self.host.run(lambda: WebSocket(8000, "/prices", host=self.host.address)).open()
        assert text(client) == "joined"
        return client

    def publish(self, words: str) -> None:
        client = self.host.run(lambda: Client(8000, self.host.address))
        client.send(f"GET /publish?{words} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        assert client.response().status == 200

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.mark.skipif(not can_make_hosts(), reason="needs root, and a system that lets it use network namespaces")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_two_hosts_and_a_pulled_cable(tmp_path: Path) -> None:
    """A Redis on a third host. While one host is cut off it hears nothing and keeps its clients; then it hears again."""
    with hosts(3) as (redis_host, one, two), ExitStack() as stack:
        command = [*redis_host.prefix, "redis-server", "--bind", redis_host.address, "--protected-mode", "no", "--save", ""]
        redis = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
        stack.callback(redis.wait, 20)
        stack.callback(redis.terminate)
        url = f"redis://{redis_host.address}:6379/0"
        first, second = stack.enter_context(Remote(one, url, tmp_path)), stack.enter_context(Remote(two, url, tmp_path))
        here, there = stack.enter_context(first.join()), stack.enter_context(second.join())
        first.publish("group=prices&count=20")
        for client in (here, there):
            assert [text(client).split()[0] for _ in range(20)] == [str(number) for number in range(20)]
        two.plug("down")
        first.publish("group=prices&size=100")
        assert len(text(here)) == 100
        time.sleep(8)  # longer than a Redis may be silent
        two.plug("up")
        client_again = None
        deadline = time.monotonic() + 60
        while client_again is None:
            assert time.monotonic() < deadline
            first.publish("group=prices&size=7")
            assert len(text(here)) == 7
            there.socket.settimeout(1)
            try:
                client_again = text(there)
            except TimeoutError:
                continue
        there.socket.settimeout(20)
        second.publish("group=prices&size=9")
        while len(text(there)) != 9:
            pass
        assert len(text(here)) in (7, 9)


def test_the_log_says_when_redis_is_gone_and_back() -> None:
    with redis_server() as redis:
        config = {"hosts": [redis.url]}
        with LiveServer(APPLICATION, environment={"RELAY_LAYER": json.dumps(config)}, close_timeout=1) as server:
            with WebSocket(server.port, "/prices").open() as client:
                assert text(client) == "joined"
                redis.kill()
                eventually(lambda: f"Channel layer: redis://127.0.0.1:{redis.port}/0" in server.stderr)
                redis.start()
                eventually(lambda: "is connected again" in server.stderr)
