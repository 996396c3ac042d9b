"""A thread with a socket and an event loop of its own, which answers while the application's event loop is blocked.

A request is one line of JSON, a list: what to do, and its arguments. So is the answer.
"""

import asyncio
import json
import os
import socketserver
import threading

from channels.layers import get_channel_layer

from tests.leaks.programs.measuring import measure

# What the programs note, in order, also in the server's log. list.append is atomic, so any thread may.
journal: list[list[object]] = []


def note(*entry: object) -> None:
    journal.append(list(entry))
    print("noted", *entry, flush=True)


def perform(what: str, arguments: list) -> object:
    if what == "measure":
        return measure()
    if what == "stats":
        import peneus

        return dict(peneus.stats())
    if what == "journal":
        return journal
    # An event loop for every call: a channel layer takes calls from any.
    layer = get_channel_layer()
    steps = {"group_send": layer.group_send, "group_add": layer.group_add, "send": layer.send}
    return asyncio.run(steps[what](*arguments))


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            what, *arguments = json.loads(line)
            try:
                answer = {"result": perform(what, arguments)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def start() -> None:
    """Listens on port LEAKS_OBSERVER of the loopback."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    server = socketserver.ThreadingTCPServer(("127.0.0.1", int(os.environ["LEAKS_OBSERVER"])), Handler)
    threading.Thread(target=server.serve_forever, name="observer", daemon=True).start()
