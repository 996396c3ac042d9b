"""The checks of settings: each error names the setting, the value and what to write instead."""

import re
import resource

import pytest
from peneus import kinds, options, settings
from peneus.errors import SettingError
from peneus.settings import from_keywords

DAPHNES = {
    "http_timeout": None,
    "websocket_timeout": 86400,
    "websocket_connect_timeout": 5,
    "ping_interval": 20,
    "ping_timeout": 30,
    "websocket_max_message_size": 1024 * 1024,
    "websocket_max_frame_size": 1024 * 1024,
    "application_close_timeout": 10,
    "root_path": "",
    "proxy_headers": False,
    "verbosity": 1,
    "access_log": None,
    "log_fmt": "%(asctime)-15s %(levelname)-8s %(message)s",
    "endpoints": [],
}


def test_defaults_are_daphnes():
    given = from_keywords({})
    assert {name: getattr(given, name) for name in DAPHNES} == DAPHNES
    assert given.endpoint_strings() == ["tcp:port=8000:interface=127.0.0.1"]
    assert (given.proxy_address_header, given.proxy_port_header, given.proxy_proto_header) == (None, None, None)


def test_connections_leave_descriptors_for_the_rest(monkeypatch):
    for soft, expected in ((1024, 896), (100_000, 90_000), (64, 32), (resource.RLIM_INFINITY, 0)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, soft=soft: (soft, soft))
        assert from_keywords({}).native()["limit_connections"] == expected
    assert from_keywords({"limit_connections": 7}).native()["limit_connections"] == 7
    assert from_keywords({"limit_connections": 0}).native()["limit_connections"] == 0


@pytest.mark.parametrize(("streams", "given", "applications"), [(100, None, 200), (7, None, 14), (100, 5, 5), (100, 0, 0)])
def test_applications_of_a_connection(streams, given, applications):
    settings = {"http2_max_concurrent_streams": streams, "http2_max_applications": given}
    assert from_keywords(settings).native()["http2_max_applications"] == applications


def test_native_settings_are_complete_and_in_milliseconds():
    native = from_keywords({"ping_interval": 0.5, "http_timeout": 3}).native()
    assert native["ping_interval_ms"] == 500
    assert native["http_timeout_ms"] == 3000
    assert native["header_timeout_ms"] == 10_000
    assert native["keep_alive_timeout_ms"] == 75_000
    assert native["body_chunk"] == 64 * 1024
    assert native["server_name"] == "peneus"
    texts = ("server_name", "trusted_proxies", *(name for name in native if name.startswith("forwarded_")))
    assert all(isinstance(value, int) for name, value in native.items() if name not in texts)


@pytest.mark.parametrize(
    "name",
    [
        "http_timeout",
        "websocket_timeout",
        "websocket_connect_timeout",
        "ping_interval",
        "ping_timeout",
        "application_close_timeout",
    ],
)
@pytest.mark.parametrize("never", [-1, 0, None, "-1"])
def test_never(name, never):
    assert from_keywords({name: never}).native()[f"{name}_ms"] == 0


def test_a_time_below_a_millisecond_is_not_never():
    assert from_keywords({"ping_timeout": 0.0001}).native()["ping_timeout_ms"] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"http_timeout": "soon"},
            "http_timeout: 'soon' is not a number of seconds; write a number such as 10 or 0.5, or -1",
        ),
        ({"http_timeout": -2}, "http_timeout: -2 is too short a time"),
        ({"http_timeout": True}, "http_timeout: True is not a number of seconds"),
        ({"http_timeout": float("nan")}, "http_timeout: nan is not a number of seconds"),
        ({"http_timeout": float("inf")}, "http_timeout: inf is not a number of seconds"),
        ({"close_timeout": 0}, "close_timeout: 0 is too short a time; write a number such as 10 or 0.5"),
        (
            {"graceful_timeout": -1},
            "graceful_timeout: -1 is not a number of seconds; write a number such as 20, or 0",
        ),
        ({"port": 70000}, "port: 70000 is not a port; write a number from 1 to 65535"),
        ({"max_body_size": "1 GiB"}, "max_body_size: '1 GiB' is not a whole number; write a whole number such as 65536, or 0"),
        ({"max_body_size": 1.5}, "max_body_size: 1.5 is not a whole number"),
        ({"max_body_size": -1}, "max_body_size: -1 is too small"),
        ({"send_window": 0}, "send_window: 0 is too small; write a whole number such as 65536"),
        ({"verbosity": 4}, "verbosity: 4 is not a whole number from 0 to 3"),
        ({"loop": "trio"}, "loop: 'trio' is not one of the choices; write auto or asyncio or uvloop"),
        ({"log_format": None}, "log_format: None is not one of the choices"),
        ({"server_name": "a\r\nSet-Cookie: b"}, "server_name: 'a\\r\\nSet-Cookie: b' has a line break or a NUL in it"),
        ({"server_name": 5}, "server_name: 5 is of type int; write a string"),
        ({"endpoints": "tcp:8000"}, "endpoints: 'tcp:8000' is not a list of strings"),
        ({"endpoints": ["ssl:"]}, "endpoints: 'ssl:' has no port"),
        ({"websocket_time": 5}, "websocket_time: there is no such setting; did you mean websocket_timeout?"),
        ({"colour": 5}, "colour: there is no such setting; docs/options.md lists them"),
        ({"websocket_handshake_timeout": "x"}, "websocket_handshake_timeout: 'x' is not a number of seconds"),
        ({"proxy_forwarded_address_header": 5}, "proxy_forwarded_address_header: 5 is not the name of a header"),
        ({"proxy_headers_host": "X-Real-IP"}, "--proxy-headers-host: counts only with --proxy-headers"),
        (
            {"max_body_size": "10MB"},
            "max_body_size: '10MB' is not a whole number; write a whole number such as 65536, or 0 for no limit; "
            "10MB is 10000000",
        ),
        (
            {"max_body_size": "1.5 GiB"},
            "max_body_size: '1.5 GiB' is not a whole number; write a whole number such as 65536, or 0 for no limit; "
            "1.5 GiB is 1610612736",
        ),
        (
            {"http_timeout": "5m"},
            "http_timeout: '5m' is not a number of seconds; write a number such as 10 or 0.5, or -1 for never; 5m is 300",
        ),
        ({"workers": 0}, "workers: 0 is too small; write a whole number from 1 to 128"),
        ({"workers": 200}, "workers: 200 is more than 128; write a whole number from 1 to 128"),
        (
            {"limit_connections": -1},
            "limit_connections: -1 is too small; write a whole number from 0 to 2147483648; 0 is no limit",
        ),
        (
            {"min_rate": -1},
            "min_rate: -1 is too small; write a whole number such as 65536, or 0 for one byte in each of these times",
        ),
        ({"ping_interval": -5}, "ping_interval: -5 is too short a time; write a number such as 10 or 0.5, or 0 for never"),
        ({"worker_timeout": -5}, "worker_timeout: -5 is too short a time; write a number such as 10 or 0.5, or 0 for never"),
        ({"file_descriptor": -1}, "file_descriptor: -1 is not a whole number from 0 to 1048576; write one, such as 3"),
        (
            {"websocket_deflate_window_bits": 8},
            "websocket_deflate_window_bits: 8 is not a whole number from 9 to 15; write one, such as 12",
        ),
        ({"metrics": "9101"}, "metrics: '9101' is not HOST:PORT; write one such as 127.0.0.1:9101 or [::1]:9101"),
        ({"host": "127.0.0.1:80"}, "host: '127.0.0.1:80' has a port in it; write --bind 127.0.0.1 --port 80"),
        ({"host": "[::1]:80"}, "host: '[::1]:80' has a port in it; write --bind [::1] --port 80"),
        ({"host": "http://localhost:80"}, "host: 'http://localhost:80' has a port in it; write --bind localhost --port 80"),
        ({"host": "unix:/run/a"}, "host: 'unix:/run/a' is a Unix socket; write --unix-socket /run/a"),
        ({"host": "fd://3"}, "host: 'fd://3' is a file descriptor; write --fd 3"),
        ({"root_path": "api"}, "root_path: 'api' does not begin with a slash; write /api"),
        (
            {"log_fmt": "%(bogus)s"},
            "log_fmt: '%(bogus)s' names 'bogus', which no line of the log has; write a format",
        ),
        ({"log_fmt": "%"}, "log_fmt: '%' is no format; write a format of Python's logging, such as '%(asctime)s"),
        ({"log_fmt": "%(asctime)d"}, "log_fmt: '%(asctime)d' is no format; write"),
        (
            {"forwarded_headers": "x"},
            "forwarded_headers: 'x' is not one of the choices; write some of x-forwarded-for,x-forwarded-port,",
        ),
        ({"ssl_keyfile": "a"}, "--ssl-keyfile: counts only with --ssl-certfile; write both, or neither"),
        ({"ssl_certfile": "a", "ssl_keyfile": ["a", "b"]}, "--ssl-keyfile: 2 keys for 1 certificate; write a key for each"),
        (
            {"ssl_cert_reqs": "required", "ssl_certfile": "a"},
            "--ssl-cert-reqs: clients' certificates are checked, and nobody is named whom they have to be from; "
            "write --ssl-ca-certs too, or --ssl-cert-reqs none",
        ),
        ({"proxy_headers": "perhaps"}, "proxy_headers: 'perhaps' is neither yes nor no; write 1 or 0"),
    ],
)
def test_what_is_wrong(given, said):
    with pytest.raises(SettingError) as error:
        from_keywords(given)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"port": 9000}, ["tcp:port=9000:interface=127.0.0.1"]),
        ({"port": 0}, ["tcp:port=0:interface=127.0.0.1"]),
        ({"host": "0.0.0.0"}, ["tcp:port=8000:interface=0.0.0.0"]),
        ({"unix_socket": "/a"}, ["unix:/a"]),
        ({"file_descriptor": 0}, ["fd:fileno=0"]),
        ({"endpoints": ["unix:/a"], "port": 1}, ["tcp:port=1:interface=127.0.0.1", "unix:/a"]),
    ],
)
def test_where_to_listen(given, expected):
    """A default is filled in only where nothing, or half of the pair, is said."""
    assert from_keywords(given).endpoint_strings() == expected


def test_the_first_of_daphnes_two_clocks_for_the_handshake_counts():
    def of(**given):
        return from_keywords(given).native()["websocket_connect_timeout_ms"]

    assert of(websocket_handshake_timeout=3) == 3000
    assert of(websocket_handshake_timeout=3, websocket_connect_timeout=20) == 3000
    assert of(websocket_handshake_timeout=20, websocket_connect_timeout=3) == 3000
    assert of(websocket_handshake_timeout=-1, websocket_connect_timeout=3) == 3000
    assert of(websocket_handshake_timeout=-1) == 0


def test_proxy_headers():
    on = from_keywords({"proxy_headers": True, "proxy_headers_host": "X-Real-IP"})
    assert (on.proxy_address_header, on.proxy_port_header, on.proxy_proto_header) == (
        "X-Real-IP",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
    )
    daphnes = from_keywords({"proxy_forwarded_address_header": "X-Forwarded-For"})
    assert (daphnes.proxy_address_header, daphnes.proxy_port_header, daphnes.proxy_proto_header) == (
        "X-Forwarded-For",
        None,
        None,
    )


def test_no_server_name():
    assert from_keywords({"no_server_name": True}).native()["server_name"] is None
    assert from_keywords({"server_name": ""}).native()["server_name"] is None


def test_every_native_setting_comes_from_the_table():
    assert set(settings.SECONDS) | set(settings.NUMBERS) <= set(options.OPTIONS)


@pytest.mark.parametrize("host", ["", "::1", "[::1]", "fe80::1%eth0", "0.0.0.0", "localhost", "a-b.example"])
def test_hosts(host):
    assert from_keywords({"host": host}).host == host


@pytest.mark.parametrize("option", list(options.all_options()), ids=lambda option: option.name)
def test_what_a_message_says_to_write_is_taken(option):
    """Numbers, at least: each that is named as an example, or as the one for "no limit"."""
    for value in ("nonsense", "-5", "0", "99999999999999999999"):
        try:
            option.kind.read(value)
        except kinds.Wrong as error:
            advice = str(error).partition("; write ")[2]
            for number in re.findall(r"(?:such as|or|one|from|to|for) (-?\d+(?:\.\d+)?)\b(?!\.\d)", advice):
                assert option.kind.read(number) != "", (str(error), number)
