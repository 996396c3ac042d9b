"""`manage.py runserver` of a tiny project with INSTALLED_APPS = ["peneus", …]."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.programs import ROOT, Command, command, connect, get, until
from tests.leaks.client import Client, Gone
from tests.support.ports import free_port

SETTINGS = """
DEBUG = {debug}
SECRET_KEY = "test"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = {apps}
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"
STATIC_URL = "/static/"
STATICFILES_DIRS = [{static!r}]
DATABASES = {{}}
USE_TZ = True
CHANNEL_LAYERS = {{"default": {{"BACKEND": "peneus.ChannelLayer"}}}}
{more}
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

def page(request, status=200):
    # Only the ASGI request has a scope.
    return HttpResponse(f"page {hasattr(request, 'scope')}", status=status)

urlpatterns = [path("page", page)] + [path(f"status/{code}", page, {"status": code}) for code in (201, 302, 304, 403, 500)]
"""
ASGI = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.core.asgi import get_asgi_application
django_application = get_asgi_application()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter

class Echo(AsyncWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("all", self.channel_name)
        if self.scope["path"] == "/rejected":
            await self.close()
        elif self.scope["path"] != "/never":
            await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("all", {"type": "told", "text": text_data})

    async def told(self, event):
        await self.send(text_data=event["text"])

application = ProtocolTypeRouter({"http": django_application, "websocket": Echo.as_asgi()})
"""
ENDLESS = (
    ASGI
    + """
import asyncio
inner = application

async def application(scope, receive, send):
    if scope["path"] != "/endless":
        return await inner(scope, receive, send)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    await asyncio.Event().wait()
"""
)
WSGI = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
APPS = ["peneus", "django.contrib.staticfiles"]


@pytest.fixture
def project(tmp_path):
    """A function that writes the project; it returns its directory."""

    def write(apps=APPS, debug=True, more="") -> Path:
        package = tmp_path / "project"
        package.mkdir(exist_ok=True)
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / "style.css").write_text("body { color: red }")
        (package / "__init__.py").write_text("")
        settings = SETTINGS.format(apps=apps, debug=debug, more=more, static=str(tmp_path / "files"))
        for name, text in (("settings", settings), ("urls", URLS), ("asgi", ASGI), ("wsgi", WSGI)):
            (package / f"{name}.py").write_text(text)
        (tmp_path / "manage.py").write_text(MANAGE)
        return tmp_path

    return write


class Project:
    def __init__(self, running: Command, port: int) -> None:
        self.running = running
        self.port = port

    def get(self, path: str) -> bytes:
        return get(("127.0.0.1", self.port), path)

    def wait_for(self, pattern: str):
        return self.running.wait_for(pattern)

    @property
    def output(self) -> str:
        return self.running.output


def runserver(directory, *options):
    """Runs it and waits until it answers."""

    @contextmanager
    def run():
        port = free_port()
        with command("-u", "manage.py", "runserver", *options, f"127.0.0.1:{port}", cwd=directory) as running:
            served = Project(running, port)

            def answers():
                assert running.process.poll() is None, running.output
                try:
                    return served.get("/page")
                except ConnectionRefusedError:
                    return None

            until(answers, "it answers")
            yield served

    return run()


def manage(directory, *arguments):
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=directory, capture_output=True, text=True, timeout=60, env=os.environ
    )


def test_it_serves_http_websockets_and_static_files(project):
    with runserver(project(), "--noreload") as server:
        assert b"page True" in server.get("/page")
        assert b"color: red" in server.get("/static/style.css")
        client = Client(server.port, "/chat").open()
        client.send(b"hello")
        assert client.receive() == b"hello"
        client.close()
        server.wait_for(r"WebSocket DISCONNECT /chat \[127.0.0.1:\d+\]")
        output = server.output
    assert "Performing system checks..." in output
    assert re.search(r"Starting ASGI/Peneus version \S+ development server at http://127.0.0.1:\d+/\n", output)
    assert "Quit the server with CONTROL-C." in output
    assert re.search(r"HTTP GET /page 200 \[\d+\.\d\d, 127\.0\.0\.1:\d+\]", output)
    assert re.search(r"WebSocket HANDSHAKING /chat \[127.0.0.1:\d+\]", output)
    assert re.search(r"WebSocket CONNECT /chat \[127.0.0.1:\d+\]", output)


def test_every_kind_of_status_is_logged(project):
    with runserver(project(), "--noreload") as server:
        for code in (201, 302, 304, 403, 500):
            server.get(f"/status/{code}")
            server.wait_for(f"HTTP GET /status/{code} {code} ")
        server.get("/nothing")
        server.wait_for("HTTP GET /nothing 404 ")
        client = Client(server.port, "/rejected")
        assert b" 403 " in client.socket.recv(1000)
        server.wait_for("WebSocket REJECT /rejected ")


def test_nostatic(project):
    with runserver(project(), "--noreload", "--nostatic") as server:
        assert b"404 Not Found" in server.get("/static/style.css").splitlines()[0]


def test_static_files_without_debug_only_if_insecure(project):
    directory = project(debug=False)
    with runserver(directory, "--noreload") as server:
        assert b"404 Not Found" in server.get("/static/style.css").splitlines()[0]
    with runserver(directory, "--noreload", "--insecure") as server:
        assert b"color: red" in server.get("/static/style.css")


def test_a_logging_setting_that_switches_all_loggers_off(project):
    more = (
        'LOGGING = {"version": 1, "handlers": {"console": {"class": "logging.StreamHandler"}}, '
        '"root": {"handlers": ["console"], "level": "INFO"}}'
    )
    with runserver(project(more=more), "--noreload") as server:
        server.get("/page")
        server.wait_for(r"HTTP GET /page 200")
        server.wait_for("Listening on TCP address")


def test_noasgi(project):
    with runserver(project(), "--noreload", "--noasgi") as server:
        assert b"page False" in server.get("/page")
        assert b"color: red" in server.get("/static/style.css")
        assert "Starting development server at http://127.0.0.1" in server.output


def test_noasgi_serves_static_files_where_runserver_would(project):
    directory = project()
    with runserver(directory, "--noreload", "--noasgi", "--nostatic") as server:
        assert b"404 Not Found" in server.get("/static/style.css").splitlines()[0]
    directory = project(debug=False)
    with runserver(directory, "--noreload", "--noasgi") as server:
        assert b"404 Not Found" in server.get("/static/style.css").splitlines()[0]
    with runserver(directory, "--noreload", "--noasgi", "--insecure") as server:
        assert b"color: red" in server.get("/static/style.css")
    with runserver(project(apps=["peneus"]), "--noreload", "--noasgi") as server:
        assert b"404 Not Found" in server.get("/static/style.css").splitlines()[0]


def test_autoreload(project):
    directory = project()
    with runserver(directory) as server:
        server.wait_for("Watching for file changes")
        time.sleep(1.2)  # the reloader looks at times of change, once a second
        urls = directory / "project" / "urls.py"
        urls.write_text(URLS.replace("page {", "changed {"))

        def changed():
            try:
                return b"changed True" in server.get("/page")
            except OSError:
                return False

        until(changed, "the changed page")
        server.running.process.terminate()
        assert server.running.wait() == 0
    until(lambda: not answers(server.port), "both processes have ended")


def answers(port: int) -> bool:
    try:
        return bool(get(("127.0.0.1", port), "/page"))
    except OSError:
        return False


@pytest.mark.parametrize("name", ["PENEUS", "DAPHNE"])
def test_settings_of_sizes(project, name):
    with runserver(project(more=f"{name}_WEBSOCKET_MAX_MESSAGE_SIZE = 10"), "--noreload") as server:
        client = Client(server.port, "/chat").open()
        client.send(b"x" * 11)
        with pytest.raises(Gone):
            client.receive()
        assert client.code == 1009


def test_options_of_sizes_and_times(project):
    more = "PENEUS_WEBSOCKET_MAX_FRAME_SIZE = 10"
    options = ("--noreload", "--websocket-max-frame-size", "20", "--websocket_handshake_timeout", "1", "--http_timeout", "60")
    with runserver(project(more=more), *options) as server:
        client = Client(server.port, "/chat").open()
        client.send(b"x" * 20)
        assert client.receive() == b"x" * 20
        client.send(b"x" * 21)
        with pytest.raises(Gone):
            client.receive()
        assert client.code == 1009
        assert Client(server.port, "/never").socket.recv(1000).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("apps", "said"),
    [
        (["django.contrib.staticfiles", "peneus"], "(peneus.E001) peneus must be listed before django.contrib.staticfiles"),
        (["peneus", "django.contrib.staticfiles"], None),
        (["django.contrib.auth", "django.contrib.contenttypes", "peneus", "django.contrib.staticfiles"], None),
    ],
)
def test_the_system_check(project, apps, said):
    checked = manage(project(apps=apps), "check")
    if said is None:
        assert checked.returncode == 0, checked.stderr
    else:
        assert checked.returncode == 1 and said in checked.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("del ASGI_APPLICATION", "You have not set ASGI_APPLICATION, which is needed to run the server."),
        ("ASGI_APPLICATION = 'application'", "ASGI_APPLICATION is 'application'; write it as 'mysite.asgi.application'."),
        ("ASGI_APPLICATION = 'nowhere.application'", "Cannot import ASGI_APPLICATION module 'nowhere'"),
        ("ASGI_APPLICATION = 'project.asgi.other'", "Cannot find 'other' in ASGI_APPLICATION module project.asgi"),
    ],
)
def test_a_wrong_asgi_application_is_said(project, more, said):
    ended = manage(project(more=more), "runserver", "--noreload", f"127.0.0.1:{free_port()}")
    assert ended.returncode == 1
    assert said in ended.stderr


def test_a_port_in_use_is_said(project):
    with runserver(project(), "--noreload") as server:
        ended = manage(project(), "runserver", "--noreload", f"127.0.0.1:{server.port}")
        assert ended.returncode == 1
        assert "in use" in ended.stderr and "Traceback" not in ended.stderr


LIVE_TEST = """
import django
from channels.testing import ChannelsLiveServerTestCase
from peneus.testing import ServerProcess
from tests.leaks.client import Client

class Live(ChannelsLiveServerTestCase):
    ProtocolServerProcess = ServerProcess
    host = "127.0.0.1"

    def test_echo(self):
        port = int(self.live_server_url.rsplit(":", 1)[1])
        client = Client(port, "/chat").open()
        client.send(b"hello")
        assert client.receive() == b"hello"
"""


def test_channels_live_server_test_case(project):
    """By its own hook for another server."""
    database = (
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db', 'TEST': {'NAME': 'test-db'}}}\n"
        "import multiprocessing; multiprocessing.set_start_method('fork', force=True)"
    )
    directory = project(more=database)
    (directory / "project" / "tests.py").write_text(LIVE_TEST)
    ended = subprocess.run(
        [sys.executable, "manage.py", "test", "project"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    assert "Ran 1 test" in ended.stderr


def test_it_ends_at_once_although_a_response_goes_on(project):
    directory = project()
    (directory / "project" / "asgi.py").write_text(ENDLESS)
    with runserver(directory, "--noreload") as server:
        with connect(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while b"begun" not in client.recv(65536):
                pass
            server.running.process.send_signal(signal.SIGINT)
            server.running.wait()
        assert "Cancelled 1 application" in server.output and "may go on for" not in server.output
