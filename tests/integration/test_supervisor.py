"""Workers: started, watched, replaced, added, taken away, stopped; what one of them costs when it dies or stands still."""

import asyncio
import os
import re
import signal
import threading
import time
from pathlib import Path

import peneus as package
import pytest
from peneus.errors import ConfigurationError, SettingError
from peneus.testing import LiveServer

from tests.integration.programs import PATIENCE, command, connect, get, peneus, until
from tests.leaks.client import Client, Gone

HERE = "tests.integration.test_supervisor"


async def application(scope, receive, send):
    """Says which process it is; /stuck blocks the event loop for as long as its query says, /busy with the GIL in hand."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    assert scope["type"] == "http"
    if scope["path"] == "/stuck":
        stand_still(float(scope["query_string"]))
    if scope["path"] == "/busy":
        keep_the_gil()
    if scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"]))
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def stand_still(seconds):
    time.sleep(seconds)


def keep_the_gil():
    """For seconds, in C: no other thread of the process runs meanwhile."""
    for length in range(20, 40):
        began = time.monotonic()
        re.match("(a+)+$", "a" * length + "b")
        if time.monotonic() - began > 2:
            return


def serving(*options, path=f"{HERE}:application", **more):
    return peneus("-p", "0", "-v", "1", "--graceful-timeout", "2", *options, path, **more)


def workers(server, ready=2):
    """The workers that serve, as the log has it; waits until there are as many as ready."""

    def found():
        begun = re.findall(r"Worker (\d+) serves", server.output)
        ended = re.findall(r"Worker (\d+) (?:ended|has stopped)", server.output)
        return [int(pid) for pid in begun if pid not in ended]

    until(lambda: len(found()) == ready or server.process.poll() is not None, f"{ready} workers in {server.output}")
    assert server.process.poll() is None, server.output
    return found()


def answer(port, path="/"):
    """The worker that answers."""
    response = get(("127.0.0.1", port), path)
    assert response.startswith(b"HTTP/1.1 200 "), response
    return int(response.rpartition(b"\r\n")[2])


def listens(port):
    try:
        connect(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends while it is read
        return True


def test_all_workers_serve_and_stop():
    with serving("--workers", "3") as server:
        port = server.port()
        pids = workers(server, 3)
        assert server.process.pid not in pids
        seen = set()
        until(lambda: seen.add(answer(port)) or len(seen) > 1, "several workers answer")
        assert seen <= set(pids)
        assert server.output.count("Listening on TCP address") == 1
        clients = [Client(port, "/").open() for _ in range(8)]
        server.process.terminate()
        for client in clients:
            assert client.frame()[1][:2] == (1012).to_bytes(2, "big")
            client.close()
        assert server.wait() == 0
        assert all(is_gone(pid) for pid in pids)
        assert "ERROR" not in server.output


def test_a_crash_is_logged_and_replaced_and_costs_only_its_own_connections():
    with serving("--workers", "2") as server:
        port = server.port()
        pids = workers(server)
        clients = [Client(port, "/").open() for _ in range(16)]
        victim = answer(port)
        os.kill(victim, signal.SIGKILL)
        server.wait_for(rf"ERROR +Worker {victim} ended with SIGKILL; another starts in \d+\.\d s")
        now = workers(server)
        assert victim not in now and set(pids) - {victim} < set(now)
        with connect(("127.0.0.1", port)) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert probe.recv(65536)
        lost = 0
        for client in clients:
            client.socket.settimeout(0.2)
            try:
                lost += client.socket.recv(1) == b""
            except TimeoutError:
                pass
        assert lost < 16, "connections of other workers are lost"
        server.process.terminate()
        assert server.wait() == 0


def test_sighup_replaces_all_and_refuses_nobody():
    with serving("--workers", "2") as server:
        port = server.port()
        before = workers(server)
        failed, answers, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    answers.append(answer(port))
                except (OSError, AssertionError) as error:
                    failed.append(error)

        def shake_hands():
            while not stop.is_set():
                try:
                    Client(port, "/").open().close()
                except (OSError, Gone) as error:
                    failed.append(error)

        threads = [threading.Thread(target=work) for work in (ask, ask, shake_hands)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                server.process.send_signal(signal.SIGHUP)
                until(lambda before=before: all(is_gone(pid) for pid in before), "the workers are replaced")
                now = workers(server)
                assert not set(now) & set(before)
                count = len(answers)
                until(lambda count=count: len(answers) > count + 10, "answers")
                before = now
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failed
        assert len(set(answers)) > 2
        os.kill(now[0], signal.SIGKILL)
        server.wait_for(f"Worker {now[0]} ended with SIGKILL; another starts")
        assert now[1] in workers(server), "who has replaced another is replaced as well"


def test_a_new_version_that_does_not_start_leaves_the_old_one(tmp_path):
    module = tmp_path / "versions.py"
    module.write_text(f"from {HERE} import application\n")
    with serving("--workers", "2", path="versions:application", PYTHONPATH=str(tmp_path)) as server:
        port = server.port()
        before = workers(server)
        module.write_text("import time\nraise LookupError('the new version')  # longer than before\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"Worker \d+ ended with exit status 1 before it served; the others stay")
        assert "LookupError: the new version" in server.output
        assert answer(port) in before
        assert workers(server) == before
        module.write_text(f"from {HERE} import application  # and this is longer still, for the cache of compiled modules\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: all(is_gone(pid) for pid in before), "the workers are replaced")
        assert answer(port) not in before


def test_sigttin_and_sigttou():
    with serving("--workers", "2") as server:
        server.port()
        workers(server, 2)
        server.process.send_signal(signal.SIGTTIN)
        three = workers(server, 3)
        for left in (2, 1):
            server.process.send_signal(signal.SIGTTOU)
            assert workers(server, left) == three[:left]
        server.process.send_signal(signal.SIGTTOU)
        server.wait_for("Workers that are wanted now: 1[^$]*Workers that are wanted now: 1")
        time.sleep(0.5)
        assert workers(server, 1) == three[:1], "the last one stays"
        assert "ERROR" not in server.output and "WARNING" not in server.output


def test_a_worker_that_stands_still_is_reported_once_with_its_stack():
    with serving("--workers", "2", "--worker-timeout", "0.5") as server:
        port = server.port()
        workers(server)
        assert answer(port, "/stuck?3")
        found = server.wait_for(r"ERROR +The event loop of worker (\d+) has stood still for (\d\.\d) s; its threads are at:\n")
        assert 0.5 <= float(found[2]) < 3
        server.wait_for(rf"WARNING +The event loop of worker {found[1]} goes on, after \d\.\d s")
        assert f'File "{__file__}", line {line_of("time.sleep(seconds)")} in stand_still' in server.output
        assert server.output.count("has stood still") == 1
        assert "ended with" not in server.output
        assert answer(port, "/stuck?1.5")
        until(lambda: server.output.count("goes on, after") == 2, "the second time is reported too")
        assert server.output.count("has stood still") == 2


def test_a_worker_that_keeps_the_gil_is_reported_with_its_stack():
    with serving("--workers", "2", "--worker-timeout", "0.5") as server:
        assert answer(server.port(), "/busy")
        found = server.wait_for(r"The event loop of worker (\d+) has stood still for \d+\.\d s; its threads are at:\n")
        server.wait_for(rf"worker {found[1]} goes on")
        assert "in keep_the_gil" in server.output


def test_a_worker_that_is_stopped_is_reported_too():
    with serving("--workers", "2", "--worker-timeout", "0.5") as server:
        server.port()
        pid = workers(server)[0]
        os.kill(pid, signal.SIGSTOP)
        server.wait_for(rf"worker {pid} has stood still for \d\.\d s; it does not say where")
        os.kill(pid, signal.SIGCONT)
        server.wait_for(rf"worker {pid} goes on")


def test_new_clients_go_to_the_worker_that_can_answer():
    with serving("--workers", "2") as server:
        port = server.port()
        workers(server)
        with connect(("127.0.0.1", port)) as blocker:
            blocker.sendall(b"GET /stuck?12 HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(4)  # by then its silence counts
            answers = {answer(port) for _ in range(20)}
            blocker.settimeout(0.01)
            with pytest.raises(TimeoutError):
                blocker.recv(1)
            blocker.settimeout(PATIENCE)
            stuck = int(blocker.recv(65536).rpartition(b"\r\n")[2])
        assert len(answers) == 1 and stuck not in answers


def test_slow_requests_are_no_stall():
    with serving("--workers", "2", "--worker-timeout", "0.5") as server:
        assert answer(server.port(), "/slow?2")
        assert "stood still" not in server.output


def line_of(text):
    with open(__file__) as source:
        return next(number for number, line in enumerate(source, 1) if text in line)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_supervisor(number):
    with serving("--workers", "2") as server:
        port = server.port()
        pids = workers(server)
        client = Client(port, "/").open()
        server.process.send_signal(number)
        assert client.frame()[1][:2] == (1012).to_bytes(2, "big")
        client.close()
        until(lambda: all(is_gone(pid) for pid in pids), "the workers end")
        if number == signal.SIGKILL:
            assert "The supervisor is gone: this worker stops" in server.output


def test_a_terminal_interrupts_the_supervisor_and_its_workers():
    """Ctrl-C reaches the whole process group: that is one signal, and requests may end."""
    with serving("--workers", "2") as server:
        port = server.port()
        workers(server)
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET /slow?1 HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.3)
            os.killpg(server.process.pid, signal.SIGINT)
            assert b"200 OK" in b"".join(iter(lambda: client.recv(65536), b""))
        assert server.wait() == 0
        assert "KeyboardInterrupt" not in server.output


def test_a_second_signal_waits_for_nobody():
    with serving("--workers", "2", "--graceful-timeout", "1000") as server:
        port = server.port()
        workers(server)
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET /slow?1000 HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: server.process.poll() is None)
            time.sleep(0.3)
            server.process.terminate()
            server.wait_for("Stopping 2 workers")
            until(lambda: not listens(port), "new clients are refused while requests end")
            assert server.process.poll() is None
            server.process.terminate()
            assert server.wait() == 0


def test_workers_that_cannot_start_end_the_supervisor(tmp_path):
    (tmp_path / "broken.py").write_text("raise LookupError('no good')\n")
    with serving("--workers", "3", path="broken:application", PYTHONPATH=str(tmp_path)) as server:
        assert server.wait() == 1
        assert server.output.count("LookupError: no good") == 1
        assert "No worker could start: the first ended with exit status 1" in server.output
        assert "Listening" not in server.output
    with serving("--workers", "2", path=f"{HERE}:aplication") as server:
        assert server.wait() == 1
        assert "did you mean 'application'?" in server.output


def test_a_worker_that_keeps_dying_is_started_ever_later(tmp_path):
    (tmp_path / "dies.py").write_text(
        f"import os, pathlib\nfrom {HERE} import application\n"
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        "with seen.open('a') as file:\n    file.write('x')\n"
        "if len(seen.read_text()) > 2:\n    os.kill(os.getpid(), 14)\n"
    )
    with serving("--workers", "2", path="dies:application", PYTHONPATH=str(tmp_path)) as server:
        port = server.port()
        pid = workers(server)[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda: server.output.count("did not come to serve, and ended with SIGALRM") == 3, "three more crashes")
        delays = [float(delay) for delay in re.findall(r"another starts in (\d+\.\d) s", server.output)]
        assert delays[0] <= 0.3 and 0.9 <= delays[3] <= 2.1
        assert answer(port) != pid
        server.process.terminate()
        assert server.wait() == 0


def test_unix_sockets_and_descriptors_are_shared(tmp_path):
    path = str(tmp_path / "socket")
    with serving("--workers", "2", "-e", f"unix:{path}:mode=600") as server:
        server.port()
        workers(server)
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert b"200 OK" in get(path)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("Worker .* has stopped[^$]*Worker .* has stopped")
        assert b"200 OK" in get(path)
        server.process.terminate()
        assert server.wait() == 0
        assert not os.path.exists(path)


def test_an_address_in_use_is_said_before_anything_starts():
    with serving("--workers", "2") as first:
        port = first.port()
        with peneus("-p", str(port), "--workers", "2", f"{HERE}:application") as second:
            assert second.wait() == 1
            assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in second.output
            assert "Traceback" not in second.output


def test_settings_reach_the_workers_and_flags_of_python_too(tmp_path):
    (tmp_path / "told.py").write_text(
        "import sys\n"
        "async def application(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    body = f'{scope[\"root_path\"]} {sys.flags.dev_mode} {sys.flags.utf8_mode} {sys.argv[1:]}'.encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    arguments = ["-p", "0", "told:application", "--workers", "2", "--root-path", "/deep"]
    python = ["-X", "dev", "-Xutf8", "-m", "peneus"]
    with command(*python, *arguments, cwd=tmp_path, PENEUS_SERVER_NAME="other") as server:
        response = get(("127.0.0.1", server.port())).decode()
        assert "\r\nserver: other\r\n" in response.lower()
        assert f"/deep True 1 {arguments}" in response


def test_run_takes_a_path():
    with command("-c", f"import peneus; peneus.run('{HERE}:application', port=0, workers=2)") as server:
        port = server.port()
        assert answer(port) in workers(server)
        server.process.terminate()
        assert server.wait() == 0


def test_live_server():
    with LiveServer(f"{HERE}:application", workers=2) as server:
        assert answer(server.port) != server.process.pid
        assert server.stop() == 0


def test_what_needs_a_path_or_a_process_says_so():
    with pytest.raises(SettingError, match="workers: needs the application's path, not <function .*; write 'module:application'"):
        package.run(application, workers=2)
    with pytest.raises(SettingError, match=r"workers: 2 cannot be had from peneus\.Server, .* write peneus\.run\(.*workers=2\)"):
        package.Server(application, workers=2)
    with pytest.raises(SettingError, match=r'reload: .* write peneus\.run\("module:application", reload=True\)'):
        package.Server(application, reload=True)
    errors = []

    def elsewhere():
        try:
            package.run(f"{HERE}:application", workers=2, port=0)
        except ConfigurationError as error:
            errors.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(PATIENCE)
    assert errors == ["workers can only be run from the main thread, which gets the signals"]


def test_reload_restarts_when_a_file_changes(tmp_path):
    module = tmp_path / "changing.py"

    def write(word):
        module.write_text(
            "async def application(scope, receive, send):\n"
            "    assert scope['type'] == 'http'\n"
            "    await send({'type': 'http.response.start', 'status': 200})\n"
            f"    await send({{'type': 'http.response.body', 'body': b'{word}'}})\n"
        )

    module.write_text("raise LookupError('not yet')\n")
    with serving("--reload", path="changing:application", cwd=tmp_path) as server:
        server.wait_for("No worker could start; waiting for a file to change")
        time.sleep(0.5)  # the watching may begin a little later
        write("first")
        port = server.port()
        assert get(("127.0.0.1", port)).endswith(b"first")
        write("the second")
        until(lambda: get(("127.0.0.1", port)).endswith(b"the second"), "the change is served")
        server.process.terminate()
        assert server.wait() == 0
