"""TLS: versions, ciphers, certificates of both sides, names, protocols, reloading, and clients that do not keep to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from peneus import Server
from peneus.errors import ConfigurationError, SettingError
from peneus.testing import LiveServer

from tests.integration.programs import Command, command, peneus, until
from tests.support.identities import PASSWORD, Authority, Identity
from tests.support.websocket_client import connect

PATIENCE = 20
ECHO = "tests.integration.tls_apps:application"
RELAY = "tests.integration.relay_apps:application"


@dataclass
class Made:
    directory: Path
    authority: Authority
    server: Identity
    other: Identity
    client: Identity
    stranger: Identity

    @property
    def files(self) -> dict[str, str]:
        return {"ssl_certfile": str(self.server.certificate), "ssl_keyfile": str(self.server.key)}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    return Made(
        directory,
        authority,
        authority.issue("localhost", "localhost", "127.0.0.1"),
        authority.issue("other.test", "other.test", "*.wild.test"),
        authority.issue("Jürgen, client", "client.test"),
        Authority(directory, "Stranger").issue("stranger", "stranger.test"),
    )


@pytest.fixture(scope="module")
def server(made: Made) -> Iterator[LiveServer]:
    with LiveServer(ECHO, **made.files) as server:
        yield server


def trusting(made: Made, shown: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(made.authority.file))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


@contextmanager
def talking(
    server: LiveServer | int, context: ssl.SSLContext, name: str = "localhost", session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    port = server if isinstance(server, int) else server.port
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname=name, session=session) as secure:
            yield secure


def some(secure: ssl.SSLSocket) -> bytes:
    received = secure.recv(65536)
    if not received:
        raise ConnectionError("the server has closed")
    return received


def ask(secure: ssl.SSLSocket) -> dict[str, Any]:
    secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = b""
    while b"\r\n\r\n" not in received:
        received += some(secure)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += some(secure)
    return json.loads(body)


def get(server: LiveServer | int, context: ssl.SSLContext, name: str = "localhost") -> dict[str, Any]:
    with talking(server, context, name) as secure:
        return ask(secure)


def shown(server: LiveServer | int, made: Made, name: str = "localhost") -> str:
    """The common name of the certificate that the server shows."""
    context = trusting(made)
    context.check_hostname = False
    with talking(server, context, name) as secure:
        certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def test_what_the_application_sees(server: LiveServer, made: Made) -> None:
    assert server.url.startswith("https://")
    with talking(server, trusting(made)) as secure:
        seen = ask(secure)
        assert ask(secure) == seen  # the second request on the connection
        cipher = secure.cipher()
        assert cipher is not None
    assert seen["scheme"] == "https"
    tls = seen["tls"]
    assert tls.pop("server_cert") == made.server.pem
    # of which the standard library says only the name
    assert tls.pop("cipher_suite") in {"TLS_AES_256_GCM_SHA384": (0x1302,), "TLS_AES_128_GCM_SHA256": (0x1301,)}[cipher[0]]
    assert tls == {"client_cert_chain": [], "client_cert_name": None, "client_cert_error": None, "tls_version": 0x0304}


def test_websockets(server: LiveServer, made: Made) -> None:
    with connect(f"{server.ws_url}/", ssl=trusting(made), max_size=None) as client:
        seen = json.loads(client.recv(PATIENCE))
        assert seen["scheme"] == "wss"
        assert seen["tls"]["tls_version"] == 0x0304
        for size in (1, 100, 16384, 16385, 300_000):
            client.send(b"x" * size)
            assert client.recv(PATIENCE) == b"x" * size


def test_without_tls_nothing_is_said_of_it() -> None:
    with LiveServer(ECHO) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: client.recv(65536), b""))
        seen = json.loads(received.partition(b"\r\n\r\n")[2])
        assert seen["scheme"] == "http"
        assert seen["tls"] is None
        assert "tls" not in seen["extensions"]


def test_versions(made: Made, server: LiveServer) -> None:
    old = trusting(made)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with talking(server, old) as secure:
        assert secure.version() == "TLSv1.2"
        assert ask(secure)["tls"]["tls_version"] == 0x0303
    with LiveServer(ECHO, **made.files, ssl_min_version="1.3") as modern:
        with pytest.raises(ssl.SSLError, match="(?i)version"):
            get(modern, old)
        assert get(modern, trusting(made))["tls"]["tls_version"] == 0x0304


def test_ciphers(made: Made) -> None:
    with LiveServer(ECHO, **made.files, ssl_ciphers="ECDHE-ECDSA-CHACHA20-POLY1305:TLS_AES_128_GCM_SHA256") as server:
        assert get(server, trusting(made))["tls"]["cipher_suite"] == 0x1301
        old = trusting(made)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(server, old)["tls"]["cipher_suite"] == 0xCCA9
        old.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        with pytest.raises(ssl.SSLError, match="(?i)handshake"):
            get(server, old)


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_clients_certificates(made: Made, wanted: str) -> None:
    with LiveServer(ECHO, **made.files, ssl_ca_certs=str(made.authority.file), ssl_cert_reqs=wanted) as server:
        tls = get(server, trusting(made, made.client))["tls"]
        assert tls["client_cert_chain"][0] == made.client.pem
        assert tls["client_cert_name"] == "CN=Jürgen\\, client,O=Tests"
        assert tls["client_cert_error"] is None
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(server, trusting(made, made.stranger))
        if wanted == "optional":
            assert get(server, trusting(made))["tls"]["client_cert_chain"] == []
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                get(server, trusting(made))


def test_names_choose_certificates(made: Made) -> None:
    certificates = [str(made.server.certificate), str(made.other.certificate)]
    keys = [str(made.server.key), str(made.other.key)]
    with LiveServer(ECHO, ssl_certfile=certificates, ssl_keyfile=keys) as server:
        assert shown(server, made, "localhost") == "localhost"
        assert shown(server, made, "other.test") == "other.test"
        assert shown(server, made, "a.wild.test") == "other.test"
        assert shown(server, made, "nobody.test") == "localhost"
        assert get(server, trusting(made), "other.test")["tls"]["server_cert"] == made.other.pem


def test_protocols(server: LiveServer, made: Made) -> None:
    context = trusting(made)
    context.set_alpn_protocols(["unheard/9", "http/1.1"])
    with talking(server, context) as secure:
        assert secure.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["unheard/9"])
    with pytest.raises(ssl.SSLError, match="(?i)application.protocol"):
        get(server, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("workers", [1, 2])
def test_sessions_are_resumed(made: Made, version: ssl.TLSVersion, workers: int) -> None:
    context = trusting(made)
    context.maximum_version = version
    with LiveServer(ECHO, **made.files, workers=workers) as server:
        with talking(server, context) as secure:
            ask(secure)
            session = secure.session
        for _ in range(4):  # by whichever worker
            with talking(server, context, session=session) as secure:
                ask(secure)
                assert secure.session_reused


def test_large_bodies(server: LiveServer, made: Made) -> None:
    client = HTTPSConnection("localhost", server.port, context=trusting(made), timeout=PATIENCE)
    for size in (0, 1, 16384, 16385, 3_000_000):
        client.request("POST", "/", body=bytes(size))
        assert json.loads(client.getresponse().read())["length"] == size
        client.request("GET", f"/big/{size}")
        assert len(client.getresponse().read()) == size
    client.close()


def test_a_slow_reader_gets_all(server: LiveServer, made: Made) -> None:
    size = 20_000_000
    with talking(server, trusting(made)) as secure:
        secure.sendall(f"GET /big/{size} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        time.sleep(0.5)
        length = sum(len(part) for part in iter(lambda: secure.recv(65536), b""))
        assert length > size


def test_relayed_messages(made: Made) -> None:
    with LiveServer(RELAY, **made.files) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(f"{server.ws_url}/prices", ssl=trusting(made))) for _ in range(10)]
        for client in clients:
            assert client.recv(PATIENCE) == "joined"
        asking = HTTPSConnection("localhost", server.port, context=trusting(made), timeout=PATIENCE)
        asking.request("GET", "/publish?group=prices&count=200&size=1000")
        asking.getresponse().read()
        for client in clients:
            assert [str(client.recv(PATIENCE)).split()[0] for _ in range(200)] == [str(number) for number in range(200)]
        asking.close()


def test_plain_http_is_told(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-x\r\n", bytes(range(128, 256)), b"\x15\x03\x01\x00\x02\x02\x28"]
)
def test_garbage_is_closed(server: LiveServer, made: Made, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(sent)
        try:
            received = b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionResetError:
            received = b""
        assert len(received) < 1000
    assert get(server, trusting(made))["scheme"] == "https"


def hello_of_client() -> bytes:
    """The first flight of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_handshakes_that_are_cut_off(server: LiveServer, made: Made) -> None:
    flight = hello_of_client()
    for length in {1, 4, 5, 6, 9, 50, len(flight) - 1, len(flight)}:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.sendall(flight[:length])
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    assert get(server, trusting(made))["scheme"] == "https"


def test_handshakes_have_a_deadline(made: Made) -> None:
    with LiveServer(ECHO, **made.files, tls_handshake_timeout=0.3) as server:
        flight = hello_of_client()
        for sent in (b"", flight[:100], flight):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
                client.sendall(sent)
                while client.recv(65536):
                    pass
        with talking(server, trusting(made)) as secure:
            time.sleep(0.6)
            assert ask(secure)["scheme"] == "https"


def test_clients_that_leave_without_a_word(server: LiveServer, made: Made) -> None:
    for _ in range(20):
        plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        secure = trusting(made).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        secure.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        os.close(secure.detach())
    assert get(server, trusting(made))["scheme"] == "https"


def replace(made: Made, certificate: Path, key: Path, identity: Identity) -> None:
    certificate.write_bytes(identity.certificate.read_bytes())
    key.write_bytes(identity.key.read_bytes())


def test_reload_loses_nobody(made: Made, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    replace(made, certificate, key, made.server)
    with LiveServer(ECHO, ssl_certfile=str(certificate), ssl_keyfile=str(key)) as server:
        assert server.process is not None
        lost: list[Exception] = []
        stop = threading.Event()

        def traffic() -> None:
            context = trusting(made)
            context.check_hostname = False
            try:
                while not stop.is_set():
                    assert get(server, context)["scheme"] == "https"
            except Exception as error:
                lost.append(error)

        threads = [threading.Thread(target=traffic) for _ in range(3)]
        with connect(f"{server.ws_url}/", ssl=trusting(made)) as client:
            client.recv(PATIENCE)
            for thread in threads:
                thread.start()
            for identity, name in ((made.other, "other.test"), (made.server, "localhost"), (made.other, "other.test")):
                replace(made, certificate, key, identity)
                server.process.send_signal(signal.SIGHUP)
                until(lambda name=name: shown(server, made) == name, f"{name} is shown")  # type: ignore[misc]
                client.send("still there")
                assert client.recv(PATIENCE) == "still there"
            certificate.write_text("nonsense")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: "TLS goes on as it was" in server.stderr)
            assert str(certificate) in server.stderr
            assert shown(server, made) == "other.test"
            stop.set()
            for thread in threads:
                thread.join()
        assert lost == []


def test_workers_read_certificates_again(made: Made, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    replace(made, certificate, key, made.server)
    with LiveServer(ECHO, ssl_certfile=str(certificate), ssl_keyfile=str(key), workers=2) as server:
        assert server.process is not None
        assert get(server, trusting(made))["scheme"] == "https"
        certificate.write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "The workers go on as they are: --ssl-certfile" in server.stderr)
        assert shown(server, made) == "localhost"
        replace(made, certificate, key, made.other)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: {shown(server, made) for _ in range(6)} == {"other.test"})


def test_endpoint_strings(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    strings = [
        f"ssl:0:privateKey={made.server.key}:certKey={made.server.certificate}:interface=127.0.0.1",
        f"ssl:port=0:privateKey={made.other.key}:certKey={made.other.certificate}:interface=127.0.0.1:sslmethod=TLS_METHOD",
        "tcp:0:interface=127.0.0.1",
        f"ssl:address={path}:privateKey={made.server.key}:certKey={made.server.certificate}",
    ]
    arguments = [argument for string in strings for argument in ("-e", string)]
    for more in ([], ["--workers", "2"]):
        with peneus(*arguments, *more, ECHO) as server:
            server.wait_for(r"Listening on TCP address (?s:.*)Listening on TCP address (?s:.*)Listening on TCP address ")
            ports = [int(line.rpartition(":")[2]) for line in server.output.splitlines() if "Listening on TCP" in line]
            assert [shown(port, made) for port in ports[:2]] == ["localhost", "other.test"]
            with socket.create_connection(("127.0.0.1", ports[2]), PATIENCE) as plain:
                plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert plain.recv(15) == b"HTTP/1.1 200 OK"
            with socket.socket(socket.AF_UNIX) as local:
                local.settimeout(PATIENCE)
                local.connect(str(path))
                with trusting(made).wrap_socket(local, server_hostname="localhost") as secure:
                    assert ask(secure)["scheme"] == "https"


def test_encrypted_keys(made: Made) -> None:
    arguments = ["-p", "0", "--ssl-certfile", str(made.server.certificate), "--ssl-keyfile", str(made.server.locked_key), ECHO]
    with peneus(*arguments, PENEUS_SSL_KEYFILE_PASSWORD=PASSWORD) as server:
        assert get(server.port(), trusting(made))["scheme"] == "https"
        assert PASSWORD not in server.output


def test_one_file_for_both(made: Made, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(made.server.key.read_bytes() + made.server.certificate.read_bytes())
    with LiveServer(ECHO, ssl_certfile=both) as server:
        assert get(server, trusting(made))["tls"]["server_cert"] == made.server.pem
    with peneus("-e", f"ssl:0:privateKey={both}:interface=127.0.0.1", ECHO) as command:
        assert get(command.port(), trusting(made))["scheme"] == "https"


def test_what_cannot_be_used_is_named(made: Made, tmp_path: Path) -> None:
    certificate, key = str(made.server.certificate), str(made.server.key)
    missing, rubbish = str(tmp_path / "missing"), tmp_path / "rubbish"
    rubbish.write_text("nonsense")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ssl_certfile": missing, "ssl_keyfile": key}, f"--ssl-certfile: the file {missing} cannot be read: No such file"),
        ({"ssl_certfile": str(rubbish)}, f"--ssl-certfile: the file {rubbish} has no certificate in PEM"),
        ({"ssl_certfile": certificate}, f"--ssl-keyfile: the file {certificate} has no private key in PEM"),
        ({"ssl_certfile": certificate, "ssl_keyfile": missing}, f"--ssl-keyfile: the file {missing} cannot be read"),
        ({"ssl_certfile": certificate, "ssl_keyfile": str(made.other.key)}, "--ssl-keyfile: the key in "),
        ({"ssl_certfile": certificate, "ssl_keyfile": str(made.server.locked_key)}, "--ssl-keyfile-password: the key in "),
        ({**made.files, "ssl_ciphers": "nonsense"}, "--ssl-ciphers: OpenSSL knows no cipher that 'nonsense' means"),
        ({**made.files, "ssl_ca_certs": missing, "ssl_cert_reqs": "required"}, f"--ssl-ca-certs: the certificates in {missing}"),
        (
            {"endpoints": [f"ssl:0:privateKey={key}:certKey={missing}"]},
            f"--endpoint: 'ssl:0:privateKey={key}:certKey={missing}': the file {missing} cannot be read",
        ),
    ]
    for settings, said in cases:
        with pytest.raises(ConfigurationError) as error:
            Server(ECHO, **{"host": "127.0.0.1", "port": 0, **settings} if "endpoints" not in settings else settings).run()
        assert str(error.value).startswith(said), str(error.value)
        assert "; write " in str(error.value)


def test_options_that_do_not_fit_together(made: Made) -> None:
    certificate, key = str(made.server.certificate), str(made.server.key)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ssl_keyfile": key}, "--ssl-keyfile: counts only with --ssl-certfile; write both, or neither"),
        (
            {"ssl_certfile": [certificate] * 2, "ssl_keyfile": key},
            "--ssl-keyfile: 1 key for 2 certificates; write a key",
        ),
        ({"endpoints": ["ssl:443"]}, "--endpoint: an ssl: endpoint has no privateKey"),
        ({**made.files, "endpoints": ["tcp:8000"]}, "--ssl-certfile: no endpoint is served with this certificate"),
        ({"ssl_ciphers": "ECDHE"}, "--ssl-ciphers: counts only with TLS"),
        ({**made.files, "ssl_cert_reqs": "required"}, "--ssl-cert-reqs: clients' certificates are checked"),
        ({**made.files, "ssl_ca_certs": certificate}, "--ssl-ca-certs: counts only with --ssl-cert-reqs"),
        ({**made.files, "ssl_min_version": "0.9"}, "ssl_min_version: '0.9' is not one of the choices"),
        ({"ssl_certfile": 5}, "ssl_certfile: 5 is not the path of a file"),
    ]
    for settings, said in cases:
        with pytest.raises(SettingError) as error:
            Server(ECHO, **settings)
        assert str(error.value).startswith(said), str(error.value)
        assert "; write " in str(error.value)


DAEMON = """
import threading, time
import peneus
ready = threading.Event()
server = peneus.Server({application!r}, {endpoints!r}, signal_handlers=False, ready_callable=ready.set)
threading.Thread(target=server.run, daemon=True).start()
ready.wait(20)
print("at", server.listening_addresses[0][1], flush=True)
time.sleep(0.3)
"""


def test_a_process_may_end_while_it_serves(made: Made) -> None:
    endpoints = [f"ssl:0:privateKey={made.server.key}:certKey={made.server.certificate}:interface=127.0.0.1"]
    program = DAEMON.format(application=ECHO, endpoints=endpoints)
    context = trusting(made)
    for _ in range(4):
        with command("-c", program) as process:
            port = int(process.wait_for(r"at (\d+)")[1])

            def hammer(port: int = port, process: Command = process) -> None:
                while process.process.poll() is None:
                    with suppress(OSError):
                        get(port, context)

            threads = [threading.Thread(target=hammer) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert process.wait() == 0  # and not a fault of OpenSSL, which is shut down meanwhile
            for thread in threads:
                thread.join()


def test_the_command_line_says_what_is_wrong_and_ends(made: Made, tmp_path: Path) -> None:
    for more in ([], ["--workers", "2"]):
        with peneus("-p", "0", "--ssl-certfile", str(tmp_path / "missing"), *more, ECHO) as server:
            assert server.wait() == 1
            assert f"--ssl-certfile: the file {tmp_path / 'missing'} cannot be read: No such file or directory" in server.output
            assert "Traceback" not in server.output
