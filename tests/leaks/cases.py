"""The cases: what the clients of each program do before they are gone.

A scenario returns when all its clients have left. What it returns is shown and tested beside what is measured.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.leaks.client import Client, subscribed
from tests.leaks.harness import Running

MESSAGES = 10_000
SHORT_TIMEOUT = ("--application-close-timeout", "1")


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    program: str  # a module of tests.leaks.programs
    scenario: Callable[[Running], dict[str, object]]
    clients: int  # that are gone at the end
    options: tuple[str, ...] = SHORT_TIMEOUT
    longest: float = 60  # seconds until the last application has ended


def toy(server: Running) -> dict[str, object]:
    client = subscribed_to_toy(server.port)
    server.publish(MESSAGES)
    present = server.measure()
    client.close()
    return {"queued while present": present["queued"], "KiB queued while present": present["queued_bytes"] // 1024}


def subscribed_to_toy(port: int) -> Client:
    """The toy subscribes itself; it reads what it is sent, so that the socket is not what is slow."""
    client = Client(port).open()
    client.send(b"hello")
    client.receive()
    return client


def slow(server: Running) -> dict[str, object]:
    clients = [subscribed(server.port, "prices") for _ in range(5)]
    server.publish(MESSAGES)
    present = server.measure()
    for client in clients:
        client.reset()
    return {"queued while present": present["queued"], "KiB queued while present": present["queued_bytes"] // 1024}


def flaky(server: Running) -> dict[str, object]:
    for round in range(20):
        clients = [subscribed(server.port, "prices", f"instrument-{number}") for number in range(15)]
        server.publish(10)
        for number, client in enumerate(clients):
            (client.close, client.drop, client.reset)[(number + round) % 3]()
    return {}


def stuck(server: Running) -> dict[str, object]:
    clients = [subscribed(server.port, "prices") for _ in range(50)]
    for client in clients:
        client.reset()
    server.publish(20)
    return {}


def raising(server: Running) -> dict[str, object]:
    clients = [subscribed(server.port, "prices") for _ in range(50)]
    for client in clients[:25]:
        client.send_json({"raise": True})
    for client in clients[:25]:
        client.wait_closed()
    for client in clients[25:]:
        client.reset()
    return {}


def no_heartbeat(server: Running) -> dict[str, object]:
    clients = [subscribed(server.port, "prices") for _ in range(20)]
    for client in clients:
        client.wait_closed()
    return {"closed with": sorted({client.code for client in clients}, key=str)}


def no_pong(server: Running) -> dict[str, object]:
    """Clients that neither read nor answer, as behind a line that is cut; the server's pings go unanswered."""
    clients = [subscribed(server.port, "prices") for _ in range(20)]
    server.publish(20)
    server.wait_ended(30)
    for client in clients:
        client.reset()
    return {}


def race(server: Running) -> dict[str, object]:
    clients = [Client(server.port).open() for _ in range(30)]
    for client in clients:
        client.ask({"ready": True})
    for client in clients:
        for number in range(40):
            client.send_json({"subscribe" if number % 2 == 0 else "unsubscribe": ["prices", f"instrument-{number // 2}"]})
        client.send_json({"subscribe": ["prices"]})
        client.reset()
    time.sleep(1)
    server.wait_until(
        lambda: server.counts().get("steps started", 0) == server.counts().get("steps ended", 0), "every step has ended"
    )
    return {"steps refused": server.counts().get("steps refused", 0)}


def incident(server: Running) -> dict[str, object]:
    clients = [subscribed(server.port, "prices") for _ in range(50)]
    for client in clients:
        client.reset()
    server.publish(20)
    return {}


def remedy(server: Running) -> dict[str, object]:
    """They leave one after another while messages flow: one may come between a disconnect and the leaving of the groups."""
    clients = [subscribed(server.port, "prices") for _ in range(50)]
    flow = threading.Thread(target=server.publish, args=(60,), kwargs={"pause": 0.02})
    flow.start()
    time.sleep(0.1)
    for client in clients:
        time.sleep(0.01)
        client.reset()
    flow.join()
    return {}


def coming_and_going(server: Running) -> dict[str, object]:
    """Clients drop while messages flow, so that some consumer sends to a client that is gone."""
    flow = threading.Thread(target=server.publish, args=(2000,), kwargs={"pause": 0.003})
    flow.start()
    for _ in range(25):
        for client in [subscribed(server.port, "prices") for _ in range(20)]:
            client.reset()
    flow.join()
    server.wait_ended()
    counts = server.counts()
    return {"cleaned up": f"{counts.get('cleaned up', 0)} of {counts['started']}"}


def longest_silence(client: Client, stop: threading.Event, found: list[float]) -> None:
    """Appends the longest time that an echo took, in seconds."""
    longest = 0.0
    while not stop.is_set():
        began = time.monotonic()
        client.ask({"at": began})
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.01)
    found.append(longest)


def synchronous(server: Running) -> dict[str, object]:
    leaving = [subscribed(server.port, "prices") for _ in range(10)]
    stop = threading.Event()
    silences: dict[str, list[float]] = {"/plain": [], "/consumer": []}
    watchers = []
    for path, found in silences.items():
        client = Client(server.port, path).open()
        watchers.append((client, threading.Thread(target=longest_silence, args=(client, stop, found))))
        watchers[-1][1].start()
    for client in leaving:
        client.reset()
    server.wait_until(lambda: server.running() == len(watchers), "the ten have ended")
    time.sleep(0.5)
    stop.set()
    for client, watcher in watchers:
        watcher.join()
        client.close()
    return {
        "steps": f"{server.counts().get('steps', 0)} of 10",
        "longest silence, s": {path: round(found[0], 2) for path, found in silences.items()},
    }


def pool(server: Running) -> dict[str, object]:
    clients = [subscribed(server.port, "prices") for _ in range(50)]
    for client in clients:
        client.reset()
    server.publish(20)
    time.sleep(0.5)
    cleaning = server.measure()
    server.publish(MESSAGES)
    flooded = server.measure()
    server.wait_ended()
    return {
        "steps": f"{server.counts().get('steps', 0)} of 50",
        "held while cleaning": {key: flooded[key] for key in ("memberships", "channels", "queued", "queued_bytes")},
        "MiB grown while cleaning": round((flooded["rss_kib"] - cleaning["rss_kib"]) / 1024, 2),
    }


CASES = [
    Case("toy", "the toy: two channels, one abandoned", "toy", toy, 1),
    Case("slow", "slow consumers", "slow", slow, 5),
    Case("flaky", "flaky consumers that reconnect", "proxy", flaky, 300),
    Case("stuck", "unclean shutdown by timeout", "stuck", stuck, 50),
    Case("raising", "unclean shutdown by exception", "raising", raising, 50),
    Case("no-heartbeat", "no application heartbeat", "heartbeat", no_heartbeat, 20),
    Case("no-pong", "no answer to pings", "proxy", no_pong, 20, SHORT_TIMEOUT + ("--ping-interval", "1", "--ping-timeout", "2")),
    Case("race", "rapid subscribe and unsubscribe", "race", race, 30),
    Case("incident", "the incident: a slow signal receiver", "incident", incident, 50),
    Case("remedy", "the article's remedy: leave first", "remedy", remedy, 50),
    Case("coming-and-going", "coming and going, sends to the gone", "proxy", coming_and_going, 500),
    Case(
        "synchronous",
        "ten synchronous steps of 1 s",
        "synchronous",
        synchronous,
        12,
        ("--application-close-timeout", "2"),
    ),
    Case("pool", "50 steps of 1 s in a thread pool", "pool", pool, 50),
]
# A consumer that is still cleaning up holds nothing under Peneus, so it may be let finish: see test_close_timeout.py.
NEVER_KILLED = ("--application-close-timeout", "-1")


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
