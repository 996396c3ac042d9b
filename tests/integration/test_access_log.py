"""The access log: Daphne's lines, exactly."""

import errno
import os
import re
import shutil
import signal
import time

import pytest
from peneus import access
from peneus.access import AccessLog
from peneus.errors import SettingError
from peneus.testing import LiveServer

from tests.integration.programs import command, connect, get, peneus, until
from tests.leaks.client import Client

DATE = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\]"
HERE = "tests.integration.test_access_log"


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/reject":
            return await send({"type": "websocket.close"})
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["type"] == "http":
        status = 404 if scope["path"] == "/missing" else 200
        await send({"type": "http.response.start", "status": status})
        body = b"" if scope["path"] == "/empty" else b"12345"
        await send({"type": "http.response.body", "body": body})
    else:
        raise ValueError(scope["type"])


def expected(port, *request):
    """The lines of one client, as a pattern."""
    return [rf'127\.0\.0\.1:{port} - - {DATE} "{line[0]}" {line[1]} {line[2]}' for line in request]


def matches(log, patterns):
    lines = log.splitlines()
    return len(lines) == len(patterns) and all(re.fullmatch(p, line) for p, line in zip(patterns, lines, strict=True))


def test_requests():
    with LiveServer(application, verbosity=0, access_log="-") as server:
        patterns = []
        for path, status, size in (("/a?b=c%20d", 200, 5), ("/missing", 404, 5), ("/empty", 200, "-")):
            with connect((server.host, server.port)) as client:
                port = client.getsockname()[1]
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                b"".join(iter(lambda: client.recv(65536), b""))
            patterns += expected(port, (rf"GET {re.escape(path)}", status, size))
        until(lambda: server.stdout.count("\n") == 3, "three lines")
        assert matches(server.stdout, patterns), server.stdout


def test_websockets():
    with LiveServer(application, verbosity=0, access_log="-") as server:
        client = Client(server.port, "/chat?room=1").open()
        port = client.socket.getsockname()[1]
        client.close()
        until(lambda: server.stdout.count("\n") == 3, "three lines")
        lines = [(f"WS{what} /chat\\?room=1", "-", "-") for what in ("CONNECTING", "CONNECT", "DISCONNECT")]
        assert matches(server.stdout, expected(port, *lines)), server.stdout


def test_rejected_websockets():
    with LiveServer(application, verbosity=0, access_log="-") as server:
        client = Client(server.port, "/reject")
        port = client.socket.getsockname()[1]
        client.socket.recv(1000)
        client.socket.close()
        until(lambda: server.stdout.count("\n") >= 2, "two lines")
        lines = server.stdout.splitlines()[:2]
        assert matches("\n".join(lines), expected(port, ("WSCONNECTING /reject", "-", "-"), ("WSREJECT /reject", "-", "-")))


def test_a_file_is_appended_to_line_by_line(tmp_path):
    log = tmp_path / "access.log"
    log.write_text("what was there\n")
    with LiveServer(application, access_log=str(log)) as server:
        get((server.host, server.port), "/one")
        until(lambda: '"GET /one"' in log.read_text(), "the line is in the file while the server runs")
        assert log.read_text().startswith("what was there\n")
        assert "/one" not in server.stdout


@pytest.mark.parametrize(("verbosity", "there"), [("1", True), ("0", False)])
def test_standard_output_from_verbosity_1_on(verbosity, there):
    with LiveServer(application, verbosity=int(verbosity)) as server:
        get((server.host, server.port), "/one")
        if there:
            until(lambda: "/one" in server.stdout, "the line")
        else:
            time.sleep(0.2)
            assert server.stdout == ""


def test_standard_output_is_written_line_by_line():
    """Into a file or a pipe too, for which Python would keep it until there are 8 KiB."""
    with peneus("-p", "0", f"{HERE}:application", PYTHONUNBUFFERED="") as server:
        get(("127.0.0.1", server.port()), "/one")
        server.wait_for('"GET /one" 200 5')


def test_a_file_that_cannot_be_written(tmp_path):
    path = str(tmp_path / "no" / "such" / "folder")
    with pytest.raises(SettingError, match=r"--access-log: '.*folder' cannot be written: No such file or directory"):
        access.make(path, 1, "text")
    with peneus("--access-log", path, f"{HERE}:application") as server:
        assert server.wait() == 1
        assert "Traceback" not in server.output


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_full_disk_is_said_now_and_then(log_format):
    with LiveServer(application, verbosity=1, access_log="/dev/full", log_format=log_format) as server:
        for _ in range(20):
            assert b" 200 " in get((server.host, server.port), "/one")
        problem = "The access log /dev/full cannot be written: No space left on device; its lines are lost until it can"
        until(lambda: problem in server.stderr, "the line")
        assert server.stderr.count("access log") == 1
        assert "Traceback" not in server.stderr


def test_a_pipe_that_nobody_reads():
    reader, writer = os.pipe()
    script = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 1)\n"
        f"sys.argv[1:] = ['-p', '0', '{HERE}:application']\n"
        "from peneus.cli import main; sys.exit(main())\n"
    )
    os.set_inheritable(writer, True)
    with command("-c", script, str(writer), pass_fds=(writer,)) as server:
        os.close(writer)
        port = server.port()
        os.close(reader)
        for _ in range(5):
            assert b" 200 " in get(("127.0.0.1", port), "/one")
        server.wait_for("The access log on standard output cannot be written: Broken pipe; its lines are lost until it can")
        assert server.output.count("access log") == 1
        assert "Traceback" not in server.output


def test_what_was_lost_is_counted_in_the_next_line(caplog, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("peneus.seldom.time.monotonic", lambda: now)

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    log = AccessLog(Full(), "text", "/full")
    for _ in range(3):
        log("websocket", "connected", {"path": "/b", "client": None})
    now += 61
    log("websocket", "connected", {"path": "/b", "client": None})
    assert [record.getMessage().partition("it can")[2] for record in caplog.records] == ["", " (and 2 more lines like this)"]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigusr1_reopens_the_file(tmp_path, workers):
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with peneus("-p", "0", "--workers", str(workers), "--access-log", str(log), f"{HERE}:application") as server:
        port = server.port()
        get(("127.0.0.1", port), "/one")
        until(lambda: "/one" in log.read_text(), "the line")
        log.rename(old)
        if workers > 1:
            until(lambda: len(re.findall(r"Worker \d+ serves", server.output)) == workers, "all serve")
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: server.output.count(f"The access log {log} has been opened again") == workers, "it is reopened")
        get(("127.0.0.1", port), "/two")
        until(lambda: "/two" in log.read_text(), "the line is in the new file")
        assert "/one" in old.read_text() and "/two" not in old.read_text()
        shutil.rmtree(tmp_path)
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for("cannot be opened again: No such file or directory; it goes on in the old file")
        assert b" 200 " in get(("127.0.0.1", port), "/three")


def test_what_a_proxy_says_is_what_is_logged():
    with LiveServer(application, verbosity=0, access_log="-", proxy_headers=True) as server:
        get((server.host, server.port), "/", "X-Forwarded-For: 10.1.2.3, 10.0.0.1", "X-Forwarded-Port: 99")
        until(lambda: server.stdout, "the line")
        assert server.stdout.startswith("10.1.2.3:99 - - [")


def test_an_action_logger_gets_daphnes_details():
    """The interface under it, as runserver and embedded servers use it."""

    class Stream:
        text = ""

        def write(self, text):
            self.text += text

    stream = Stream()
    log = AccessLog(stream)
    log("http", "complete", {"path": "/a", "status": 200, "method": "GET", "client": "h:1", "time_taken": 0.1, "size": 0})
    log("http", "something else", {})
    log("websocket", "connected", {"path": "/b", "client": None})
    first, second = stream.text.splitlines()
    assert re.fullmatch(rf'h:1 - - {DATE} "GET /a" 200 -', first)
    assert re.fullmatch(rf'None - - {DATE} "WSCONNECT /b" - -', second)
