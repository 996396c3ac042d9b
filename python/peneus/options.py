"""Every setting, once: from this table come the command line, its --help, the PENEUS_… variables, the keyword arguments of
`peneus.Server` and docs/options.md (`python -m peneus.options`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import kinds
from .kinds import Kind

KIB = 1024
MIB = 1024 * KIB
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
LOG_FORMAT = "%(asctime)-15s %(levelname)-8s %(message)s"


@dataclass(frozen=True)
class Option:
    """One setting. Its first long flag gives the name of its environment variable."""

    name: str
    flags: tuple[str, ...]
    kind: Kind
    default: Any
    help: str
    shown: str = ""  # the default as people read it, where the value itself does not say it

    @property
    def flag(self) -> str:
        return next(flag for flag in self.flags if flag.startswith("--"))

    @property
    def variable(self) -> str:
        return "PENEUS_" + self.flag.removeprefix("--").replace("-", "_").upper()

    @property
    def default_text(self) -> str:
        return self.shown or ("off" if self.default is False else str(self.default))


SECTIONS: dict[str, tuple[Option, ...]] = {
    "Where to listen": (
        Option("port", ("-p", "--port"), kinds.port(), None, "TCP port; 0 takes a free one.", "8000"),
        Option("host", ("-b", "--bind"), kinds.host(), None, "Address or host name, IPv4 or IPv6.", "127.0.0.1"),
        Option(
            "unix_socket",
            ("-u", "--unix-socket"),
            kinds.text("PATH"),
            None,
            "Unix socket; a stale one is replaced, and it is open to every user, as Daphne's is (for another mode: --endpoint).",
            "none",
        ),
        Option(
            "file_descriptor",
            ("--fd",),
            kinds.whole(0, 2**20, "NUMBER", 3),
            None,
            "File descriptor of a socket that is bound already, such as one from a supervisor.",
            "none",
        ),
        Option(
            "endpoints",
            ("-e", "--endpoint"),
            kinds.texts("ENDPOINT"),
            [],
            r"tcp:port=8000:interface=127.0.0.1, unix:/path:mode=660, fd:fileno=3 or ssl:443:privateKey=key.pem:certKey=cert.pem;"
            r" a colon inside a value is written \:. "
            "May be given several times.",
            "none",
        ),
        Option("backlog", ("--backlog",), kinds.size(False, "NUMBER", 65535), 2048, "Connections that the kernel keeps waiting."),
    ),
    "TLS": (
        Option(
            "ssl_certfile",
            ("--ssl-certfile",),
            kinds.files(),
            [],
            "Certificate and its chain, PEM: the address is served as https and wss. Several times, each with its key: the "
            "one that is for the name which a client asks for is shown, else the first.",
            "no TLS",
        ),
        Option(
            "ssl_keyfile",
            ("--ssl-keyfile",),
            kinds.files(),
            [],
            "Private key, PEM, of the certificate at the same place.",
            "in the certificate's file",
        ),
        Option(
            "ssl_keyfile_password",
            ("--ssl-keyfile-password",),
            kinds.text("PASSWORD"),
            None,
            "Of encrypted keys. The variable is the better place, as other users can see a command line.",
            "none",
        ),
        Option(
            "ssl_ca_certs",
            ("--ssl-ca-certs",),
            kinds.text("FILE"),
            None,
            "Whose certificates clients have to show, PEM; a directory is one of c_rehash.",
            "none",
        ),
        Option(
            "ssl_cert_reqs",
            ("--ssl-cert-reqs",),
            kinds.choice("none", "optional", "required"),
            "none",
            "Whether clients show certificates; a bad one is refused with optional too.",
        ),
        Option(
            "ssl_ciphers",
            ("--ssl-ciphers",),
            kinds.text("LIST"),
            None,
            "OpenSSL's list of ciphers; names that begin with TLS_ are for TLS 1.3.",
            "OpenSSL's",
        ),
        Option(
            "ssl_min_version",
            ("--ssl-min-version",),
            kinds.choice("1.0", "1.1", "1.2", "1.3"),
            "1.2",
            "The oldest version of TLS that is spoken; 1.0 and 1.1 need @SECLEVEL=0 in --ssl-ciphers too.",
        ),
        Option(
            "tls_handshake_timeout",
            ("--ssl-handshake-timeout",),
            kinds.seconds(),
            10,
            "How long a client may take for TLS's handshake; afterwards it is closed. -1 is for ever.",
        ),
    ),
    "HTTP": (
        Option(
            "http_timeout",
            ("-t", "--http-timeout"),
            kinds.seconds(),
            None,
            "From a request to the end of its response; afterwards 503, or the response is cut off. -1 is never.",
            "never",
        ),
        Option(
            "header_timeout",
            ("--header-timeout",),
            kinds.seconds(),
            10,
            "From the first byte of a request to the end of its headers; afterwards 408. -1 is never.",
        ),
        Option(
            "body_timeout",
            ("--body-timeout",),
            kinds.seconds(),
            30,
            "In each such time --min-rate bytes a second must come of a request's body, or of a WebSocket message that has "
            "begun, as far as it is read; otherwise 408, or the close code 1008. -1 is never.",
        ),
        Option(
            "keep_alive_timeout",
            ("--keep-alive-timeout",),
            kinds.seconds(),
            75,
            "How long a connection may be idle between requests, and before its first. -1 is for ever.",
        ),
        Option(
            "max_target_size", ("--max-target-size",), kinds.size(True), 16 * KIB, "Of path and query; over: 414. 0: no limit."
        ),
        Option("max_header_size", ("--max-header-size",), kinds.size(True), 64 * KIB, "Of all headers; over: 431. 0: no limit."),
        Option(
            "max_header_count",
            ("--max-header-count",),
            kinds.size(True, "NUMBER", 10**6),
            128,
            "Number of headers; over: 431. 0 is no limit.",
        ),
        Option("max_body_size", ("--max-body-size",), kinds.size(True), 0, "Of a request body; over: 413. 0 is no limit."),
        Option(
            "request_buffer_size",
            ("--request-buffer-size",),
            kinds.size(False, most=2**30),
            64 * KIB,
            "The most of a request body that one http.request event brings.",
        ),
        Option(
            "server_name",
            ("-s", "--server-name"),
            kinds.field_value("NAME"),
            "peneus",
            "The Server header of responses.",
        ),
        Option("no_server_name", ("--no-server-name",), kinds.switch(), False, "Send no Server header."),
    ),
    "WebSockets": (
        Option(
            "websocket_timeout",
            ("--websocket_timeout", "--websocket-timeout"),
            kinds.seconds(),
            86400,
            "How long a WebSocket may live; afterwards it is closed with 1000. -1 is for ever.",
        ),
        Option(
            "websocket_connect_timeout",
            ("--websocket_connect_timeout", "--websocket-connect-timeout"),
            kinds.seconds(),
            5,
            "How long the application may take to accept or reject a WebSocket; afterwards 503. -1 is for ever.",
        ),
        Option(
            "ping_interval",
            ("--ping-interval",),
            kinds.seconds(zero=True),
            20,
            "Silence from a client after which it is pinged. 0 is never.",
        ),
        Option(
            "ping_timeout",
            ("--ping-timeout",),
            kinds.seconds(zero=True),
            30,
            "How long a pinged client may stay silent before its connection is closed. 0 is for ever.",
        ),
        Option(
            "websocket_max_message_size",
            ("--websocket-max-message-size",),
            kinds.size(True),
            MIB,
            "Of a message from a client; over: closed with 1009. 0 is no limit, with which any client can fill the memory.",
        ),
        Option(
            "websocket_max_frame_size",
            ("--websocket-max-frame-size",),
            kinds.size(True),
            MIB,
            "Of one frame from a client; over: closed with 1009. 0 is no limit.",
        ),
        Option("no_websocket_deflate", ("--no-websocket-deflate",), kinds.switch(), False, "Do not agree to permessage-deflate."),
        Option(
            "websocket_deflate_takeover",
            ("--websocket-deflate-takeover",),
            kinds.switch(),
            False,
            "Compress each message with what came before it in mind: smaller messages, and memory for each connection "
            "(docs/compression.md).",
        ),
        Option(
            "websocket_deflate_window_bits",
            ("--websocket-deflate-window-bits",),
            kinds.whole(9, 15, "BITS", 12),
            12,
            "Compress within a window of 2 to the power of BITS bytes, and ask clients to do so.",
        ),
        Option(
            "websocket_deflate_memory_level",
            ("--websocket-deflate-memory-level",),
            kinds.whole(1, 9, "LEVEL", 5),
            5,
            "zlib's memory level: 2 to the power of LEVEL + 9 bytes beside the window of each compressor.",
        ),
        Option(
            "websocket_deflate_threshold",
            ("--websocket-deflate-threshold",),
            kinds.size(True, most=2**40, zero="all messages"),
            256,
            "Messages shorter than this are not compressed; neither are those that would not become shorter.",
        ),
        Option(
            "websocket_write_limit",
            ("--websocket-write-limit",),
            kinds.size(True, most=2**40),
            256 * KIB,
            "Of relayed group messages that wait for one slow client; over: the group's overflow policy. 0 is no limit.",
        ),
        Option(
            "broadcast_backlog",
            ("--broadcast-backlog",),
            kinds.size(False, most=2**40),
            16 * MIB,
            "Of relayed group messages that wait for the I/O thread; further ones are dropped, and counted.",
        ),
    ),
    "Connections and applications": (
        Option(
            "application_close_timeout",
            ("--application-close-timeout",),
            kinds.seconds(),
            10,
            "How long an application may run after its client has left; afterwards it is cancelled, and where it was stuck is "
            "logged. -1 is for ever; it costs no memory in the channel layer.",
        ),
        Option(
            "graceful_timeout",
            ("--graceful-timeout",),
            kinds.patience(),
            20,
            "How long applications may go on after SIGTERM or SIGINT before they are cancelled.",
        ),
        Option(
            "close_timeout",
            ("--close-timeout",),
            kinds.seconds(never=False),
            5,
            "How long a client may take to answer a close before its socket is closed.",
        ),
        Option(
            "http2",
            ("--http2",),
            kinds.choice("on", "off", "only"),
            "on",
            "HTTP/2 where TLS agrees on it (ALPN) or the client begins with its preface (prior knowledge); or nothing else, for "
            "a port behind a proxy that speaks it.",
        ),
        Option(
            "http2_max_concurrent_streams",
            ("--http2-max-concurrent-streams",),
            kinds.whole(1, 2**31 - 1, "NUMBER", 100),
            100,
            "Requests and WebSockets of one HTTP/2 connection at once; further ones are refused (REFUSED_STREAM).",
        ),
        Option(
            "http2_max_applications",
            ("--http2-max-applications",),
            kinds.limit("NUMBER", 2**31),
            None,
            "Applications that run for one HTTP/2 connection at once, also those whose request has ended (a client that left, a "
            "complete response). Further requests are refused (REFUSED_STREAM). 0 is no limit.",
            "twice --http2-max-concurrent-streams",
        ),
        Option(
            "http2_control_rate",
            ("--http2-control-rate",),
            kinds.size(True, "NUMBER", 2**31),
            100,
            "Maximum rate of HTTP/2 control frames (PING, SETTINGS, RST_STREAM, PRIORITY, CONTINUATION, empty DATA), in frames "
            "per second. Each stream that is refused, or reset for a fault of the client, counts as one more. Bursts of up to "
            "ten seconds' worth are allowed; above that the connection is closed with ENHANCE_YOUR_CALM. 0 is no limit.",
        ),
        Option(
            "max_connections",
            ("--max-connections",),
            kinds.size(True, "NUMBER", 2**31),
            0,
            "Connections at once; further ones wait in the kernel. 0 is no limit.",
        ),
        Option(
            "limit_connections",
            ("--limit-connections",),
            kinds.limit("NUMBER", 2**31),
            None,
            "Connections at once; further ones get 503 and Retry-After, or are reset where TLS is spoken. 0 is no limit.",
            "the file descriptors less a tenth, at least 128",
        ),
        Option(
            "limit_connections_per_address",
            ("--limit-connections-per-address",),
            kinds.size(True, "NUMBER", 2**31),
            0,
            "The same for each address of a client; an IPv6 network of 64 bits counts as one. 0 is no limit.",
        ),
        Option(
            "limit_handshakes",
            ("--limit-handshakes",),
            kinds.size(True, "NUMBER", 2**31),
            512,
            "Connections whose TLS handshake or PROXY header is to come; then the oldest is reset, or who comes waits in the "
            "kernel while that one is younger than a second. 0 is no limit.",
        ),
        Option(
            "send_timeout",
            ("--send-timeout",),
            kinds.seconds(),
            60,
            "In each such time --min-rate bytes a second must reach a client that something waits for; otherwise its connection "
            "is reset. -1 is never.",
        ),
        Option(
            "min_rate",
            ("--min-rate",),
            kinds.size(True, "BYTES", 2**31, zero="one byte in each of these times"),
            240,
            "Bytes a second of --body-timeout and --send-timeout; 0: one byte in each such time.",
        ),
        Option(
            "receive_window",
            ("--receive-window",),
            kinds.size(False, most=2**31),
            64 * KIB,
            "What one client may send ahead of its application; above it the socket is not read. With TLS 64 KiB more are read, "
            "to notice a client that ends TLS.",
        ),
        Option(
            "head_window",
            ("--head-window",),
            kinds.size(False),
            MIB,
            "Request headers of one HTTP/2 connection that wait for the event loop; above it further requests are refused "
            "(REFUSED_STREAM).",
        ),
        Option(
            "head_backlog",
            ("--head-backlog",),
            kinds.size(False),
            64 * MIB,
            "Request headers of all connections that wait for the event loop; above it further requests over HTTP/2 are refused "
            "(REFUSED_STREAM), and those over HTTP/1.1 are read later.",
        ),
        Option(
            "send_window",
            ("--send-window",),
            kinds.size(False, most=2**31),
            64 * KIB,
            "What an application may send ahead of its client; above it `await send()` waits.",
        ),
        Option(
            "unsent_window",
            ("--unsent-window",),
            kinds.size(True),
            32 * MIB,
            "Bytes of responses and messages that may wait for one HTTP/2 client. Above it the streams are reset of which the "
            "client has taken nothing for the longest time (ENHANCE_YOUR_CALM). One response alone may be larger. 0 is no limit.",
        ),
        Option(
            "unsent_backlog",
            ("--unsent-backlog",),
            kinds.size(True),
            256 * MIB,
            "The same of all clients together: above it connections are reset too. Files (--pathsend) and relayed messages do "
            "not count. 0 is no limit.",
        ),
        Option("root_path", ("--root-path",), kinds.url_path(), "", "The scope's root_path.", "empty"),
        Option(
            "loop",
            ("--loop",),
            kinds.choice("auto", "asyncio", "uvloop"),
            "auto",
            "The event loop; auto is uvloop where it is installed.",
        ),
        Option(
            "pathsend",
            ("--pathsend",),
            kinds.switch(),
            False,
            "Offer applications the ASGI extensions that send files without Python (http.response.pathsend and "
            "http.response.zerocopysend). Only for applications whose middleware passes these events on: brotli-asgi, for "
            "example, swallows them, and each file is answered with 500.",
        ),
    ),
    "Channels consumers": (
        Option(
            "thread_per_connection",
            ("--thread-per-connection",),
            kinds.switch(),
            False,
            "The synchronous code of each connection runs in a thread of its own, so that one that blocks stalls nobody else; "
            "otherwise, as under Daphne, in one thread for all.",
        ),
        Option(
            "no_consumer_inbox",
            ("--no-consumer-inbox",),
            kinds.switch(),
            False,
            "Consumers wait as Channels has it, with two tasks and a wait for each message, instead of on one native inbox.",
        ),
        Option(
            "no_database_shortcut",
            ("--no-database-shortcut",),
            kinds.switch(),
            False,
            "Before each message of an asynchronous consumer Channels looks for old database connections in the thread of "
            "synchronous code, even where none is open.",
        ),
    ),
    "Workers": (
        Option(
            "workers",
            ("--workers",),
            kinds.size(False, "NUMBER", 128),
            1,
            "Processes that serve. From 2 on a supervisor starts them, watches them, and starts others for those that end.",
        ),
        Option(
            "worker_timeout",
            ("--worker-timeout",),
            kinds.seconds(zero=True),
            10,
            "How long an event loop may stand still before the log says so, with the Python stack that blocks it (with several "
            "workers, those of all its threads). 0 is never.",
        ),
        Option(
            "reload",
            ("--reload",),
            kinds.switch(),
            False,
            "For development: restart when a Python file below the working directory changes; needs watchfiles.",
        ),
        Option(
            "metrics",
            ("--metrics",),
            kinds.address(),
            None,
            "Where to serve /metrics in Prometheus' text format, for all workers together.",
            "nowhere",
        ),
    ),
    "Behind a proxy": (
        Option(
            "proxy_headers",
            ("--proxy-headers",),
            kinds.switch(),
            False,
            "Take the client's address and scheme from X-Forwarded-For, -Port and -Proto. Without --trusted-proxies only for "
            "servers that none but the proxy can reach.",
        ),
        Option(
            "proxy_headers_host",
            ("--proxy-headers-host",),
            kinds.text("HEADER"),
            None,
            "The header with the client's address, such as X-Real-IP; needs --proxy-headers.",
            "X-Forwarded-For",
        ),
        Option(
            "proxy_headers_port",
            ("--proxy-headers-port",),
            kinds.text("HEADER"),
            None,
            "The header with the client's port; needs --proxy-headers.",
            "X-Forwarded-Port",
        ),
        Option(
            "trusted_proxies",
            ("--trusted-proxies",),
            kinds.peers(),
            [],
            "Whose headers count: addresses, networks, unix, or * for everybody. Of several addresses in a header the first one "
            "from the right counts that is not in this list. With --proxy-headers, its headers are read so too.",
            "nobody",
        ),
        Option(
            "forwarded_headers",
            ("--forwarded-headers",),
            kinds.subset("x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-host", "forwarded"),
            ["x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"],
            "Which headers of --trusted-proxies count; the proxy must set or remove each of them. forwarded (RFC 7239) "
            "counts alone; none is possible.",
            "for, port and proto",
        ),
        Option(
            "proxy_protocol",
            ("--proxy-protocol",),
            kinds.switch(),
            False,
            "Every connection begins with a header of the PROXY protocol, version 1 or 2, from one of --trusted-proxies; "
            "others are closed.",
        ),
    ),
    "Logging": (
        Option(
            "verbosity",
            ("-v", "--verbosity"),
            kinds.whole(0, 3, "0..3", 1),
            1,
            "0: warnings; 1: also information; 2: also debugging; 3: asyncio's debug mode too.",
        ),
        Option(
            "access_log",
            ("--access-log",),
            kinds.text("FILE"),
            None,
            "Where the access log is appended; - is standard output.",
            "- from verbosity 1 on",
        ),
        Option("log_fmt", ("--log-fmt",), kinds.log_line(), LOG_FORMAT, "Format of a log line, as of Python's logging."),
        Option(
            "log_format",
            ("--log-format",),
            kinds.choice("text", "json"),
            "text",
            "json writes the log and the access log as one JSON object a line.",
        ),
    ),
}


def all_options() -> Iterator[Option]:
    for options in SECTIONS.values():
        yield from options


OPTIONS: dict[str, Option] = {option.name: option for option in all_options()}


def markdown() -> str:
    """docs/options.md."""
    lines = [
        "# Options",
        "",
        "`peneus module:application [options]`. Made from the table in `python/peneus/options.py` by",
        "`python -m peneus.options`.",
        "",
        "Each option can also be given as the environment variable of its row (an empty one counts as not set; flags that take",
        "no value want 1 or 0; PENEUS_ENDPOINT may hold several, separated by spaces), and PENEUS_APPLICATION names the",
        "application. What is on the command line wins. `peneus.Server` and `peneus.run` take the names of the last column.",
        "",
        "`--version` prints the version, `--help` this list.",
    ]
    for title, options in SECTIONS.items():
        lines += ["", f"## {title}", "", "| Option | Default | Meaning | Variable | Keyword |", "|---|---|---|---|---|"]
        for option in options:
            flags = ", ".join(f"`{flag}`" for flag in option.flags)
            if option.kind.metavar:
                flags += " " + option.kind.metavar.replace("|", "\\|")
            meaning = option.help.replace("|", "\\|")
            lines.append(f"| {flags} | {option.default_text} | {meaning} | `{option.variable}` | `{option.name}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
