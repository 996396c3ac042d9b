"""Sockets that are bound for workers: as a single process binds them, and with the same sentences where it cannot."""

import os
import socket

import peneus as package
import pytest
from peneus.errors import ListenError
from peneus.sockets import Listeners

from tests.integration.programs import hello
from tests.support.ports import free_port


def said(endpoint):
    """What is said where endpoint cannot be had: by the supervisor's listeners, and by a server's own."""
    with pytest.raises(ListenError) as supervisors:
        Listeners([endpoint], 5)
    with pytest.raises(ListenError) as servers:
        package.Server(hello, endpoints=[endpoint], signal_handlers=False).run()
    return str(supervisors.value), str(servers.value)


def test_tcp_on_a_free_port_and_on_both_families():
    listeners = Listeners(["tcp:port=0:interface=127.0.0.1", r"tcp:port=0:interface=\:\:1", "tcp:port=0"], 5)
    try:
        (host, port), (host6, port6), *everywhere = listeners.addresses
        assert host == "127.0.0.1" and host6 == "::1" and port and port6
        assert {host for host, _ in everywhere} == {"0.0.0.0", "::"}
        assert len({port for _, port in everywhere}) == 1
        for address in ((host, port), (host6, port6)):
            socket.create_connection(address, 5).close()
    finally:
        listeners.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), 5)


def test_unix_sockets(tmp_path):
    path = str(tmp_path / "socket")
    listeners = Listeners([f"unix:{path}:mode=620"], 5)
    assert listeners.addresses == [path]
    assert os.stat(path).st_mode & 0o777 == 0o620
    supervisors, servers = said(f"unix:{path}")
    assert supervisors == servers and "Address already in use" in supervisors
    listeners.close()
    assert not os.path.exists(path)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    listeners = Listeners([f"unix:{path}"], 5)
    os.unlink(path)
    (tmp_path / "socket").write_text("somebody else's")
    listeners.close()
    assert (tmp_path / "socket").read_text() == "somebody else's"
    supervisors, servers = said(f"unix:{path}")
    assert supervisors == servers and "there is a file that is not a socket" in supervisors


def test_descriptors():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        listeners = Listeners([f"fd:fileno={bound.fileno()}"], 5)
        assert listeners.addresses == [bound.getsockname()]
        socket.create_connection(bound.getsockname(), 5).close()
        listeners.close()
        assert bound.fileno() >= 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        supervisors, servers = said(f"fd:fileno={datagrams.fileno()}")
        assert supervisors.endswith("not a stream socket") and servers.endswith("not a stream socket")


def test_what_cannot_be_had_leaves_nothing_open():
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        used = taken.getsockname()[1]
        endpoint = f"tcp:port={used}:interface=127.0.0.1"
        supervisors, servers = said(endpoint)
        assert supervisors == servers == f"{endpoint}: cannot listen on 127.0.0.1 port {used}: Address already in use"
        with pytest.raises(ListenError):
            Listeners([f"tcp:port={port}:interface=127.0.0.1", endpoint], 5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
    supervisors, servers = said("tcp:port=0:interface=nowhere.invalid")
    assert supervisors == servers and "cannot listen on nowhere.invalid port 0: " in supervisors
