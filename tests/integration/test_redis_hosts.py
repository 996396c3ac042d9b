"""`hosts` in the forms of channels_redis, and what is wrong with others."""

import ssl

import pytest
import redis.asyncio
from peneus import bus_config
from peneus.errors import SettingError
from peneus.redis_hosts import shards

PLAIN = {
    "kind": "single",
    "master": None,
    "addresses": [("127.0.0.1", 6379)],
    "username": None,
    "password": None,
    "db": 0,
    "protocol": 0,
    "connect_timeout_ms": 5000,
    "tls": None,
    "sentinel_username": None,
    "sentinel_password": None,
    "sentinel_tls": None,
    "label": "redis://127.0.0.1:6379/0",
}
TLS = {
    "ca_file": None,
    "ca_path": None,
    "ca_data": None,
    "cert_file": None,
    "key_file": None,
    "key_password": None,
    "verify": "required",
    "check_hostname": True,
}


@pytest.mark.parametrize(
    ("entry", "changed"),
    [
        ("redis://127.0.0.1", {}),
        (b"redis://127.0.0.1:6379/0", {}),
        (("127.0.0.1", 6379), {}),
        (["127.0.0.1", "6379"], {}),
        ({"host": "127.0.0.1"}, {}),
        ({"address": "redis://127.0.0.1:6379"}, {}),
        ({"address": "redis://127.0.0.1", "max_connections": 5, "health_check_interval": 3, "socket_timeout": 9}, {}),
        ({"host": "127.0.0.1", "connection_class": redis.asyncio.Connection}, {}),
        ("redis://127.0.0.1/3", {"db": 3, "label": "redis://127.0.0.1:6379/3"}),
        ("redis://127.0.0.1/3?db=4", {"db": 4, "label": "redis://127.0.0.1:6379/4"}),
        ("redis://:pass%2Fword@127.0.0.1", {"password": "pass/word"}),
        ("redis://user:secret@127.0.0.1", {"username": "user", "password": "secret"}),
        ("redis://user@127.0.0.1", {"username": "user", "password": ""}),
        ("redis://127.0.0.1?protocol=3&socket_connect_timeout=0.5", {"protocol": 3, "connect_timeout_ms": 500}),
        (
            {"address": "redis://127.0.0.1", "password": "secret", "db": 1},
            {"password": "secret", "db": 1, "label": "redis://127.0.0.1:6379/1"},
        ),
        ("redis://[::1]:7000", {"addresses": [("::1", 7000)], "label": "redis://[::1]:7000/0"}),
        ("unix:///run/redis.sock?db=2", {"addresses": ["/run/redis.sock"], "db": 2, "label": "unix:///run/redis.sock?db=2"}),
        ("unix://user:pw@/run/r", {"addresses": ["/run/r"], "username": "user", "password": "pw", "label": "unix:///run/r?db=0"}),
        ({"path": "/run/r"}, {"addresses": ["/run/r"], "label": "unix:///run/r?db=0"}),
        ("rediss://127.0.0.1", {"tls": TLS, "label": "rediss://127.0.0.1:6379/0"}),
        ({"host": "127.0.0.1", "ssl": True}, {"tls": TLS, "label": "rediss://127.0.0.1:6379/0"}),
        (
            {"host": "127.0.0.1", "connection_class": redis.asyncio.SSLConnection},
            {"tls": TLS, "label": "rediss://127.0.0.1:6379/0"},
        ),
        (
            {
                "address": "rediss://127.0.0.1",
                "ssl_cert_reqs": None,
                "ssl_ca_certs": "/ca",
                "ssl_keyfile": "/k",
                "ssl_certfile": "/c",
            },
            {
                "tls": {**TLS, "verify": "none", "check_hostname": False, "ca_file": "/ca", "key_file": "/k", "cert_file": "/c"},
                "label": "rediss://127.0.0.1:6379/0",
            },
        ),
        (
            "rediss://127.0.0.1?ssl_cert_reqs=none&ssl_check_hostname=false",
            {"tls": {**TLS, "verify": "none", "check_hostname": False}, "label": "rediss://127.0.0.1:6379/0"},
        ),
        (
            {"host": "127.0.0.1", "ssl": True, "ssl_cert_reqs": ssl.CERT_OPTIONAL, "ssl_password": "p"},
            {"tls": {**TLS, "verify": "optional", "key_password": "p"}, "label": "rediss://127.0.0.1:6379/0"},
        ),
        (
            {
                "sentinels": [("s1", 26379), ("s2", 26380)],
                "master_name": "m",
                "db": 1,
                "password": "p",
                "sentinel_kwargs": {"password": "q"},
            },
            {
                "kind": "sentinel",
                "addresses": [("s1", 26379), ("s2", 26380)],
                "master": "m",
                "db": 1,
                "password": "p",
                "sentinel_password": "q",
                "label": "sentinel://s1:26379,s2:26380/m",
            },
        ),
        (
            {"cluster": ["redis://user:p@127.0.0.1:7000", ("127.0.0.1", 7001), {"host": "h", "port": 7002}]},
            {
                "kind": "cluster",
                "addresses": [("127.0.0.1", 7000), ("127.0.0.1", 7001), ("h", 7002)],
                "username": "user",
                "password": "p",
                "label": "cluster of 127.0.0.1:7000,127.0.0.1:7001,h:7002",
            },
        ),
    ],
)
def test_forms(entry, changed):
    assert shards([entry]) == [{**PLAIN, **changed}]


def test_several_and_none():
    assert [shard["addresses"] for shard in shards(["redis://a", ("b", 1)])] == [[("a", 6379)], [("b", 1)]]
    assert shards(None) == shards([]) == shards(["redis://localhost:6379"])
    assert shards({"cluster": [("a", 1)]}) == shards([{"cluster": [("a", 1)]}])


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ("redis://localhost", "hosts: is not a list, but a str; write"),
        ([5], "hosts[0]: is a int; write"),
        (["http://localhost"], "hosts[0]: begins with 'http:'; write redis://, rediss:// or unix://"),
        (["localhost:6379"], "hosts[0]: begins with 'localhost:'; write redis://"),
        (["redis://localhost:port"], "hosts[0]: has a port that is no number"),
        (["redis://localhost/first"], "hosts[0]: has the database 'first'; write a number"),
        ([("localhost",)], 'hosts[0]: is no pair of host and port; write ("127.0.0.1", 6379)'),
        ([("localhost", 70000)], "hosts[0]: the port: 70000 is not a whole number from 1 to 65535"),
        ([{"host": "h", "path": "/p"}], "hosts[0]: has a host and a path; write one of them"),
        ([{"host": "h", "hots": 5}], "hosts[0]: has 'hots', which is not known; write host, port"),
        ([{"host": "h", "db": -1}], "hosts[0]['db']: -1 is not a whole number"),
        (
            [{"host": "h", "ssl": True, "ssl_cert_reqs": "maybe"}],
            "hosts[0]['ssl_cert_reqs']: 'maybe' is not known; write 'required'",
        ),
        (
            [{"host": "h", "socket_connect_timeout": 0}],
            "hosts[0]['socket_connect_timeout']: 0 is not a number of seconds above 0",
        ),
        ([{"host": "h", "connection_class": dict}], "hosts[0]['connection_class']: <class 'dict'> is not known"),
        ([{"host": "h", "password": 5}], "hosts[0]['password']: is a int; write a string"),
        (
            [{"sentinels": [], "master_name": "m"}],
            "hosts[0]['sentinels']: is no list of addresses; write [(\"127.0.0.1\", 26379), …]",
        ),
        ([{"sentinels": [("a", 1)]}], "hosts[0]['master_name']: None is no text"),
        (
            [{"sentinels": [("a", 1)], "master_name": "m", "sentinel_kwargs": 5}],
            "hosts[0]['sentinel_kwargs']: is a int; write a dict",
        ),
        ([{"cluster": "redis://a"}], "hosts[0]['cluster']: is no list of addresses"),
        ([{"cluster": ["unix:///a"]}], "hosts[0]['cluster'][0]: is a Unix socket"),
        ([{"cluster": [("a", 1)], "db": 1}], "hosts[0]['db']: 1 is no database of a cluster"),
        ([{"cluster": [("a", 1)]}, "redis://b"], "hosts: has a cluster and something else"),
    ],
)
def test_what_is_wrong(hosts, said):
    with pytest.raises(SettingError) as error:
        shards(hosts)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("entry", ["redis://:the-secret@h:x", {"host": "h", "password": "the-secret", "db": -1}, ("the-secret",)])
def test_a_password_is_not_printed(entry):
    with pytest.raises(SettingError) as error:
        shards([entry])
    assert "the-secret" not in str(error.value)
    assert "the-secret" not in shards(["redis://:the-secret@h"])[0]["label"]


@pytest.mark.parametrize(
    ("bus", "hosts", "hub", "environment", "kind"),
    [
        ("auto", None, None, None, "local"),
        ("auto", ["redis://h"], None, None, "redis"),
        ("auto", ["redis://h"], "/hub", "/hub", "redis"),
        ("auto", None, "/hub", None, "hub"),
        ("auto", None, None, "/hub", "hub"),
        ("local", None, None, "/hub", "local"),
        ("hub", None, None, "/hub", "hub"),
        ("redis", None, None, None, "redis"),
        ("redis-core", None, None, None, "redis-core"),
    ],
)
def test_which_bus(monkeypatch, bus, hosts, hub, environment, kind):
    monkeypatch.delenv(bus_config.HUB_VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(bus_config.HUB_VARIABLE, environment)
    assert bus_config.choose(bus, hosts, hub) == kind
