"""Hosts of the test's own: network namespaces of this machine, joined by a bridge in one more. They need root."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class Host:
    """One namespace, with the address `address`."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    @property
    def prefix(self) -> list[str]:
        """Before a command: runs it there."""
        return ["ip", "netns", "exec", self.name]

    def run(self, function: Callable[[], T]) -> T:
        """The result of function, called on a thread whose sockets are of this host."""
        results: list[Any] = []

        def inside() -> None:
            file = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(file, 0) != 0:
                    raise OSError(ctypes.get_errno(), f"setns to {self.name}")
                results.append(function())
            finally:
                os.close(file)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if not results:
            raise RuntimeError(f"what was to run on {self.name} failed")
        result: T = results[0]
        return result

    def plug(self, state: str) -> None:
        """state: "up", or "down" as when its cable is pulled."""
        ip("-n", self.name, "link", "set", "eth0", state)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """count hosts that reach each other, at 192.0.2.1 and following (RFC 5737)."""
    mark = f"pn{os.getpid()}"
    switch = f"{mark}-switch"
    names = [f"{mark}-{number}" for number in range(count)]
    made = []
    try:
        for name in [switch, *names]:
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for number, name in enumerate(names):
            port = f"port{number}"
            ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", port, "netns", switch)
            ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "address", "add", f"192.0.2.{number + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield [Host(name, f"192.0.2.{number + 1}") for number, name in enumerate(names)]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


def can_make_hosts() -> bool:
    """Whether this user may make namespaces and run commands in them: root, and not in a container that forbids it, nor in a
    chroot whose root is no mount point, where `ip -n` fails."""
    if os.geteuid() != 0:
        return False
    name = f"pn{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)
    return True
