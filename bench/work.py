"""The works: each takes a running server's port and gives one figure."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench.servers import ROOT, pinned

TOOLS = ROOT / "build" / "bench"
CLIENT_CORE = 1


def build_tool(name: str) -> Path:
    """The program that bench/NAME.c alone is."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-std=gnu11", "-O2", "-o", TOOLS / name, ROOT / "bench" / f"{name}.c"], check=True)
    return TOOLS / name


def build_tools() -> None:
    """Compiles the load client, and the server without Python when its libraries are there."""
    build_tool("ws_load")
    build_tool("bare_fanout")
    llhttp = ROOT / ".cache/sources/llhttp"
    sources: list[Path] = [*ROOT.glob("base/*.c"), *ROOT.glob("server/*.c"), *llhttp.glob("src/*.c"), ROOT / "bench/bare_c.c"]
    command = ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-w", f"-I{ROOT}", f"-I{llhttp}/include", *map(str, sources)]
    subprocess.run([*command, "-o", TOOLS / "bare_c", "-luv", "-lwslay", "-lcrypto", "-lpthread"], check=True)


def http_hello(port: int, seconds: float, connections: int = 64) -> list[float]:
    """Requests a second, by wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", f"http://127.0.0.1:{port}/"]
    output = subprocess.run([*pinned(CLIENT_CORE), *command], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output:
        raise RuntimeError(f"wrk says: {output}")
    return [float(found.group(1))]


def _ws_load(port: int, path: str, kind: str, connections: int, amount: int, size: int, seconds: float) -> list[float]:
    command = [str(TOOLS / "ws_load"), "127.0.0.1", str(port), path, kind, str(connections), str(amount), str(size), str(seconds)]
    result = subprocess.run([*pinned(CLIENT_CORE), *command], capture_output=True, text=True, timeout=seconds + 120)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return [float(figure) for figure in result.stdout.split()]


def ws_load(port: int, path: str, kind: str, connections: int, depth: int, seconds: float) -> list[float]:
    """Messages received a second, by the load client; of kind fanout also the 50th, 99th and 99.9th percentile
    of their latency, in ms."""
    rate, *latencies = _ws_load(port, path, kind, connections, depth, 64, seconds)
    return [rate, *(latency / 1000 for latency in latencies)]


def ws_steady(port: int, path: str, subscribers: int, rate: int, size: int, seconds: float) -> list[float]:
    """Deliveries a second, the percentiles, and how many of the wanted deliveries there were, whole and in order, in %."""
    figures = _ws_load(port, path, "steady", subscribers + 1, rate, size, seconds)
    wanted = subscribers * int(rate * seconds)
    return [figures[0], *(latency / 1000 for latency in figures[1:4]), 100 * (1 - figures[4] / wanted)]


def pss_kib(pid: int) -> float:
    """Proportional set size of pid and its children."""
    total = 0.0
    pids = [pid]
    while pids:
        current = pids.pop()
        pids += [int(child) for child in Path(f"/proc/{current}/task/{current}/children").read_text().split()]
        for line in Path(f"/proc/{current}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += float(line.split()[1])
    return total


def idle_kib(port: int, pid: int, path: str, connections: int = 1000) -> list[float]:
    """KiB (PSS) that one idle WebSocket adds."""
    before = pss_kib(pid)
    command = [str(TOOLS / "ws_load"), "127.0.0.1", str(port), path, "idle", str(connections), "0", "0", "2"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        if client.stdout.readline().strip() != "ready":
            raise RuntimeError("the clients could not connect")
        return [(pss_kib(pid) - before) / connections]
    finally:
        client.wait()
