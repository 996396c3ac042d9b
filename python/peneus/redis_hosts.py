"""`hosts` of CHANNEL_LAYERS, in every form that channels_redis takes, as the plain dicts that the native bus reads.

An entry is a URL (redis://, rediss://, unix://), a (host, port) pair, or a dict with redis-py's keywords: `address` with
a URL, or `host`, `port`, `path`, or `sentinels`, `master_name` and `sentinel_kwargs`; also `db`, `username`, `password`,
`protocol`, `ssl` and `ssl_…`. Peneus alone has `cluster`: [addresses]. Several entries are shards.
"""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from .errors import SettingError

PORT = 6379
SENTINEL_PORT = 26379
CONNECT_TIME = 5.0  # s, where the entry does not say
DEFAULT = "redis://localhost:6379"
EXAMPLES = 'write ["redis://127.0.0.1:6379/0"], [("127.0.0.1", 6379)] or [{"host": "127.0.0.1", "password": …}]'

# What redis-py takes and a bus of Peneus does in its own way, whatever is written.
NEEDLESS = frozenset(
    {
        "auto_close_connection_pool",
        "client_name",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "max_connections",
        "maint_notifications_config",
        "parser_class",
        "redis_connect_func",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_read_size",
        "socket_timeout",
        "socket_type",
        "timeout",
    }
)
TLS_KEYS = {
    "ssl_ca_certs": "ca_file",
    "ssl_ca_path": "ca_path",
    "ssl_ca_data": "ca_data",
    "ssl_certfile": "cert_file",
    "ssl_keyfile": "key_file",
    "ssl_password": "key_password",
}
VERIFY = {
    None: "none",
    "none": "none",
    "optional": "optional",
    "required": "required",
    ssl.CERT_NONE: "none",
    ssl.CERT_OPTIONAL: "optional",
    ssl.CERT_REQUIRED: "required",
}
CLASSES = {"Connection": None, "SSLConnection": True, "UnixDomainSocketConnection": None}


def shards(hosts: object) -> list[dict[str, Any]]:
    """One dict for each shard, for `_core.Layer(bus=…)`. SettingError for what cannot be read."""
    if not hosts:
        hosts = [DEFAULT]
    if isinstance(hosts, Mapping) and "cluster" in hosts:
        hosts = [hosts]
    if not isinstance(hosts, (list, tuple)):
        raise SettingError("hosts", f"is not a list, but a {type(hosts).__name__}; {EXAMPLES}")
    found = [_shard(f"hosts[{index}]", entry) for index, entry in enumerate(hosts)]
    if len(found) > 1 and any(shard["kind"] == "cluster" for shard in found):
        raise SettingError("hosts", "has a cluster and something else; a cluster is the only entry, as it is sharded by itself")
    return found


def labels(found: list[dict[str, Any]]) -> str:
    """The hosts as a person reads them, without passwords."""
    return ", ".join(shard["label"] for shard in found)


def _shard(name: str, entry: object) -> dict[str, Any]:
    if isinstance(entry, bytes):
        entry = entry.decode()
    if isinstance(entry, str):
        options = _from_url(name, entry)
    elif isinstance(entry, (tuple, list)):
        options = dict(zip(("host", "port"), _pair(name, entry, PORT), strict=True))
    elif isinstance(entry, Mapping):
        options = dict(entry)
        if "address" in options:
            options |= _from_url(name, options.pop("address"))
    else:
        raise SettingError(name, f"is a {type(entry).__name__}; {EXAMPLES}")
    return _built(name, options)


def _built(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Takes everything out of options; what is left then is not known."""
    shard: dict[str, Any] = {"kind": "single", "master": None}
    sentinel = options.pop("sentinel_kwargs", None)
    if "cluster" in options:
        shard["kind"] = "cluster"
        shard["addresses"] = list(_seeds(name, options))
    elif "sentinels" in options or "master_name" in options:
        shard["kind"] = "sentinel"
        shard["master"] = _text(f"{name}['master_name']", options.pop("master_name", None))
        shard["addresses"] = list(_pairs(f"{name}['sentinels']", options.pop("sentinels", None), SENTINEL_PORT))
    else:
        shard["addresses"] = [_address(name, options)]
    shard |= _login(name, options)
    shard["db"] = _number(f"{name}['db']", options.pop("db", None) or 0, 0, 2**31 - 1)
    shard["protocol"] = _number(f"{name}['protocol']", options.pop("protocol", None) or 0, 0, 3)
    shard["connect_timeout_ms"] = _milliseconds(name, options.pop("socket_connect_timeout", None))
    shard["tls"] = _tls(name, options)
    shard |= _sentinel(f"{name}['sentinel_kwargs']", sentinel)
    shard["label"] = _label(shard)
    _nothing_left(name, options)
    if shard["kind"] == "cluster" and shard["db"]:
        raise SettingError(f"{name}['db']", f"{shard['db']} is no database of a cluster, which has 0 alone; leave db out")
    return shard


def _sentinel(name: str, given: object) -> dict[str, Any]:
    """How to log in at the Sentinels themselves."""
    if given is not None and not isinstance(given, Mapping):
        raise SettingError(name, f"is a {type(given).__name__}; write a dict such as {{'password': …}}")
    options = dict(given or {})
    login, tls = _login(name, options), _tls(name, options)
    options.pop("socket_connect_timeout", None)
    _nothing_left(name, options)
    return {"sentinel_username": login["username"], "sentinel_password": login["password"], "sentinel_tls": tls}


def _nothing_left(name: str, options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - NEEDLESS)
    if unknown:
        raise SettingError(
            name, f"has {unknown[0]!r}, which is not known; write host, port, db, username, password, ssl or ssl_…"
        )


def _from_url(name: str, url: object) -> dict[str, Any]:
    """The keywords in a URL. Its query is redis-py's: any of the keywords of an entry."""
    if isinstance(url, bytes):
        url = url.decode()
    if not isinstance(url, str):
        raise SettingError(name, f"has an address that is a {type(url).__name__}; write redis://, rediss:// or unix://")
    parts = urlparse(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise SettingError(name, f"begins with {parts.scheme + ':'!r}; write redis://, rediss:// or unix://")
    options: dict[str, Any] = {key: unquote(values[0]) for key, values in parse_qs(parts.query).items()}
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    if parts.scheme == "unix":
        options["path"] = unquote(parts.path)
        return options
    try:
        options["host"], options["port"] = unquote(parts.hostname or "localhost"), parts.port or PORT
    except ValueError:
        raise SettingError(name, "has a port that is no number; write redis://host:6379/0") from None
    database = unquote(parts.path).strip("/")
    if database and "db" not in options:
        if not database.isdecimal():
            raise SettingError(name, f"has the database {database!r}; write a number: redis://host:6379/0")
        options["db"] = database
    if parts.scheme == "rediss":
        options["ssl"] = True
    return options


def _address(name: str, options: dict[str, Any]) -> tuple[str, int] | str:
    path = options.pop("path", None) or options.pop("unix_socket_path", None)
    if path is not None:
        if "host" in options:
            raise SettingError(name, "has a host and a path; write one of them")
        return _text(f"{name}['path']", path)
    return _pair(name, (options.pop("host", "localhost"), options.pop("port", PORT)), PORT)


def _pair(name: str, pair: object, port: int) -> tuple[str, int]:
    if isinstance(pair, Mapping) and set(pair) <= {"host", "port"}:
        pair = (pair.get("host"), pair.get("port", port))
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise SettingError(name, f'is no pair of host and port; write ("127.0.0.1", {port})')
    return _text(f"{name}: the host", pair[0]), _number(f"{name}: the port", pair[1], 1, 65535)


def _pairs(name: str, given: object, port: int) -> Iterator[tuple[str, int]]:
    if not isinstance(given, (tuple, list)) or not given:
        raise SettingError(name, f'is no list of addresses; write [("127.0.0.1", {port}), …]')
    for index, pair in enumerate(given):
        yield _pair(f"{name}[{index}]", pair, port)


def _seeds(name: str, options: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The first nodes of a cluster. Who logs in, and TLS, may stand in one of their URLs."""
    given = options.pop("cluster")
    if isinstance(given, (str, bytes)) or not isinstance(given, (tuple, list)) or not given:
        raise SettingError(f"{name}['cluster']", 'is no list of addresses; write ["redis://127.0.0.1:6379", …]')
    for index, entry in enumerate(given):
        where = f"{name}['cluster'][{index}]"
        if isinstance(entry, (str, bytes)):
            found = _from_url(where, entry)
            address = _address(where, found)
            if isinstance(address, str):
                raise SettingError(where, "is a Unix socket: the nodes of a cluster are reached by host and port")
            for key, value in found.items():
                options.setdefault(key, value)
            yield address
        else:
            yield _pair(where, entry, PORT)


def _login(name: str, options: dict[str, Any]) -> dict[str, str | None]:
    login: dict[str, str | None] = {}
    for key in ("username", "password"):
        value = options.pop(key, None)
        if isinstance(value, bytes):
            value = value.decode()
        if value is not None and not isinstance(value, str):
            raise SettingError(f"{name}[{key!r}]", f"is a {type(value).__name__}; write a string")
        login[key] = value or None
    if login["username"] is not None and login["password"] is None:
        login["password"] = ""
    return login


def _tls(name: str, options: dict[str, Any]) -> dict[str, Any] | None:
    wanted = options.pop("ssl", None)
    connection = options.pop("connection_class", None)
    if connection is not None:
        if getattr(connection, "__name__", None) not in CLASSES:
            raise SettingError(f"{name}['connection_class']", f"{connection!r} is not known; leave it out, or write ssl=True")
        wanted = wanted or CLASSES[connection.__name__]
    tls: dict[str, Any] = {theirs: None for theirs in TLS_KEYS.values()}
    for key, ours in TLS_KEYS.items():
        value = options.pop(key, None)
        if value is not None:
            tls[ours] = _text(f"{name}[{key!r}]", value)
    verify = options.pop("ssl_cert_reqs", "required")
    verify = verify.lower().removeprefix("cert_") if isinstance(verify, str) else verify
    if verify not in VERIFY:
        raise SettingError(f"{name}['ssl_cert_reqs']", f"{verify!r} is not known; write 'required', 'optional' or 'none'")
    tls["verify"] = VERIFY[verify]
    tls["check_hostname"] = _truth(options.pop("ssl_check_hostname", True)) and tls["verify"] != "none"
    return tls if _truth(wanted) else None


def _truth(value: object) -> bool:
    """As it stands in a URL too."""
    return value.lower() in ("1", "true", "yes", "on", "y", "t") if isinstance(value, str) else bool(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SettingError(name, f"{value!r} is no text" if value is None or value == "" else f"is a {type(value).__name__}")
    return value


def _number(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SettingError(name, f"{value!r} is not a whole number from {least} to {most}")
    return value


def _milliseconds(name: str, value: object) -> int:
    try:
        seconds = CONNECT_TIME if value is None else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = 0
    if not 0 < seconds < 10**6:
        raise SettingError(f"{name}['socket_connect_timeout']", f"{value!r} is not a number of seconds above 0")
    return max(1, round(seconds * 1000))


def _label(shard: Mapping[str, Any]) -> str:
    places = ",".join(place if isinstance(place, str) else _joined(*place) for place in shard["addresses"])
    if shard["kind"] == "sentinel":
        return f"sentinel://{places}/{shard['master']}"
    if shard["kind"] == "cluster":
        return f"cluster of {places}"
    if isinstance(shard["addresses"][0], str):
        return f"unix://{places}?db={shard['db']}"
    return f"redis{'s' if shard['tls'] else ''}://{places}/{shard['db']}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
