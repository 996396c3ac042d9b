"""The control socket, who may use it, and `peneus channels`."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import peneus as package
import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from peneus import channels_command, control
from peneus.desk import Here
from peneus.words import counted

from tests.integration.programs import PATIENCE, ROOT, command, get, peneus, until
from tests.integration.test_supervisor import workers
from tests.leaks.client import Client

HERE = "tests.integration.test_control"
layer = None


class Prices(AsyncWebsocketConsumer):
    groups = ["prices"]

    async def connect(self):
        await self.accept()
        await self.channel_layer.group_add("all", self.channel_name)

    async def stall(self, event):
        time.sleep(event["seconds"])  # noqa: ASYNC251 - the fault that is shown


class Quiet(AsyncConsumer):
    async def http_request(self, message):
        await self.send({"type": "http.response.start", "status": 200})
        await self.send({"type": "http.response.body", "body": b""})


async def application(scope, receive, send):
    """A consumer for each WebSocket; a request to /publish sends to the group and waits for nobody."""
    from channels.layers import get_channel_layer

    if scope["type"] == "websocket":
        await Prices.as_asgi()(scope, receive, send)
    elif scope["path"] == "/publish":
        for _ in range(3):
            await get_channel_layer().group_send("all", {"type": "stall", "seconds": 2})
        await Quiet.as_asgi()(scope, receive, send)
    else:
        assert scope["type"] == "http"
        await Quiet.as_asgi()(scope, receive, send)


SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["peneus"]
CHANNEL_LAYERS = {"default": {"BACKEND": "peneus.ChannelLayer", "CONFIG": {"bus": "local"}}}
"""


@pytest.fixture
def place(tmp_path):
    """A directory for control sockets, and Django's settings; as variables of the environment."""
    (tmp_path / "control_settings.py").write_text(SETTINGS)
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    return {
        "XDG_RUNTIME_DIR": str(runtime),
        "TMPDIR": str(runtime),
        "DJANGO_SETTINGS_MODULE": "control_settings",
        "PYTHONPATH": str(tmp_path),
    }


def serving(place, *options):
    return peneus("-p", "0", "--graceful-timeout", "2", *options, f"{HERE}:application", **place)


def channels(place, *arguments):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENEUS_")}
    return subprocess.run(
        [sys.executable, "-m", "peneus", "channels", *arguments],
        cwd=ROOT,
        env={**inherited, **place},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def path_of(place, server):
    return os.path.join(place["XDG_RUNTIME_DIR"], "peneus", f"{server.process.pid}.sock")


def row(text, start):
    """The words of the line that begins with start."""
    return next((line.split() for line in text.splitlines() if line.startswith(start)), None)


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_groups_and_channels_of_all_workers(place, options):
    with serving(place, *options) as server:
        port = server.port()
        if options:
            workers(server)
        clients = [Client(port, "/").open() for _ in range(12)]
        until(lambda: row(channels(place).stdout, "all "), "the group is shown")
        until(lambda: row(channels(place).stdout, "all ")[1] == "12", "all members are counted")
        shown = channels(place, "--pid", str(server.process.pid), "--rows", "5").stdout
        assert shown.startswith(
            f"Server {server.process.pid}: {counted(len(options) or 1, 'worker')}, 12 connections, 12 channels, 24 group"
        )
        assert row(shown, "GROUP") == ["GROUP", "MEMBERS", "MESSAGES", "DROPPED", "QUEUED", "BYTES", "WORKERS"]
        assert row(shown, "prices ")[1] == "12"
        assert len(re.findall(rf"^{HERE}\.Prices ", shown, re.M)) == 5
        assert "… and 7 more channels" in shown
        made = row(shown, f"{HERE}.Prices ")
        assert re.fullmatch(r"\S+\.py:\d+", made[1]), made
        for client in clients:
            client.close()
        until(lambda: "No group." in channels(place).stdout, "they are gone with their connections")


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_it_shows_what_is_queued_while_the_event_loop_stands_still(place, options):
    with serving(place, *options) as server:
        port = server.port()
        clients = [Client(port, "/").open() for _ in range(8)]
        until(lambda: (row(channels(place).stdout, "all ") or [0, 0])[1] == "8", "all are members")
        publishers = []

        def queued():
            publishers.append(
                socket.create_connection(("127.0.0.1", port), PATIENCE)
            )  # to some worker, perhaps one without members
            publishers[-1].sendall(b"GET /publish HTTP/1.1\r\nHost: a\r\n\r\n")
            return int((row(channels(place).stdout, "all ") or [0] * 6)[4]) > 0

        until(queued, "messages are queued")
        for each in (*publishers, *clients):
            each.close()
        server.process.kill()


def test_watch_goes_on(place):
    with serving(place) as server:
        server.port()
        with command("-m", "peneus", "channels", "--watch", "0.1", **place) as watching:
            until(lambda: watching.output.count(f"Server {server.process.pid}:") > 3, "it is shown again and again")
            server.process.terminate()
            assert watching.wait() == 1
            assert "the server does not answer any more" in watching.output
            assert "Traceback" not in watching.output


def test_no_server_and_several(place):
    result = channels(place)
    assert (result.returncode, result.stderr) == (1, "peneus channels: no server of yours answers\n")
    with serving(place) as first, serving(place) as second:
        first.port(), second.port()
        pids = sorted((first.process.pid, second.process.pid))
        result = channels(place)
        assert result.returncode == 1
        assert f"several servers run; write --pid and one of {pids[0]}, {pids[1]}" in result.stderr
        assert channels(place, "--pid", str(pids[1])).stdout.startswith(f"Server {pids[1]}: ")
    result = channels(place, "--pid", "1")
    assert (result.returncode, result.stderr) == (1, "peneus channels: no server of yours answers as process 1\n")


@pytest.mark.parametrize("wrong", [("--rows", "0"), ("--rows", "x"), ("--watch", "0"), ("--pid", "x"), ("--colour",)])
def test_wrong_arguments(place, wrong):
    result = channels(place, *wrong)
    assert result.returncode == 2
    assert "usage: peneus channels" in result.stderr and "Traceback" not in result.stderr


def test_an_application_may_be_called_channels(tmp_path):
    (tmp_path / "channels.py").write_text("from tests.integration.programs import hello as app\n")
    with command(
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from peneus.cli import main; main()",
        str(tmp_path),
        "-p",
        "0",
        "channels:app",
    ) as server:
        server.port()


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_the_socket_is_for_its_user_and_goes_with_its_server(place, options):
    with serving(place, *options) as server:
        server.port()
        path = path_of(place, server)
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
        server.process.terminate()
        assert server.wait() == 0
        assert not os.path.exists(path)


def test_stale_sockets_are_cleaned_and_others_are_not(place):
    with serving(place) as first:
        first.port()
        stale = path_of(place, first)
        first.process.kill()
        first.process.wait()
        assert os.path.exists(stale)
        assert channels(place).returncode == 1
        beginning = os.path.join(os.path.dirname(stale), f"{os.getpid()}.sock")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(beginning)
        with serving(place) as second, serving(place) as third:
            second.port(), third.port()
            assert not os.path.exists(stale)
            assert os.path.exists(beginning), "its process lives, and may be about to listen"
            assert os.path.exists(path_of(place, second)) and os.path.exists(path_of(place, third))


def test_a_directory_that_others_can_enter_is_not_used(place):
    directory = os.path.join(place["XDG_RUNTIME_DIR"], "peneus")
    os.mkdir(directory)
    os.chmod(directory, 0o755)
    with serving(place) as server:
        server.port()
        assert f"No control socket, so `peneus channels` cannot ask this server: {directory} is open to others" in server.output
        assert os.listdir(directory) == []
    result = channels(place)
    assert result.returncode == 1 and f"{directory} is open to others (mode 755)" in result.stderr


def test_directories_of_others_are_refused(tmp_path):
    tmp_path.chmod(0o700)
    control.check_directory(tmp_path, os.getuid())
    with pytest.raises(control.Refused, match=f"{tmp_path} belongs to user {os.getuid()}"):
        control.check_directory(tmp_path, os.getuid() + 1)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(control.Refused, match="is not a directory"):
        control.check_directory(link, os.getuid())


@pytest.mark.parametrize(("stranger", "answered"), [(None, True), (0, True), (54321, False)])
def test_another_user_is_refused_even_where_the_socket_can_be_reached(tmp_path, monkeypatch, stranger, answered):
    if stranger is not None:
        monkeypatch.setattr(control, "peer_uid", lambda connection: stranger)

    async def ask():
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "1.sock"))
        listener.listen()
        answers = control.Answers(listener, Here(lambda: False))
        await answers.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "1.sock")
        writer.write(b'{"do": "stats"}\n')
        try:
            return await reader.readline()
        except ConnectionError:
            return b""
        finally:
            writer.close()
            answers.close()

    assert bool(asyncio.run(asyncio.wait_for(ask(), PATIENCE))) == answered


def test_what_is_no_request_is_answered(place):
    with serving(place) as server:
        server.port()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path_of(place, server))
            with connection.makefile("rwb") as file:
                for line in (b"nonsense\n", b"[]\n", b"{}\n", b'{"do": "explode"}\n', b'{"do": "channels", "rows": "x"}\n'):
                    file.write(line)
                    file.flush()
                    assert "error" in json.loads(file.readline())
                file.write(b'{"do": "stats"}\n')
                file.flush()
                assert json.loads(file.readline())["stats"]["workers"] == 1
                file.write(b"x" * 100_000 + b"\n")
                file.flush()
                assert file.readline() == b""


def test_a_worker_that_does_not_answer_is_named(place):
    with serving(place, "--workers", "2", "--worker-timeout", "0") as server:
        server.port()
        pids = workers(server)
        os.kill(pids[0], signal.SIGSTOP)
        shown = channels(place)
        assert f"Worker {pids[0]} does not answer" in shown.stdout
        assert f"Worker {pids[1]}" not in shown.stdout


def test_stats_with_rows():
    mine = package.ChannelLayer(bus="local")

    async def use():
        for number in range(3):
            channel = await mine.new_channel()
            await mine.group_add(f"group{number}", channel)
            for _ in range(number):
                await mine.group_send(f"group{number}", {"type": "t"})

    asyncio.run(use())
    stats = package.stats(rows=2)
    assert list(stats["by_group"])[0] == "group2" and len(stats["by_group"]) == len(stats["by_channel"]) == 2
    assert stats["by_group"]["group2"]["members"] == 1
    assert stats["by_group"]["group2"]["queued"] == 2
    channel = next(iter(stats["by_channel"].values()))
    assert channel["queued"] == 2 and channel["queued_bytes"] > 0 and channel["dropped"] == 0
    assert channel["made_at"].rpartition(":")[0].endswith("test_control.py")


def test_rendering_is_cut_to_the_terminal():
    answer = {
        "pid": 1,
        "stats": {"workers": 1, "messages_dropped_total": {"latest": 3}},
        "workers": [
            {
                "pid": 2,
                "groups": {"g": {"members": 2, "messages": 5, "dropped": 1, "queued": 4, "queued_bytes": 5 * 1024 * 1024}},
                "channels": {"c": {"consumer": None, "made_at": "a.py:1", "owner": 7, "groups": ["g"], "queued": 1}},
                "groups_total": 1,
                "channels_total": 1,
            }
        ],
    }
    wide = channels_command.render(answer, 10, 1000)
    assert row(wide, "g ") == ["g", "2", "5", "1", "4", "5.0", "MiB", "1"]
    assert row(wide, "- ") == ["-", "a.py:1", "7", "1", "1", "0", "B", "0", "2", "c"]
    assert "3 dropped" in wide
    assert max(len(line) for line in channels_command.render(answer, 10, 30).splitlines()) == 30


NOWHERE = (
    "import os, sys\n"
    "from peneus import control\n"
    "from peneus.cli import main\n"
    "control.TEMPORARY = ('/no/such/folder',)\n"
    "sys.argv[1:] = ['-p', '0', *sys.argv[1:]]\n"
    "sys.exit(main())\n"
)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_folder_can_be_written(tmp_path, workers):
    """Nothing lands in the working directory, and the server serves."""
    variables = {"PYTHONPATH": str(ROOT), "TMPDIR": "/no/such/folder", "TEMP": "", "TMP": "", "XDG_RUNTIME_DIR": ""}
    path = "tests.integration.programs:hello"
    with command("-c", NOWHERE, "--workers", workers, path, cwd=tmp_path, **variables) as server:
        assert b"200 OK" in get(("127.0.0.1", server.port()))
        problem = "no temporary folder can be written; set XDG_RUNTIME_DIR, or TMPDIR, to one that can"
        assert f"No control socket, so `peneus channels` cannot ask this server: {problem}" in server.output
        no_hub = f"The workers have no hub, so their channel layers do not reach each other: {problem}"
        assert (no_hub in server.output) == (workers == "2")
        assert list(tmp_path.iterdir()) == []


def test_the_first_folder_that_can_be_written(tmp_path, monkeypatch):
    for name in control.TEMPORARY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(control, "TEMPORARY", ("/no/such/folder", str(tmp_path)))
    assert control.temporary() == tmp_path
    monkeypatch.setenv("TMPDIR", "/")
    monkeypatch.setattr(os, "access", lambda name, mode: name != "/")
    assert control.temporary() == tmp_path


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("allowed", [8, 14, 20])
def test_hardly_any_file_descriptors(allowed, workers):
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({allowed}, {allowed}))\n"
        f"sys.argv[1:] = ['-p', '0', '--workers', '{workers}', 'tests.integration.programs:hello']\n"
        "from peneus.cli import main; sys.exit(main())\n"
    )
    with command("-c", script) as server:
        assert server.wait() == 1
        assert f"CRITICAL {allowed} file descriptors are allowed, and " in server.output
        assert "raise LimitNOFILE (ulimit -n)" in server.output
        assert "Traceback" not in server.output


def test_a_native_server_and_a_bus_without_descriptors():
    """Where nobody has checked before, it is an exception; libuv aborts."""
    script = (
        "import os, resource\n"
        "from tests.integration.core_harness import SETTINGS\n"
        "from peneus import ChannelLayer, _core\n"
        "callbacks = dict.fromkeys(('on_error', 'on_fault', 'on_kill', 'on_drained', 'on_stopped'), print)\n"
        "top = max(map(int, os.listdir('/proc/self/fd'))) + 5\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (top, top))\n"
        "for make in (lambda: _core.Server(print, settings=SETTINGS, **callbacks), lambda: ChannelLayer(hub='/tmp/nobody')):\n"
        "    try: make()\n"
        "    except (OSError, MemoryError) as error: print('refused', type(error).__name__)\n"
    )
    with command("-c", script) as server:
        assert server.wait() == 0, server.output
        assert "refused OSError\nrefused " in server.output
