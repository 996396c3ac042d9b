"""A redis-server of the test's own, for the stacks that need one."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port


class Redis:
    """A running redis-server, and what faults can be done to it. It ends with `redis_server`."""

    def __init__(self, port: int, directory: Path, options: tuple[str, ...] = ()) -> None:
        self.port = port
        self.directory = directory
        self.options = options
        self.process = self._started()

    def _started(self) -> subprocess.Popen:
        executable = shutil.which("redis-server")
        if executable is None:
            raise RuntimeError("redis-server is missing: apt-get install redis-server")
        file = [option for option in self.options[:1] if option.endswith(".conf")]
        command = [executable, *file, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "no", *self.options[len(file) :]]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for_port(self.port, process)
        except BaseException:
            process.kill()
            process.wait(10)
            raise
        return process

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: str | bytes) -> list[bytes]:
        """Sends one command; the reply's lines, as they came."""
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
            connection.sendall(request + b"*1\r\n$4\r\nQUIT\r\n")
            reply = b""
            while received := connection.recv(65536):
                reply += received
        return reply.split(b"\r\n")[:-2]

    def group_members(self) -> int:
        """Members of all groups, as channels_redis.core keeps them."""
        keys = [line.decode() for line in self.command("KEYS", "asgi:group:*") if line.startswith(b"asgi:")]
        return sum(int(self.command("ZCARD", key)[0][1:]) for key in keys)

    def subscribed_channels(self) -> int:
        """Channels that somebody is subscribed to."""
        return int(self.command("PUBSUB", "CHANNELS")[0][1:])

    def clients(self) -> list[dict[str, str]]:
        """CLIENT LIST, without the connection that asks."""
        lines = b"\n".join(self.command("CLIENT", "LIST")[1:]).decode().splitlines()
        found = [dict(field.split("=", 1) for field in line.split()) for line in lines if line]
        return [client for client in found if client["cmd"] != "client|list"]

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; `start` brings an empty one back."""
        self.process.kill()
        self.process.wait(10)

    def start(self) -> None:
        self.process = self._started()

    def end(self) -> None:
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def redis_server(*options: str, port: int | None = None) -> Iterator[Redis]:
    """Starts redis-server on a free port of the loopback, without persistence, and ends it afterwards.

    options: more of its command line, `--name value`; or a configuration file's path, first."""
    with tempfile.TemporaryDirectory() as directory:
        redis = Redis(port or free_port(), Path(directory), options)
        try:
            yield redis
        finally:
            redis.end()


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
