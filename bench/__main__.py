"""python -m bench: Peneus beside its peers, side by side in one run.

Rounds alternate between the servers, so that a machine whose speed drifts does so for all of them; medians are reported,
and their ratio to one of the peers. Servers run on one core, the client on the other. Loopback only.

Each work's table is kept in build/bench; the page has those of all works that were ever measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench import work
from bench.servers import (
    ALL,
    BARE,
    DAPHNE,
    GRANIAN,
    H2CORN,
    HYPERCORN,
    PEERS,
    PENEUS,
    PENEUS_2,
    ROOT,
    UVICORN,
    UVICORN_2,
    Server,
    running,
)
from tests.support.redis import redis_server

KEPT = ROOT / "build/bench"
INTRODUCTION = """# Benchmarks

Written by `make bench ARGS="--output docs/benchmarks.md"`; a single work (`ARGS="fanout --output …"`) renews its own table.

The server has one core and the load client, in C, the other, unless a table says otherwise; all of it on loopback, each
server with uvloop where it can. Rounds alternate between the servers; the figures are medians of the rounds. In a fan-out one
more client publishes through a consumer, two messages on the way at most: the next goes out when every subscriber has one
more, so that throughput is delivered messages. Latency is from the publisher's sending to each subscriber's receipt; with two
messages always on the way it is mostly what a whole round to all subscribers takes. The server's processor time for each
delivery, user and kernel, says the same where the machine is shared with others. The bare C loop (bench/bare_fanout.c) writes
the same frames to the same sockets, one system call each, and does nothing else; Peneus joins messages that wait for the same
socket, so that with two on the way it can be faster. "relay" is a group message of type `websocket.send`, "consumers" are
ordinary Channels consumers whose handler sends.
"""

PLAIN = "bench.applications.plain:application"
CONSUMERS = "bench.applications.consumers:application"


@dataclass(frozen=True)
class Contender:
    server: Server
    layer: str = ""
    path: str = ""  # of a fan-out
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or (f"{self.server.name} + {self.layer}" if self.layer else self.server.name)


@dataclass(frozen=True)
class Work:
    title: str
    unit: str
    app: str
    contenders: list[Contender]
    measure: Callable[[Contender, int, int, float], list[float]]  # port, pid, seconds
    reference: str
    columns: tuple[str, ...] = ()  # of what measure gives behind the first figure


EVERYONE = [Contender(server) for server in ALL]
CHANNELS = [Contender(PENEUS, "peneus"), *(Contender(s, "memory") for s in (UVICORN, DAPHNE, HYPERCORN, GRANIAN))]
PEER_LAYERS = [
    *(Contender(server, layer, "/fanout") for server in (DAPHNE, UVICORN) for layer in ("memory", "core", "pubsub")),
    Contender(GRANIAN, "pubsub", "/fanout"),
]
FANOUT = [
    Contender(BARE, path="/"),
    Contender(PENEUS, "peneus", "/relay", "peneus, relay"),
    Contender(PENEUS, "peneus-redis", "/relay", "peneus, relay over Redis"),
    Contender(PENEUS, "peneus", "/fanout", "peneus, consumers"),
    Contender(PENEUS, "peneus-redis", "/fanout", "peneus, consumers over Redis"),
    *PEER_LAYERS,
]
BROAD = [  # 10,000 sockets: those that need not be waited for
    Contender(BARE, path="/"),
    Contender(PENEUS, "peneus", "/relay", "peneus, relay"),
    Contender(PENEUS, "peneus", "/fanout", "peneus, consumers"),
    Contender(DAPHNE, "core", "/fanout"),
    Contender(DAPHNE, "pubsub", "/fanout"),
    Contender(UVICORN, "core", "/fanout"),
    Contender(UVICORN, "pubsub", "/fanout"),
]
TWO_WORKERS = [
    Contender(BARE, path="/"),
    Contender(PENEUS_2, "peneus", "/relay", "peneus, 2 workers, relay"),
    Contender(PENEUS_2, "peneus", "/fanout", "peneus, 2 workers, consumers"),
    Contender(UVICORN_2, "core", "/fanout"),
    Contender(UVICORN_2, "pubsub", "/fanout"),
]


STEADY = [
    Contender(BARE, path="/"),
    Contender(PENEUS, "peneus", "/relay", "peneus, relay"),
    Contender(PENEUS, "peneus-redis", "/relay", "peneus, relay over Redis"),
    Contender(PENEUS, "peneus", "/fanout", "peneus, consumers"),
    *PEER_LAYERS,
]
LATENCIES = ("p50, ms", "p99, ms", "p99.9, ms")
FANOUT_COLUMNS = (*LATENCIES, "server's CPU, µs for each")


def fanout(sockets: int) -> Callable[[Contender, int, int, float], list[float]]:
    """To so many subscribers; one more connection publishes."""
    return lambda contender, port, pid, seconds: work.ws_fanout(port, pid, contender.path, sockets, seconds)


def steady(sockets: int, rate: int) -> Callable[[Contender, int, int, float], list[float]]:
    """rate messages a second to so many subscribers, whether they are kept up with or not."""
    return lambda contender, port, _, seconds: work.ws_steady(port, contender.path, sockets, rate, 256, seconds)


WORKS = {
    "http": Work(
        "HTTP hello, 64 connections", "requests/s", PLAIN, EVERYONE, lambda _, p, __, s: work.http_hello(p, s), "uvicorn"
    ),
    "echo1": Work(
        "WebSocket echo 64 B, 64 connections, depth 1",
        "messages/s",
        PLAIN,
        EVERYONE,
        lambda _, p, __, s: work.ws_echo(p, 1, s),
        "uvicorn",
    ),
    "echo16": Work(
        "WebSocket echo 64 B, 64 connections, depth 16",
        "messages/s",
        PLAIN,
        EVERYONE,
        lambda _, p, __, s: work.ws_echo(p, 16, s),
        "uvicorn",
    ),
    "consumer": Work(
        "The same through a Channels consumer, depth 1",
        "messages/s",
        CONSUMERS,
        CHANNELS,
        lambda _, p, __, s: work.ws_echo(p, 1, s, "/echo"),
        "uvicorn + memory",
    ),
    "fanout": Work(
        "Fan-out of 256 bytes to 1,000 sockets",
        "deliveries/s",
        CONSUMERS,
        FANOUT,
        fanout(1000),
        "daphne + pubsub",
        FANOUT_COLUMNS,
    ),
    "steady": Work(
        "200 messages of 256 bytes a second to 500 sockets: 100,000 deliveries/s are wanted",
        "deliveries/s",
        CONSUMERS,
        STEADY,
        steady(500, 200),
        "daphne + pubsub",
        (*LATENCIES, "arrived, %"),
    ),
    "fanout10k": Work(
        "Fan-out of 256 bytes to 10,000 sockets",
        "deliveries/s",
        CONSUMERS,
        BROAD,
        fanout(10000),
        "daphne + pubsub",
        FANOUT_COLUMNS,
    ),
    "fanout2": Work(
        "Fan-out of 256 bytes to 1,000 sockets, two workers on both cores, which the client shares",
        "deliveries/s",
        CONSUMERS,
        TWO_WORKERS,
        fanout(1000),
        "uvicorn, 2 workers + pubsub",
        FANOUT_COLUMNS,
    ),
    "idle": Work(
        "An idle WebSocket, plain ASGI",
        "KiB (PSS)",
        PLAIN,
        [Contender(s) for s in (PENEUS, UVICORN, DAPHNE, HYPERCORN, H2CORN)],
        lambda _, p, pid, __: work.idle_kib(p, pid, "/"),
        "uvicorn",
    ),
}


def install_peers() -> None:
    stamp = PEERS.parent / ".installed"
    wanted = (ROOT / "bench/requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("==> installing the peers into .cache/bench-venv", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(PEERS.parent)], check=True)
    subprocess.run([str(PEERS / "pip"), "install", "--quiet", "-r", "bench/requirements.txt"], check=True, cwd=ROOT)
    stamp.write_text(wanted)


def run_work(this: Work, rounds: int, seconds: float, redis: str) -> tuple[dict[str, list[list[float]]], dict[str, str]]:
    """The figures of each contender, one list a round; and why others have none in a round."""
    figures: dict[str, list[list[float]]] = {}
    failures: dict[str, str] = {}
    for number in range(rounds):
        for contender in this.contenders:
            environment = {"BENCH_LAYER": contender.layer or "peneus", "BENCH_REDIS": redis}
            try:
                with running(contender.server, this.app, environment) as (port, pid):
                    figure = this.measure(contender, port, pid, seconds)
                if figure[0] == 0:
                    raise RuntimeError(f"nothing arrived within {seconds:g} s")
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                print(f"    {contender.name}: {error}", flush=True)
                failures[contender.name] = str(error)
                continue
            figures.setdefault(contender.name, []).append(figure)
            print(f"    round {number + 1}, {contender.name}: {' '.join(f'{value:,.1f}' for value in figure)}", flush=True)
    return figures, failures


def table(this: Work, figures: dict[str, list[list[float]]], failures: dict[str, str]) -> str:
    medians = {name: [statistics.median(column) for column in zip(*rounds, strict=True)] for name, rounds in figures.items()}
    reference = medians.get(this.reference, [0.0])[0]
    head = ["", f"{this.unit}, median", "min – max", f"beside {this.reference}", *this.columns]
    rows = [head, ["---"] * len(head)]
    for name, (median, *more) in medians.items():
        first = [figure[0] for figure in figures[name]]
        ratio = f"{median / reference:.2f}" if reference else "–"
        rows.append(
            [name, f"{median:,.1f}", f"{min(first):,.1f} – {max(first):,.1f}", ratio, *(f"{value:,.1f}" for value in more)]
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += [f"\n{name} failed {'in a round' if name in figures else 'always'}: {why}." for name, why in failures.items()]
    return "\n".join(lines) + "\n"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}"


def versions() -> str:
    peers = [line for line in (ROOT / "bench/requirements.txt").read_text().split() if "==" in line]
    return ", ".join([f"peneus {version('peneus')}", *(peer.replace("==", " ") for peer in peers)])


def page() -> str:
    """All works that were measured."""
    tables = [path.read_text() for name in WORKS if (path := KEPT / f"{name}.md").exists()]
    return "\n".join([INTRODUCTION, f"Versions: {versions()}.\n", *tables])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], help="all when none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--output", type=Path, default=KEPT / "latest.md", help="the page; docs/benchmarks.md is one")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # servers and clients inherit it
    install_peers()
    work.build_tools()
    KEPT.mkdir(parents=True, exist_ok=True)
    with redis_server() as redis:
        for name in options.works or WORKS:
            this = WORKS[name]
            print(f"==> {this.title}", flush=True)
            busy = os.getloadavg()[0]
            figures, failures = run_work(this, options.rounds, options.seconds, redis.url)
            when = f"{time.strftime('%Y-%m-%d %H:%M')}, {machine()}, load {busy:.1f}"
            how = f"{options.rounds} rounds of {options.seconds:g} s"
            text = f"## {this.title}\n\n{when}; {how}.\n\n{table(this, figures, failures)}"
            (KEPT / f"{name}.md").write_text(text)
            options.output.write_text(page())
            print(f"\n{text}", flush=True)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
