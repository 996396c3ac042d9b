"""The control socket: a Unix socket of each running server, for processes of the same user, such as `peneus channels`.

One JSON object on a line asks, one answers. The socket is `PID.sock` in a directory that only its owner can enter.
"""

import asyncio
import atexit
import json
import logging
import os
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from . import sockets

logger = logging.getLogger(__name__)

LINE_LIMIT = 64 * 1024 * 1024  # bytes of one answer
REQUEST_LIMIT = 64 * 1024
IDLE_TIME = 60.0  # s that a client may keep silent
TEMPORARY_VARIABLES = ("TMPDIR", "TEMP", "TMP")
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # the last is there in containers whose root cannot be written
ROWS = 1000  # groups, and channels, that one answer has at most for each worker


class Source(Protocol):
    """Whom a running server asks about itself: its supervisor, or its only process."""

    async def stats(self) -> dict[str, Any]:
        """As `peneus.stats()`, of all workers together, with `workers`, `workers_stuck` and `worker_restarts_total`."""

    async def details(self, rows: int) -> list[dict[str, Any]]:
        """For each worker `pid`, and `counters.details()` of it; without them, `silent`: it did not answer."""


class Refused(Exception):
    """The directory for control sockets is somebody else's, or open to others; or there is none that can be written."""


def directories(uid: int) -> Iterator[Path]:
    """Where servers of user uid may have their control sockets, the likeliest first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and uid == os.getuid():
        yield Path(runtime) / "peneus"
    yield Path(f"/run/user/{uid}/peneus")
    with suppress(Refused):
        yield temporary() / f"peneus-{uid}"


def temporary() -> Path:
    """The first temporary folder that can be written. Refused: tempfile would take the working directory."""
    for name in (*map(os.environ.get, TEMPORARY_VARIABLES), *TEMPORARY):
        if name and os.path.isdir(name) and os.access(name, os.W_OK | os.X_OK):
            return Path(name).absolute()
    raise Refused("no temporary folder can be written; set XDG_RUNTIME_DIR, or TMPDIR, to one that can")


def private_directory() -> Path:
    """The directory for the sockets of this user's servers: made if it is not there. Refused, OSError."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and _is_owned(Path(runtime)):
        path = Path(runtime) / "peneus"
    else:
        path = temporary() / f"peneus-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(0o700)
    check_directory(path, os.getuid())
    return path


def check_directory(path: Path, uid: int) -> None:
    """Refused unless path is a directory (no link) of user uid that nobody else can enter."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise Refused(f"{path} is not a directory")
    if status.st_uid != uid:
        raise Refused(f"{path} belongs to user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise Refused(f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):o}); it must have mode 700")


def _is_owned(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_uid == os.getuid()
    return False


def listen() -> socket.socket | None:
    """This process's control socket, listening; None, with a line in the log, where there can be none."""
    try:
        directory = private_directory()
        clean(directory)
        path = directory / f"{os.getpid()}.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
            os.chmod(path, 0o600)
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
    except (OSError, Refused) as error:
        logger.warning("No control socket, so `peneus channels` cannot ask this server: %s", error)
        return None
    sockets.keep_from_children(listener)
    return listener


def own_hub() -> str:
    """Where this process hosts the hub of its workers. Where it cannot, the log says so."""
    try:
        directory = private_directory()
    except (OSError, Refused):
        directory = _unnamed_directory()
    return str(directory / f"{os.getpid()}.hub")


def _unnamed_directory() -> Path:
    """A directory of this process alone."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="peneus-", dir=temporary()))
    except (OSError, Refused) as error:
        logger.error("The workers have no hub, so their channel layers do not reach each other: %s", error)
        return Path(f"/tmp/peneus-{os.getuid()}")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def forget_own_hub(path: str) -> None:
    """After its end: nobody else hosts a hub there, so the lock that hubs leave can go too."""
    if Path(path).name == f"{os.getpid()}.hub":
        Path(f"{path}.lock").unlink(missing_ok=True)


def clean(directory: Path) -> None:
    """Removes the sockets of servers that are gone: their process has ended, and nobody listens."""
    for path in (*directory.glob("*.sock"), *directory.glob("*.hub*")):
        pid = path.name.partition(".")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and not _is_answered(path):
            path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


class Answers:
    """Answers on listener what source says, on the running event loop, until close()."""

    def __init__(self, listener: socket.socket, source: Source) -> None:
        self._listener = listener
        self._path = Path(listener.getsockname())
        self._source = source
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=self._listener, limit=REQUEST_LIMIT)

    def close(self) -> None:
        """On the loop of start(), or where that has not been called. The socket's file is removed."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if peer_uid(writer.get_extra_info("socket")) not in (os.getuid(), 0):
                return
            while line := await asyncio.wait_for(reader.readline(), IDLE_TIME):
                writer.write(json.dumps(await self._answer(line), default=str).encode() + b"\n")
                await asyncio.wait_for(writer.drain(), IDLE_TIME)
        except (OSError, ValueError, asyncio.TimeoutError):
            pass  # a client that left, sent no line, or fell silent
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            do = request["do"]
            rows = min(int(request.get("rows", ROWS)), ROWS)
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": 'write {"do": "stats"} or {"do": "channels", "rows": 100}'}
        if do == "stats":
            return {"pid": os.getpid(), "stats": await self._source.stats()}
        if do == "channels":
            return {"pid": os.getpid(), "stats": await self._source.stats(), "workers": await self._source.details(rows)}
        return {"error": f"{do!r} is not known"}


class Client:
    """A connection to the control socket at path. OSError."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
            self._file = self._socket.makefile("rb")
        except BaseException:
            self._socket.close()
            raise

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer. OSError where there is none."""
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        line = self._file.readline(LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the server has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._file.close()
        self._socket.close()
