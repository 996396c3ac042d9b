"""A server that runs programs/guarantee.py under Peneus, and the observer in its process."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.leaks.client import Client
from tests.leaks.harness import PENEUS, Running, running
from tests.support.ports import free_port


class Observed:
    """Everything but `server` is asked from the observer: it answers whatever the event loop does."""

    def __init__(self, server: Running, port: int) -> None:
        self.server = server
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.lines = self.socket.makefile("r")

    def ask(self, what: str, *arguments: object):
        self.socket.sendall(json.dumps([what, *arguments]).encode() + b"\n")
        answer = json.loads(self.lines.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def measure(self) -> dict[str, int]:
        return self.ask("measure")

    def journal(self, name: str) -> list[list]:
        """What was noted under name, each without the name."""
        return [rest for first, *rest in self.ask("journal") if first == name]

    def join(self, path: str) -> tuple[Client, str]:
        """A client of the application at path, and the name of its channel; it is in the group."""
        client = Client(self.server.port, path).open()
        return client, client.receive().decode()

    def publish(self, count: int = 1, size: int = 1024) -> None:
        for number in range(count):
            self.ask("group_send", "prices", {"type": "notification", "number": number, "data": "x" * size})

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s: {what}; {self.measure()}, {self.ask('journal')}")
            time.sleep(0.01)

    def wait_noted(self, name: str, times: int = 1, timeout: float = 20) -> list[list]:
        self.wait_until(lambda: len(self.journal(name)) >= times, f"{name!r}, {times} times", timeout)
        return self.journal(name)

    def wait_measured(self, timeout: float = 20, **expected: int) -> None:
        def reached() -> bool:
            measured = self.measure()
            return all(measured[name] == value for name, value in expected.items())

        self.wait_until(reached, f"{expected}", timeout)

    def wait_nothing_left(self, timeout: float = 20) -> None:
        self.wait_measured(timeout, memberships=0, groups=0, channels=0, queued=0, queued_bytes=0, orphaned=0)


@contextmanager
def observed(*options: str) -> Iterator[Observed]:
    port = free_port()
    environment = {"LEAKS_OBSERVER": str(port)}
    with running(PENEUS, "tests.leaks.programs.guarantee", *options, environment=environment) as server:
        yield Observed(server, port)
