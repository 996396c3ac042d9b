"""The settings of one server: what was given, checked, over the defaults of the table in options.py."""

import difflib
import math
import os
import resource
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from . import endpoints
from .errors import ConfigurationError, SettingError
from .kinds import Wrong
from .options import DEFAULT_HOST, DEFAULT_PORT, OPTIONS, Option
from .words import counted

# daphne.server.Server's names for what the table calls otherwise.
DAPHNE_NAMES = {
    "websocket_handshake_timeout": "websocket_connect_timeout",
    "proxy_forwarded_address_header": "proxy_headers_host",
    "proxy_forwarded_port_header": "proxy_headers_port",
    "proxy_forwarded_proto_header": "proxy_headers_proto",
}

SERVER_DESCRIPTORS = 24  # that a server opens before its first client comes
WORKER_DESCRIPTORS = 4  # that a supervisor opens for each worker

# Of the table's settings, those that the native server has, by its name for them.
SECONDS = (
    "tls_handshake_timeout",
    "header_timeout",
    "body_timeout",
    "send_timeout",
    "keep_alive_timeout",
    "http_timeout",
    "websocket_connect_timeout",
    "websocket_timeout",
    "ping_interval",
    "ping_timeout",
    "close_timeout",
    "application_close_timeout",
)
NUMBERS = (
    "max_target_size",
    "max_header_size",
    "max_header_count",
    "max_body_size",
    "websocket_max_message_size",
    "websocket_max_frame_size",
    "websocket_deflate_takeover",
    "websocket_deflate_window_bits",
    "websocket_deflate_memory_level",
    "websocket_deflate_threshold",
    "receive_window",
    "head_window",
    "head_backlog",
    "websocket_write_limit",
    "broadcast_backlog",
    "send_window",
    "unsent_window",
    "unsent_backlog",
    "max_connections",
    "limit_connections_per_address",
    "limit_handshakes",
    "min_rate",
    "http2_max_concurrent_streams",
    "http2_control_rate",
    "backlog",
)


class Settings(SimpleNamespace):
    """Every setting of the table as an attribute, checked; and the headers of a proxy, None where they do not count."""

    proxy_address_header: str | None
    proxy_port_header: str | None
    proxy_proto_header: str | None
    forwarded: dict[str, str | None]

    @property
    def is_supervised(self) -> bool:
        """Whether a supervisor runs the application in processes of their own."""
        return self.workers > 1 or bool(self.reload)

    def endpoint_strings(self) -> list[str]:
        """Where to listen: what is said, and Daphne's address where nothing is, or half of it."""
        host, port = self.host or None, self.port
        if host is None and port is None and not self.unix_socket and self.file_descriptor is None and not self.endpoints:
            host, port = DEFAULT_HOST, DEFAULT_PORT
        elif host is not None and port is None:
            port = DEFAULT_PORT
        elif port is not None and host is None:
            host = DEFAULT_HOST
        secure = bool(self.ssl_certfile)
        return sorted(self.endpoints + endpoints.describe(host, port, self.unix_socket, self.file_descriptor, secure))

    def native(self) -> dict[str, Any]:
        """For `_core.Server`: times in whole milliseconds, of which 0 is never."""
        result: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS}
        for name in SECONDS:
            result[f"{name}_ms"] = math.ceil((getattr(self, name) or 0) * 1000)
        result |= self.forwarded
        result["trusted_proxies"] = ",".join(self.trusted_proxies) or None
        result["proxy_protocol"] = self.proxy_protocol
        result["http2"] = {"off": 0, "on": 1, "only": 2}[self.http2]
        result["websocket_deflate"] = not self.no_websocket_deflate
        result["limit_connections"] = spare_descriptors() if self.limit_connections is None else self.limit_connections
        twice = 2 * self.http2_max_concurrent_streams
        result["http2_max_applications"] = twice if self.http2_max_applications is None else self.http2_max_applications
        result["body_chunk"] = self.request_buffer_size
        result["server_name"] = None if self.no_server_name else self.server_name or None
        return result


def check_descriptors(needed: int = SERVER_DESCRIPTORS) -> None:
    """ConfigurationError where this process may not open as many file descriptors: one line instead of what would fail first."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        taken = len(os.listdir("/proc/self/fd")) - 1  # without that of the listing
    except OSError:
        taken = soft
    if soft != resource.RLIM_INFINITY and soft - taken < needed:
        raise ConfigurationError(
            f"{soft} file descriptors are allowed, and {taken} are open: a server needs {needed} more; "
            "raise LimitNOFILE (ulimit -n), at best above the number of clients"
        )


def spare_descriptors() -> int:
    """How many connections leave this process enough file descriptors for everything else; 0: there is no limit of them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(soft - max(128, soft // 10), soft // 2)


def check(option: Option, value: object, name: str | None = None) -> Any:
    """value as option's kind reads it. SettingError, with the name under which it was given, where it is wrong."""
    try:
        return option.kind.read(value)
    except Wrong as error:
        raise SettingError(name or option.name, str(error)) from None


def from_keywords(given: Mapping[str, Any]) -> Settings:
    """The settings for keyword arguments, those of `daphne.server.Server` included."""
    given = dict(given)
    values = {name: option.default for name, option in OPTIONS.items()}
    values["endpoints"] = []
    headers = {name: given.pop(name, None) for name in DAPHNE_NAMES if name.startswith("proxy_")}
    handshake = given.pop("websocket_handshake_timeout", None)
    for name, value in given.items():
        if name not in OPTIONS:
            raise SettingError(name, _unknown(name))
        values[name] = check(OPTIONS[name], value)
    if handshake is not None:
        handshake = check(OPTIONS["websocket_connect_timeout"], handshake, "websocket_handshake_timeout")
        # Daphne has two clocks for the handshake: the first to run out ends it.
        limits = [handshake, values["websocket_connect_timeout"] if "websocket_connect_timeout" in given else None]
        values["websocket_connect_timeout"] = min((limit for limit in limits if limit is not None), default=None)
    for string in values["endpoints"]:
        endpoints.parse(string)
    _check_tls(values)
    names = _proxy(values, headers)
    return Settings(**values, **names, forwarded=_forwarded(values, names))


def refuse_workers(checked: Settings) -> None:
    """SettingError where checked asks for what a server within this process cannot do."""
    if checked.workers > 1:
        problem = f"{checked.workers} cannot be had from peneus.Server, which serves in this process"
        instead = (
            f'peneus.run("module:application", workers={checked.workers}), or the command peneus --workers {checked.workers}'
        )
        raise SettingError("workers", f"{problem}; write {instead}")
    if checked.reload:
        raise SettingError(
            "reload", 'peneus.Server cannot restart this process; write peneus.run("module:application", reload=True)'
        )


def _check_tls(values: Mapping[str, Any]) -> None:
    """SettingError where the options of TLS do not fit together, or nothing is served with it."""
    certificates, keys = values["ssl_certfile"], values["ssl_keyfile"]
    if keys and not certificates:
        raise SettingError("--ssl-keyfile", "counts only with --ssl-certfile; write both, or neither")
    if keys and len(keys) != len(certificates):
        problem = f"{counted(len(keys), 'key')} for {counted(len(certificates), 'certificate')}"
        raise SettingError("--ssl-keyfile", f"{problem}; write a key for each --ssl-certfile, in the same order")
    parsed = [endpoints.parse(string) for string in values["endpoints"]]
    secure = [each for each in parsed if isinstance(each, endpoints.SSL)]
    wanting = any(each.certificate is None for each in secure)
    simple = not parsed or any(values[name] is not None for name in ("host", "port", "unix_socket", "file_descriptor"))
    if wanting and not certificates:
        problem = "an ssl: endpoint has no privateKey and no certKey, and there is no --ssl-certfile"
        raise SettingError("--endpoint", f"{problem}; write {endpoints.EXAMPLES['ssl']}")
    if certificates and not simple and not wanting:
        problem = "no endpoint is served with this certificate"
        raise SettingError("--ssl-certfile", f"{problem}; write --endpoint ssl:443, or --port instead of --endpoint")
    for name in ("ssl_keyfile_password", "ssl_ca_certs", "ssl_ciphers"):
        if values[name] and not certificates and not secure:
            raise SettingError(OPTIONS[name].flag, "counts only with TLS; write --ssl-certfile too, or leave it out")
    if values["ssl_cert_reqs"] != "none" and not values["ssl_ca_certs"]:
        problem = "clients' certificates are checked, and nobody is named whom they have to be from"
        raise SettingError("--ssl-cert-reqs", f"{problem}; write --ssl-ca-certs too, or --ssl-cert-reqs none")
    if values["ssl_ca_certs"] and values["ssl_cert_reqs"] == "none":
        raise SettingError("--ssl-ca-certs", "counts only with --ssl-cert-reqs; write --ssl-cert-reqs optional, or required")


def _proxy(values: Mapping[str, Any], headers: Mapping[str, Any]) -> dict[str, str | None]:
    """The headers of a proxy: from the command line's names, or from Daphne's keyword arguments, which need no switch."""
    for name, value in headers.items():
        if value is not None and not isinstance(value, str):
            raise SettingError(name, f"{value!r} is not the name of a header; write one, such as 'X-Forwarded-For', or None")
    if not values["proxy_headers"]:
        for name in ("proxy_headers_host", "proxy_headers_port"):
            if values[name]:
                option = OPTIONS[name]
                raise SettingError(option.flag, "counts only with --proxy-headers; write both, or neither")
    on = bool(values["proxy_headers"])
    return {
        "proxy_address_header": headers["proxy_forwarded_address_header"]
        or (values["proxy_headers_host"] or "X-Forwarded-For" if on else None),
        "proxy_port_header": headers["proxy_forwarded_port_header"]
        or (values["proxy_headers_port"] or "X-Forwarded-Port" if on else None),
        "proxy_proto_header": headers["proxy_forwarded_proto_header"] or ("X-Forwarded-Proto" if on else None),
    }


def _forwarded(values: Mapping[str, Any], names: Mapping[str, str | None]) -> dict[str, str | None]:
    """The headers that trusted proxies are believed, as `_core.Server` has them; names are those of --proxy-headers."""
    chosen = set(values["forwarded_headers"])
    standard = "forwarded" in chosen
    if not values["trusted_proxies"]:
        if values["proxy_protocol"]:
            problem = "nobody is trusted to begin connections with a PROXY header"
            raise SettingError("--proxy-protocol", f"{problem}; write --trusted-proxies too, such as 127.0.0.1 or unix")
        if values["forwarded_headers"] != OPTIONS["forwarded_headers"].default:
            raise SettingError("--forwarded-headers", "counts only with --trusted-proxies; write both, or neither")
        chosen = set()
    elif standard and (len(chosen) > 1 or names["proxy_address_header"]):
        problem = "forwarded counts alone: a proxy that writes the one kind of header lets a client's other kind pass"
        raise SettingError("--forwarded-headers", f"{problem}; write either forwarded or x-forwarded-for and its like")
    found: dict[str, str | None] = {
        f"forwarded_{key}": name if name in chosen else None
        for key, name in {
            "standard": "forwarded",
            "address": "x-forwarded-for",
            "port": "x-forwarded-port",
            "proto": "x-forwarded-proto",
            "host": "x-forwarded-host",
        }.items()
    }
    if values["trusted_proxies"] and names["proxy_address_header"]:
        for key in ("address", "port", "proto"):
            name = names[f"proxy_{key}_header"]
            found[f"forwarded_{key}"] = name.lower() if name else None
    return found


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, [*OPTIONS, *DAPHNE_NAMES], 1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "; docs/options.md lists them")
