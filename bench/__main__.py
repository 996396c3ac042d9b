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
from bench.servers import ALL, DAPHNE, GRANIAN, H2CORN, HYPERCORN, PEERS, PENEUS, ROOT, UVICORN, Server, running
from tests.support.redis import redis_server

PLAIN = "bench.applications.plain:application"
CONSUMERS = "bench.applications.consumers:application"


@dataclass(frozen=True)
class Contender:
    server: Server
    layer: str = ""

    @property
    def name(self) -> str:
        return f"{self.server.name} + {self.layer}" if self.layer else self.server.name


@dataclass(frozen=True)
class Work:
    title: str
    unit: str
    app: str
    contenders: list[Contender]
    measure: Callable[[int, int, float], float]  # port, pid, seconds
    reference: str


EVERYONE = [Contender(server) for server in ALL]
CHANNELS = [Contender(PENEUS, "peneus"), *(Contender(s, "memory") for s in (UVICORN, DAPHNE, HYPERCORN, GRANIAN))]
LAYERS = [
    Contender(PENEUS, "peneus"),
    *(Contender(server, layer) for server in (DAPHNE, UVICORN) for layer in ("memory", "core", "pubsub")),
    Contender(GRANIAN, "pubsub"),
]
WORKS = {
    "http": Work("HTTP hello, 64 connections", "requests/s", PLAIN, EVERYONE, lambda p, _, s: work.http_hello(p, s), "uvicorn"),
    "echo1": Work(
        "WebSocket echo 64 B, 64 connections, depth 1", "messages/s", PLAIN, EVERYONE,
        lambda p, _, s: work.ws_load(p, "/", "echo", 64, 1, s), "uvicorn",
    ),
    "echo16": Work(
        "WebSocket echo 64 B, 64 connections, depth 16", "messages/s", PLAIN, EVERYONE,
        lambda p, _, s: work.ws_load(p, "/", "echo", 64, 16, s), "uvicorn",
    ),
    "consumer": Work(
        "The same through a Channels consumer, depth 1", "messages/s", CONSUMERS, CHANNELS,
        lambda p, _, s: work.ws_load(p, "/echo", "echo", 64, 1, s), "uvicorn + memory",
    ),
    "fanout": Work(
        "Fan-out to 1,000 Channels consumers", "deliveries/s", CONSUMERS, LAYERS,
        lambda p, _, s: work.ws_load(p, "/fanout", "fanout", 1001, 2, s), "daphne + pubsub",
    ),
    "idle": Work(
        "An idle WebSocket, plain ASGI", "KiB (PSS)", PLAIN, [Contender(s) for s in (PENEUS, UVICORN, DAPHNE, HYPERCORN, H2CORN)],
        lambda p, pid, _: work.idle_kib(p, pid, "/"), "uvicorn",
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


def run_work(this: Work, rounds: int, seconds: float, redis: str) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    for number in range(rounds):
        for contender in this.contenders:
            environment = {"BENCH_LAYER": contender.layer or "peneus", "BENCH_REDIS": redis}
            try:
                with running(contender.server, this.app, environment) as (port, pid):
                    figure = this.measure(port, pid, seconds)
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                print(f"    {contender.name}: {error}", flush=True)
                continue
            figures.setdefault(contender.name, []).append(figure)
            print(f"    round {number + 1}, {contender.name}: {figure:,.1f}", flush=True)
    return figures


def table(this: Work, figures: dict[str, list[float]]) -> str:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    reference = medians.get(this.reference)
    lines = [f"### {this.title}", "", f"| | {this.unit}, median | min – max | beside {this.reference} |", "|---|---|---|---|"]
    for name, median in medians.items():
        ratio = f"{median / reference:.2f}" if reference else "–"
        values = figures[name]
        lines.append(f"| {name} | {median:,.1f} | {min(values):,.1f} – {max(values):,.1f} | {ratio} |")
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
