"""The servers that the corpus is sent to. The peers are in the bench's environment, which `make bench` makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.servers import Server, running
from tests.support.certificates import Certificates

APP = "tests.conformance.smuggling.app:application"
PENEUS = Server("Peneus", "peneus --access-log /dev/null -v 0 --max-body-size 1000000 -p {port} {app}", peer=False)
PEERS = [
    Server("uvicorn (h11)", "uvicorn --http h11 --no-access-log --log-level critical --port {port} {app}"),
    Server("uvicorn (httptools)", "uvicorn --http httptools --no-access-log --log-level critical --port {port} {app}"),
    Server("daphne", "daphne -v 0 -p {port} {app}"),
    Server("hypercorn", "hypercorn --log-level critical -b 127.0.0.1:{port} {app}"),
]


def with_tls(server: Server, made: Certificates) -> Server:
    return replace(server, command=f"{server.command} --ssl-certfile {made.certificate} --ssl-keyfile {made.key}")


@contextmanager
def run(server: Server, app: str) -> Iterator[int]:
    with running(server, app) as (port, _):
        yield port
