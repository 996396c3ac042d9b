"""Servers that start and stop again, one after another, in one process: `python -m tests.leaks.programs.starts WARM_UP TURNS`.

Each has a lifespan, a state, TLS, a channel layer and one request. Prints what the process holds after WARM_UP of them, and after
TURNS more.
"""

import asyncio
import gc
import json
import os
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import peneus
from django.conf import settings

from tests.leaks.programs.holding import held
from tests.support.identities import Authority

settings.configure()


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["layer"] = peneus.ChannelLayer()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    layer = scope["state"]["layer"]
    await layer.group_add("all", await layer.new_channel())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.endswith(b"ok"), answer


def start(endpoints: list[str]) -> None:
    def ready() -> None:
        asyncio.get_running_loop().run_in_executor(None, visit)

    def visit() -> None:
        try:
            ask(server.listening_addresses[-1][1])
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        server.stop()

    server = peneus.Server(application, endpoints, signal_handlers=False, ready_callable=ready, loop="asyncio")
    server.run()


def after(turns: int, endpoints: list[str]) -> str:
    for _ in range(turns):
        start(endpoints)
    gc.unfreeze()
    for _ in range(2):  # what the measuring itself leaves is there from the first time on
        held()
    return json.dumps(held())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        identity = Authority(Path(directory)).issue("localhost")
        secure = f"ssl:0:privateKey={identity.key}:certKey={identity.certificate}:interface=127.0.0.1"
        both = [secure, "tcp:0:interface=127.0.0.1"]
        for turns in sys.argv[1:]:
            print(after(int(turns), both))
