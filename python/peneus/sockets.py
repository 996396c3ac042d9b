"""Listening sockets that are bound here and served elsewhere: the supervisor's, which its workers share, and that of /metrics."""

import errno
import os
import socket
import stat
import weakref
from contextlib import suppress

from . import endpoints
from .endpoints import SSL, TCP, FileDescriptor, Unix
from .errors import ListenError

Address = tuple[str, int] | str

_private: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def keep_from_children(listener: socket.socket) -> None:
    """A process that this one forks closes its copy at once: it would keep the address when this one has ended."""
    _private.add(listener)


def _close_private() -> None:
    for each in list(_private):
        each.close()


os.register_at_fork(after_in_child=_close_private)


class Listeners:
    """Sockets bound to endpoint strings. ListenError names the endpoint that cannot be had; then none of them stays open."""

    def __init__(self, strings: list[str], backlog: int) -> None:
        self.sockets: list[socket.socket] = []
        self.kinds: list[str] = []  # for each of them, endpoints.without_place() of its endpoint
        self._files: list[tuple[str, int, int]] = []  # path, device and inode of each Unix socket made here
        try:
            for string in strings:
                try:
                    endpoint = endpoints.parse(string)
                    self._open(endpoint.where if isinstance(endpoint, SSL) else endpoint, backlog)
                    self.kinds += [endpoints.without_place(endpoint)] * (len(self.sockets) - len(self.kinds))
                except OSError as error:
                    raise ListenError(f"{string}: {_reason(error)}") from error
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> list[Address]:
        """(host, port) of each TCP socket, the path of each Unix socket."""
        return [address(each) for each in self.sockets]

    def close(self) -> None:
        """Closes the sockets and removes the files of those on Unix paths. Twice does nothing."""
        for each in self.sockets:
            each.close()
        self.sockets.clear()
        for path, device, inode in self._files:
            with suppress(OSError):
                status = os.lstat(path)
                if (status.st_dev, status.st_ino) == (device, inode):  # not one that somebody has put there since
                    os.unlink(path)
        self._files.clear()

    def _open(self, endpoint: TCP | Unix | FileDescriptor, backlog: int) -> None:
        match endpoint:
            case TCP(host, port):
                self.sockets += bind_tcp(host, port, backlog)
            case Unix(path, mode):
                listener = bind_unix(path, mode, backlog)
                self.sockets.append(listener)
                status = os.lstat(path)
                self._files.append((path, status.st_dev, status.st_ino))
            case FileDescriptor(number):
                listener = duplicate(number)
                self.sockets.append(listener)
                listener.listen(backlog)


def duplicate(number: int) -> socket.socket:
    """A duplicate of a stream socket, whose file descriptor is number. OSError that names number, and not its own."""
    problem: str | None = "not a stream socket"
    try:
        own = os.dup(number)
        try:
            listener = socket.socket(fileno=own)
        except OSError:
            os.close(own)
            raise
        if listener.type == socket.SOCK_STREAM:
            return listener
        listener.close()
    except OSError as error:
        problem = error.strerror
    raise OSError(f"cannot listen on file descriptor {number}: {problem}")


def address(listener: socket.socket) -> Address:
    """Where listener listens, without what only IPv6 adds."""
    name = listener.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else os.fsdecode(name)


def bind_tcp(host: str, port: int, backlog: int) -> list[socket.socket]:
    """A listening socket for each address of host ("" is every interface), all on one port where port is 0. OSError."""
    shown = f"{host or '*'} port {port}"
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(f"cannot listen on {shown}: {error.strerror}") from error
    result: list[socket.socket] = []
    cause: OSError | None = None
    for family, _, _, _, where in found:
        try:
            listener = _bound(family, (where[0], port, *where[2:]), backlog)
        except OSError as error:
            cause = error
            if error.errno in (errno.EADDRINUSE, errno.EACCES):  # not half of what was asked for
                break
            continue
        result.append(listener)
        port = listener.getsockname()[1]
    if cause is not None and (not result or cause.errno in (errno.EADDRINUSE, errno.EACCES)):
        for listener in result:
            listener.close()
        raise OSError(f"cannot listen on {shown}: {cause.strerror or cause}")
    return result


def _bound(family: int, where: tuple[object, ...], backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def bind_unix(path: str, mode: int, backlog: int) -> socket.socket:
    """A listening Unix socket; a file of one that nobody listens on is replaced. OSError."""
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        os.chmod(path, mode)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on. OSError where there is one that is listened on, or a file of another kind."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(f"cannot listen on {path}: there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(f"cannot listen on {path}: Address already in use")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
