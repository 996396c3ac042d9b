"""Runs a program under a stack: a server, a channel layer, and a redis-server where the layer needs one.

All of it is real: the server is a process of its own, started by its own command line, its clients are sockets.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.support.ports import free_port
from tests.support.redis import Redis, redis_server, wait_for_port

ROOT = Path(__file__).resolve().parents[2]
KILLED = "took too long to shut down and was killed"


@dataclass(frozen=True)
class Stack:
    """A server and the channel layer that its programs use."""

    name: str
    module: str  # python -m module
    layer: str
    bind: tuple[str, str]  # the names of the options for address and port
    needs_redis: bool
    kills: bool  # knows --application-close-timeout
    bus: str = ""  # of Peneus's layer


_PENEUS = ("peneus", "peneus.ChannelLayer", ("-b", "-p"))
PENEUS = Stack("peneus", *_PENEUS, needs_redis=False, kills=True)
PENEUS_HUB = Stack("peneus + hub", *_PENEUS, needs_redis=False, kills=True, bus="hub")
PENEUS_PUBSUB = Stack("peneus + redis", *_PENEUS, needs_redis=True, kills=True, bus="redis")
PENEUS_CORE = Stack("peneus + redis-core", *_PENEUS, needs_redis=True, kills=True, bus="redis-core")
PENEUS_BUSES = (PENEUS_HUB, PENEUS_PUBSUB, PENEUS_CORE)
DAPHNE = Stack(
    "daphne + pubsub", "daphne", "channels_redis.pubsub.RedisPubSubChannelLayer", ("-b", "-p"), needs_redis=True, kills=True
)
UVICORN = Stack(
    "uvicorn + pubsub",
    "uvicorn",
    "channels_redis.pubsub.RedisPubSubChannelLayer",
    ("--host", "--port"),
    needs_redis=True,
    kills=False,
)


class Running:
    """A server that runs a program."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path, redis: Redis | None) -> None:
        self.process = process
        self.port = port
        self.log_path = log
        self.redis = redis

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def killed(self) -> int:
        """Applications that the server says it has killed. Daphne may say it of one more than once."""
        return len({line.split("for connection")[0] for line in self.log.splitlines() if KILLED in line})

    def control(self, path: str, timeout: float = 120, **query: object) -> dict:
        """Asks the program's HTTP endpoint (programs/frame.py)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}; the server's log:\n{self.log}")
        return json.loads(body)

    def publish(self, count: int, group: str = "prices", pause: float = 0) -> None:
        self.control("/publish", group=group, count=count, pause=pause)

    def measure(self) -> dict[str, int]:
        result = self.control("/measure")
        if self.redis is not None:
            result["redis_subscriptions"] = self.redis.subscribed_channels()
            result["redis_members"] = self.redis.group_members()
        return result

    def counts(self) -> dict[str, int]:
        return self.control("/counts")

    def running(self) -> int:
        """Applications of WebSockets that have not ended."""
        counts = self.counts()
        return counts.get("started", 0) - counts.get("ended", 0)

    def wait_until(self, condition, what: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {timeout} s: {what}; counts {self.counts()}, {self.measure()}\n{self.log[-4000:]}"
                )
            time.sleep(0.05)

    def wait_ended(self, timeout: float = 60) -> None:
        self.wait_until(lambda: self.running() == 0, "every application has ended", timeout)


def environment_of(stack: Stack, redis: Redis | None, directory: str = "") -> dict[str, str]:
    config: dict[str, object] = {"hosts": [redis.url]} if redis is not None else {}
    if stack.bus:
        config["bus"] = stack.bus
    if stack.bus == "hub":
        config["hub"] = f"{directory}/hub"
    return os.environ | {"PYTHONPATH": str(ROOT), "LEAKS_LAYER": stack.layer, "LEAKS_CONFIG": json.dumps(config)}


def run_alone(stack: Stack, program: str) -> list[dict[str, int]]:
    """Runs program, which needs no server, with the stack's channel layer; what it prints."""
    with ExitStack() as cleanup:
        redis = cleanup.enter_context(redis_server()) if stack.needs_redis else None
        command = [sys.executable, "-m", program]
        variables = environment_of(stack, redis)
        ended = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, timeout=120, check=True)
        return json.loads(ended.stdout)


@contextmanager
def running(stack: Stack, program: str, *options: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Runs program (a module with an `application` made by programs/frame.py) under stack, with the server's options."""
    with ExitStack() as cleanup:
        redis = cleanup.enter_context(redis_server()) if stack.needs_redis else None
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [sys.executable, "-m", stack.module, f"{program}:application"]
        command += [stack.bind[0], "127.0.0.1", stack.bind[1], str(port), *options]
        variables = environment_of(stack, redis, str(directory)) | (environment or {})
        log = directory / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=variables)
        cleanup.callback(end, process)
        try:
            wait_for_port(port, process)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{log.read_text()}") from None
        yield Running(process, port, log, redis)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
