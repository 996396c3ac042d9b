"""python -m bench: Peneus beside its peers, side by side in one run.

Rounds alternate between the servers, so that a machine whose speed drifts does so for all of them; medians are reported,
and the ratio to uvicorn. Servers run on one core, the client on the other. Loopback only.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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


def fanout(sockets: int) -> Callable[[Contender, int, int, float], list[float]]:
    """To so many subscribers; one more connection publishes."""
    return lambda contender, port, pid, seconds: work.ws_load(port, contender.path, "fanout", sockets + 1, 2, seconds)


WORKS = {
    "http": Work(
        "HTTP hello, 64 connections", "requests/s", PLAIN, EVERYONE, lambda _, p, __, s: work.http_hello(p, s), "uvicorn"
    ),
    "echo1": Work(
        "WebSocket echo 64 B, 64 connections, depth 1",
        "messages/s",
        PLAIN,
        EVERYONE,
        lambda _, p, __, s: work.ws_load(p, "/", "echo", 64, 1, s),
        "uvicorn",
    ),
    "echo16": Work(
        "WebSocket echo 64 B, 64 connections, depth 16",
        "messages/s",
        PLAIN,
        EVERYONE,
        lambda _, p, __, s: work.ws_load(p, "/", "echo", 64, 16, s),
        "uvicorn",
    ),
    "consumer": Work(
        "The same through a Channels consumer, depth 1",
        "messages/s",
        CONSUMERS,
        CHANNELS,
        lambda _, p, __, s: work.ws_load(p, "/echo", "echo", 64, 1, s),
        "uvicorn + memory",
    ),
    "fanout": Work("Fan-out of 256 bytes to 1,000 sockets", "deliveries/s", CONSUMERS, FANOUT, fanout(1000), "daphne + pubsub"),
    "fanout10k": Work(
        "Fan-out of 256 bytes to 10,000 sockets", "deliveries/s", CONSUMERS, BROAD, fanout(10000), "daphne + pubsub"
    ),
    "fanout2": Work(
        "Fan-out of 256 bytes to 1,000 sockets, two workers on both cores, which the client shares",
        "deliveries/s",
        CONSUMERS,
        TWO_WORKERS,
        fanout(1000),
        "uvicorn, 2 workers + pubsub",
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


def run_work(this: Work, rounds: int, seconds: float, redis: str) -> dict[str, list[list[float]]]:
    figures: dict[str, list[list[float]]] = {}
    for number in range(rounds):
        for contender in this.contenders:
            environment = {"BENCH_LAYER": contender.layer or "peneus", "BENCH_REDIS": redis}
            try:
                with running(contender.server, this.app, environment) as (port, pid):
                    figure = this.measure(contender, port, pid, seconds)
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                print(f"    {contender.name}: {error}", flush=True)
                continue
            figures.setdefault(contender.name, []).append(figure)
            print(f"    round {number + 1}, {contender.name}: {' '.join(f'{value:,.1f}' for value in figure)}", flush=True)
    return figures


def table(this: Work, figures: dict[str, list[list[float]]]) -> str:
    """Medians over the rounds; a work with latencies has four figures for each."""
    medians = {name: [statistics.median(column) for column in zip(*rounds, strict=True)] for name, rounds in figures.items()}
    reference = medians.get(this.reference, [0.0])[0]
    latencies = any(len(values) > 1 for values in medians.values())
    more = " p50, ms | p99, ms | p99.9, ms |" if latencies else ""
    lines = [f"### {this.title}", "", f"| | {this.unit}, median | min – max | beside {this.reference} |{more}"]
    lines.append("|---|" + "---|" * (6 if latencies else 3))
    for name, (median, *waits) in medians.items():
        ratio = f"{median / reference:.2f}" if reference else "–"
        first = [figure[0] for figure in figures[name]]
        row = f"| {name} | {median:,.1f} | {min(first):,.1f} – {max(first):,.1f} | {ratio} |"
        lines.append(row + "".join(f" {wait / 1000:,.1f} |" for wait in waits))
    return "\n".join(lines) + "\n"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], help="all when none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench/latest.md")
    options = parser.parse_args()
    install_peers()
    work.build_tools()
    chosen = [WORKS[name] for name in options.works or WORKS]
    with redis_server() as redis:
        parts = [f"Measured {time.strftime('%Y-%m-%d')} by `make bench` on {machine()}; {options.rounds} alternating rounds.\n"]
        for this in chosen:
            print(f"==> {this.title}", flush=True)
            parts.append(table(this, run_work(this, options.rounds, options.seconds, redis.url)))
    text = "\n".join(parts)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)
    print(f"\n{text}\nwritten to {options.output}")


if __name__ == "__main__":
    main()
