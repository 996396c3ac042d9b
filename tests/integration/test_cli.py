"""The command line: every option of Daphne, the environment, and that the documentation says the same."""

import json
import re
import socket
import subprocess
import sys
from importlib.metadata import version

import pytest
from peneus import environment, options
from peneus.cli import make_parser, parse
from peneus.errors import SettingError
from peneus.words import counted

from tests.integration.programs import ROOT, command, get, peneus, until
from tests.support.ports import free_port

HELLO = "tests.integration.programs:hello"

# Daphne's command line, read from its documentation: what is said, and what it means.
DAPHNES = [
    (["-p", "9000"], {"port": 9000}),
    (["--port", "9000"], {"port": 9000}),
    (["-b", "0.0.0.0"], {"host": "0.0.0.0"}),
    (["--bind", "::1"], {"host": "::1"}),
    (["-u", "/a"], {"unix_socket": "/a"}),
    (["--unix-socket", "/a"], {"unix_socket": "/a"}),
    (["--fd", "3"], {"file_descriptor": 3}),
    (["-e", "tcp:1", "--endpoint", "fd:3"], {"endpoints": ["tcp:1", "fd:3"]}),
    (["-v", "2"], {"verbosity": 2}),
    (["--verbosity", "0"], {"verbosity": 0}),
    (["-t", "30"], {"http_timeout": 30}),
    (["--http-timeout", "30"], {"http_timeout": 30}),
    (["--websocket_timeout", "-1"], {"websocket_timeout": None}),
    (["--websocket_connect_timeout", "-1"], {"websocket_connect_timeout": None}),
    (["--ping-interval", "0"], {"ping_interval": None}),
    (["--ping-timeout", "7"], {"ping_timeout": 7}),
    (["--websocket-max-message-size", "0"], {"websocket_max_message_size": 0}),
    (["--websocket-max-frame-size", "9"], {"websocket_max_frame_size": 9}),
    (["--application-close-timeout", "-1"], {"application_close_timeout": None}),
    (["--access-log", "-"], {"access_log": "-"}),
    (["--log-fmt", "%(message)s"], {"log_fmt": "%(message)s"}),
    (["--root-path", "/a"], {"root_path": "/a"}),
    (["--proxy-headers"], {"proxy_headers": True}),
    (["--proxy-headers-host", "X-Real-IP"], {"proxy_headers_host": "X-Real-IP"}),
    (["--proxy-headers-port", "X-Port"], {"proxy_headers_port": "X-Port"}),
    (["-s", "a"], {"server_name": "a"}),
    (["--server-name", "a"], {"server_name": "a"}),
    (["--no-server-name"], {"no_server_name": True}),
]


@pytest.mark.parametrize(("arguments", "given"), DAPHNES)
def test_daphnes_options(arguments, given):
    assert parse([*arguments, "a:b"], {}) == ("a:b", given)
    assert parse(["a:b", *arguments], {}) == ("a:b", given)


def test_the_environment_and_the_command_line():
    environment = {
        "PENEUS_APPLICATION": "a:b",
        "PENEUS_PORT": "9000",
        "PENEUS_ENDPOINT": "tcp:1 'unix:/with space'",
        "PENEUS_PROXY_HEADERS": "1",
        "PENEUS_NO_SERVER_NAME": "0",
        "PENEUS_WEBSOCKET_TIMEOUT": "-1",
        "PENEUS_BIND": "",
        "PENEUS_SOMETHING_ELSE": "x",
    }
    expected = {
        "port": 9000,
        "endpoints": ["tcp:1", "unix:/with space"],
        "proxy_headers": True,
        "no_server_name": False,
        "websocket_timeout": None,
    }
    assert parse([], environment) == ("a:b", expected)
    assert parse(["c:d", "-p", "1"], environment) == ("c:d", {**expected, "port": 1})


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--port", "x", "a:b"], {}, "--port: 'x' is not a port; write a number from 1 to 65535, or 0 for any free port"),
        (["a:b"], {"PENEUS_PORT": "x"}, "PENEUS_PORT: 'x' is not a port"),
        (["-e", "ssl:", "a:b"], {}, "--endpoint: 'ssl:' has no port"),
        (["a:b"], {"PENEUS_ENDPOINT": "nonsense"}, "PENEUS_ENDPOINT: 'nonsense' is no endpoint"),
    ],
)
def test_errors_name_where_it_was_said(arguments, environment, said):
    with pytest.raises(SettingError) as error:
        parse(arguments, environment)
    assert str(error.value).startswith(said)


def test_help_has_every_option_with_its_default():
    text = re.sub(r"\s+", " ", make_parser().format_help())
    for option in options.all_options():
        for flag in option.flags:
            assert flag in text
        assert "Default: " + " ".join(option.default_text.split()) + "." in text, option.name


def test_no_flag_and_no_variable_stands_for_two():
    flags = [flag for option in options.all_options() for flag in option.flags]
    variables = [option.variable for option in options.all_options()]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


def test_the_documentation_is_the_tables():
    assert (ROOT / "docs" / "options.md").read_text() == options.markdown(), "python -m peneus.options > docs/options.md"


def test_every_file_of_the_package_is_installed():
    package = ROOT / "python" / "peneus"
    listed = set(re.findall(r"'([\w/]+\.(?:py|pyi|typed))'", (package / "meson.build").read_text()))
    there = {str(file.relative_to(package)) for suffix in ("py", "pyi", "typed") for file in package.rglob(f"*.{suffix}")}
    assert listed == there


def test_version():
    with peneus("--version") as printed:
        assert printed.wait() == 0
        assert printed.output.strip() == f"peneus {version('peneus')}"


def test_a_wrong_option_is_one_line_and_exit_code_2():
    with peneus(HELLO, "--http-timeout", "soon") as printed:
        assert printed.wait() == 2
        assert printed.output.startswith("peneus: error: --http-timeout: 'soon' is not a number of seconds")
        assert len(printed.output.splitlines()) == 1


def test_it_serves_and_says_where():
    with peneus("-p", "0", HELLO) as server:
        port = server.port()
        assert b"/path" in get(("127.0.0.1", port), "/path")
        assert "Starting server at tcp:port=0:interface=127.0.0.1" in server.output
        assert "INFO" in server.output


def test_verbosity_0_is_silent():
    port = free_port()
    with peneus("-v", "0", "-p", str(port), HELLO) as server:

        def listens():
            try:
                return get(("127.0.0.1", port))
            except ConnectionRefusedError:
                return False

        until(listens, "it listens")
        server.process.terminate()
        assert server.wait() == 0
        assert server.output == ""


def test_verbosity_3_is_asyncios_debug_mode(tmp_path):
    (tmp_path / "asked.py").write_text(
        "import asyncio\n"
        "async def application(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    body = str(asyncio.get_running_loop().get_debug()).encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    for verbosity, expected in (("1", b"False"), ("3", b"True")):
        with peneus("-v", verbosity, "-p", "0", "asked:application", cwd=tmp_path) as server:
            assert expected in get(("127.0.0.1", server.port()))


def test_an_address_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with peneus("-p", str(port), HELLO) as server:
            assert server.wait() == 1
            last = server.output.splitlines()[-1]
            assert "Traceback" not in server.output
    assert f"tcp:port={port}:interface=127.0.0.1" in last
    assert "CRITICAL" in last
    assert "in use" in last


def test_unix_socket_and_descriptor_and_tcp_at_once(tmp_path):
    path = str(tmp_path / "socket")
    script = (
        "import os, socket, sys\n"
        "bound = socket.create_server(('127.0.0.1', 0)); os.dup2(bound.fileno(), 9)\n"
        "sys.argv[1:] = ['-p', '0', '-u', sys.argv[1], '--fd', '9', sys.argv[2]]\n"
        "from peneus.cli import main; sys.exit(main())\n"
    )
    with command("-c", script, path, HELLO) as server:
        until(lambda: server.output.count("Listening on") == 3, "three listeners")
        assert f"Listening on Unix socket {path}" in server.output
        ports = re.findall(r"Listening on TCP address 127.0.0.1:(\d+)", server.output)
        assert len(set(ports)) == 2
        for address in (*(("127.0.0.1", int(port)) for port in ports), path):
            assert b"/x" in get(address, "/x")


@pytest.mark.parametrize(("loop", "module"), [("asyncio", b"asyncio"), ("uvloop", b"uvloop"), ("auto", b"uvloop")])
def test_loops(tmp_path, loop, module):
    (tmp_path / "asked.py").write_text(
        "import asyncio\n"
        "async def application(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': type(asyncio.get_running_loop()).__module__.encode()})\n"
    )
    with peneus("--loop", loop, "-p", "0", "asked:application", cwd=tmp_path) as server:
        assert module in get(("127.0.0.1", server.port()))


def test_a_missing_loop_is_said(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
    with peneus("--loop", "uvloop", "-p", "0", HELLO, PYTHONPATH=f"{tmp_path}:{ROOT}") as server:
        assert server.wait() == 1
        assert "--loop: uvloop is not installed; install it, or write --loop asyncio" in server.output
    with peneus("-p", "0", HELLO, PYTHONPATH=f"{tmp_path}:{ROOT}") as server:
        assert b"200 OK" in get(("127.0.0.1", server.port()))


def test_the_package_needs_neither_django_nor_channels():
    script = (
        "import sys\n"
        "for name in ('django', 'channels'): sys.modules[name] = None\n"
        "import peneus\n"
        "assert peneus.Server and peneus.run and peneus.stats()['connections'] == 0 and peneus.__version__\n"
        "assert set(peneus.__all__) <= set(dir(peneus))\n"
        "try: peneus.nothing\nexcept AttributeError: pass\nelse: raise SystemExit('an attribute that is not there')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).stderr == b""


def test_json_log():
    with peneus("--log-format", "json", "-p", "0", HELLO) as server:
        port = int(server.wait_for(r"Listening on TCP address 127.0.0.1:(\d+)")[1])
        get(("127.0.0.1", port), "/x")
        server.wait_for('"/x"')
        lines = [json.loads(line) for line in server.output.splitlines()]
    assert {"level", "logger", "message", "time"} <= set(lines[0])
    (entry,) = [line for line in lines if line.get("path") == "/x"]
    assert entry["method"] == "GET" and entry["status"] == 200 and entry["size"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prot", "8000", HELLO], "there is no option --prot; did you mean --port?"),
        (["--host", "::1", HELLO], "there is no option --host; did you mean --bind?"),
        ([HELLO, "--http-time=5"], "there is no option --http-time; did you mean --http-timeout?"),
        ([HELLO, "--factory"], "there is no option --factory; a function that makes the application is recognised without it"),
        ([HELLO, "--qqqqqq"], "there is no option --qqqqqq"),
        ([HELLO, "-x"], "there is no option -x"),
        (["-p", "80"], "no application is named; write peneus mysite.asgi:application, or peneus --help"),
        ([], "no application is named; write peneus mysite.asgi:application, or peneus --help"),
        ([HELLO, "other:application"], "unrecognized arguments: other:application; peneus --help lists the options"),
        ([HELLO, "--port"], "argument -p/--port: expected one argument; peneus --help lists the options"),
        (["channels", "--row", "5"], "there is no option --row; did you mean --rows?"),
        (["channels", "--rows", "x"], "argument --rows: 'x' is not a number from 1 to 1000"),
        (["channels", "--watch", "0"], "argument --watch: '0' is not a number of seconds from 0.05 to 86400"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_one_line(arguments, said):
    with peneus(*arguments) as printed:
        assert printed.wait() == 2
        *usage, line = printed.output.splitlines()
    assert len(usage) == (arguments[:1] == ["channels"])
    prefix = "peneus channels: error: " if arguments[:1] == ["channels"] else "peneus: error: "
    assert line.startswith(prefix + said)


def test_numbers_below_zero_and_dashes_are_values():
    assert parse(["--websocket-timeout", "-1", "--access-log", "-", "-p0", "a:b"], {})[1] == {
        "websocket_timeout": None,
        "access_log": "-",
        "port": 0,
    }
    assert parse(["--log-fmt", "- %(message)s", "--", "a:b"], {}) == ("a:b", {"log_fmt": "- %(message)s"})


def test_kubernetes_variables_are_passed_over():
    """Those of a Service called peneus, and of one called peneus-metrics."""
    variables = {
        "PENEUS_PORT": "tcp://10.43.214.28:8080",
        "PENEUS_SERVICE_HOST": "10.43.214.28",
        "PENEUS_SERVICE_PORT": "8080",
        "PENEUS_SERVICE_PORT_HTTP": "8080",
        "PENEUS_PORT_8080_TCP": "tcp://10.43.214.28:8080",
        "PENEUS_PORT_8080_TCP_PROTO": "tcp",
        "PENEUS_PORT_8080_TCP_PORT": "8080",
        "PENEUS_PORT_8080_TCP_ADDR": "10.43.214.28",
        "PENEUS_METRICS_PORT": "tcp://10.43.214.29:9100",
        "PENEUS_METRICS_SERVICE_HOST": "10.43.214.29",
    }
    assert parse(["a:b"], variables) == ("a:b", {})
    (doubt,) = environment.doubts(variables)
    assert doubt.startswith("PENEUS_PORT=tcp://10.43.214.28:8080 is not taken for the option: Kubernetes sets it")
    assert "enableServiceLinks: false" in doubt
    assert list(environment.doubts({"PENEUS_PORT": "8080", "PENEUS_HUB": "/a", "PENEUS_APPLICATION": "a:b", "OTHER": "x"})) == []


def test_mistyped_variables_are_warned_about():
    with peneus(HELLO, PENEUS_PORT="0", PENEUS_PROT="1", PENEUS_QUITE_DIFFERENT="2") as server:
        server.port()
        assert "WARNING  PENEUS_PROT is no variable of Peneus's; did you mean PENEUS_PORT?\n" in server.output
        assert "WARNING  PENEUS_QUITE_DIFFERENT is no variable of Peneus's; docs/options.md lists them\n" in server.output
    with peneus(PENEUS_APLICATION=HELLO) as printed:
        assert printed.wait() == 2
        assert "did you mean PENEUS_APPLICATION?" in printed.output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_in_spite_of_kubernetes(workers):
    with peneus("-e", "tcp:0:interface=127.0.0.1", "--workers", workers, HELLO, PENEUS_PORT="tcp://10.43.214.28:8080") as server:
        assert b"200 OK" in get(("127.0.0.1", server.port()))
        assert server.output.count("Kubernetes") == 1


def test_a_format_that_no_line_can_be_written_in():
    with peneus("--log-fmt", "%(bogus)s", HELLO) as printed:
        assert printed.wait() == 2
        (line,) = printed.output.splitlines()
    assert line.startswith("peneus: error: --log-fmt: '%(bogus)s' names 'bogus', which no line of the log has; write ")


def test_an_ipv6_address_stands_in_brackets():
    with peneus("-b", "::1", "-p", "0", HELLO) as server:
        port = int(server.wait_for(r"Listening on TCP address \[::1\]:(\d+)\n")[1])
        assert b"200 OK" in get(("::1", port))


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("number", "problem"), [(1, "Socket operation on non-socket"), (99, "Bad file descriptor")])
def test_a_descriptor_that_is_no_socket(number, problem, workers):
    with peneus("--fd", str(number), "--workers", workers, HELLO) as server:
        assert server.wait() == 1
        assert f"fd:fileno={number}: cannot listen on file descriptor {number}: {problem}\n" in server.output


def test_one_and_many():
    assert [counted(number, "worker") for number in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]
    with peneus("-p", "0", "--reload", HELLO) as server:
        server.wait_for(r"Supervisor \d+ starts 1 worker\n")
        server.port()
        server.process.terminate()
        assert server.wait() == 0
        assert "Stopping 1 worker\n" in server.output
        assert "; 0 applications run\n" in server.output
