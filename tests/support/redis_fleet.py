"""Several Redis servers that belong together: a master with a replica and Sentinels; a cluster."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.ports import free_port
from tests.support.redis import Redis, redis_server


@dataclass
class Watched:
    master: Redis
    replica: Redis
    sentinels: list[Redis]

    def master_port(self) -> int:
        """What the Sentinels say."""
        return int(_raw(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "market").split()[-1])

    def order_fail_over(self) -> None:
        assert _raw(self.sentinels[0], "SENTINEL", "FAILOVER", "market") == b"+OK\r\n"


@contextmanager
def sentinels() -> Iterator[Watched]:
    """A master "market" that is replaced about a second after it has gone."""
    with ExitStack() as stack:
        master = stack.enter_context(redis_server("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(redis_server("--replicaof", "127.0.0.1", str(master.port)))
        fleet = Watched(master, replica, [])
        _wait(lambda: b"state=online" in _raw(master, "INFO", "replication"))
        for _ in range(3):
            port = free_port()
            file = master.directory / f"sentinel-{port}.conf"
            file.write_text(
                f"sentinel monitor market 127.0.0.1 {master.port} 2\n"
                "sentinel down-after-milliseconds market 800\n"
                "sentinel failover-timeout market 4000\n"
            )
            sentinel = stack.enter_context(redis_server(str(file), "--sentinel", port=port))
            fleet.sentinels.append(sentinel)
        for sentinel in fleet.sentinels:
            _wait(lambda s=sentinel: b"num-other-sentinels\r\n$1\r\n2" in _raw(s, "SENTINEL", "MASTER", "market"))
            _wait(lambda s=sentinel: b"num-slaves\r\n$1\r\n1" in _raw(s, "SENTINEL", "MASTER", "market"))
        yield fleet


@contextmanager
def cluster(nodes: int = 3, replicas: int = 0) -> Iterator[list[Redis]]:
    """Masters, all slots covered; then replicas for each, as `cluster_replica()` finds them."""
    client = shutil.which("redis-cli")
    if client is None:
        raise RuntimeError("redis-cli is missing: apt-get install redis-tools")
    with ExitStack() as stack:
        fleet = []
        for _ in range(nodes * (1 + replicas)):
            port = free_port(below=20_000)  # the nodes talk on port + 10000
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
            fleet.append(stack.enter_context(redis_server(*options, port=port)))
        addresses = [f"127.0.0.1:{redis.port}" for redis in fleet]
        command = [client, "--cluster", "create", *addresses, "--cluster-replicas", str(replicas), "--cluster-yes"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        for redis in fleet:
            _wait(lambda r=redis: b"cluster_state:ok" in r.command("CLUSTER", "INFO"))
        for redis in fleet[nodes:]:
            _wait(lambda r=redis: b"master_link_status:up" in r.command("INFO", "replication"))
        yield fleet


def cluster_replica(fleet: list[Redis], master: Redis) -> Redis:
    """The server that is a replica of master."""
    replicas = master.command("CLUSTER", "REPLICAS", master.command("CLUSTER", "MYID")[1].decode())
    ports = {int(line.split()[1].split(b"@")[0].split(b":")[1]) for line in b"\n".join(replicas).splitlines() if b"@" in line}
    return next(redis for redis in fleet if redis.port in ports)


def _raw(redis: Redis, *words: str) -> bytes:
    """A Sentinel knows no QUIT."""
    with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        while received := connection.recv(65536):
            reply += received
    return reply


def _wait(true, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError("the Redis servers do not find each other")
        time.sleep(0.05)
