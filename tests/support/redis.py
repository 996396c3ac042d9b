"""A redis-server of the test's own, for the stacks that need one."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.ports import free_port


class Redis:
    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: str) -> list[bytes]:
        """Sends one command; the reply's lines, as they came."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
            connection.sendall(request + b"*1\r\n$4\r\nQUIT\r\n")
            reply = b""
            while received := connection.recv(65536):
                reply += received
        return reply.split(b"\r\n")[:-2]

    def subscribed_channels(self) -> int:
        """Channels that somebody is subscribed to."""
        return int(self.command("PUBSUB", "CHANNELS")[0][1:])


    def group_members(self) -> int:
        """Members of all groups, as channels_redis.core keeps them."""
        keys = [line.decode() for line in self.command("KEYS", "asgi:group:*") if line.startswith(b"asgi:")]
        return sum(int(self.command("ZCARD", key)[0][1:]) for key in keys)


@contextmanager
def redis_server() -> Iterator[Redis]:
    """Starts redis-server on a free port of the loopback, without persistence, and ends it afterwards."""
    executable = shutil.which("redis-server")
    if executable is None:
        raise RuntimeError("redis-server is missing: apt-get install redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [executable, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for_port(port, process)
            yield Redis(port)
        finally:
            process.terminate()
            process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"{process.args[0]} does not listen on port {port} after {timeout} s") from None
            time.sleep(0.02)
