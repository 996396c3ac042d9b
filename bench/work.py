"""The works: each takes a running server's port and gives one figure."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.servers import ROOT, pinned

TOOLS = ROOT / "build" / "bench"
CLIENT_CORE = 1
LIBRARIES = ["-luv", "-lwslay", "-lnghttp2", "-lssl", "-lcrypto", "-lz", "-lpthread"]  # of server/


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
    subprocess.run([*command, "-o", TOOLS / "bare_c", *LIBRARIES], check=True)


def http_hello(port: int, seconds: float, connections: int = 64) -> list[float]:
    """Requests a second, by wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", f"http://127.0.0.1:{port}/"]
    output = subprocess.run([*pinned(CLIENT_CORE), *command], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output:
        raise RuntimeError(f"wrk says: {output}")
    return [float(found.group(1))]


def _command(port: int, path: str, kind: str, connections: int, amount: int, size: int, seconds: float) -> list[str]:
    arguments = [path, kind, connections, amount, size, seconds]
    return [*pinned(CLIENT_CORE), str(TOOLS / "ws_load"), "127.0.0.1", str(port), *map(str, arguments)]


def _ws_load(*arguments: Any) -> list[float]:
    result = subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=arguments[-1] + 120)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return [float(figure) for figure in result.stdout.split()]


def ws_echo(port: int, depth: int, seconds: float, path: str = "/") -> list[float]:
    """Messages received a second, by the load client."""
    return _ws_load(port, path, "echo", 64, depth, 64, seconds)


def ws_fanout(port: int, pid: int, path: str, subscribers: int, seconds: float) -> list[float]:
    """Deliveries a second; the 50th, 99th and 99.9th percentile of their latency, in ms; and the server's processor time for
    each, in us."""
    command = _command(port, path, "fanout", subscribers + 1, 2, 64, seconds)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            ready = client.stdout.readline()
            before = cpu_seconds(pid)
            output, error = client.communicate(timeout=seconds + 120)
            spent = cpu_seconds(pid) - before
        finally:
            client.kill()
    if not ready or client.returncode != 0:
        raise RuntimeError(error.strip())
    rate, *latencies = (float(figure) for figure in output.split())
    return [rate, *(latency / 1000 for latency in latencies), spent / (rate * seconds) * 1e6 if rate else 0.0]


def ws_steady(port: int, path: str, subscribers: int, rate: int, size: int, seconds: float) -> list[float]:
    """Deliveries a second, the percentiles, and how many of the wanted deliveries there were, whole and in order, in %."""
    figures = _ws_load(port, path, "steady", subscribers + 1, rate, size, seconds)
    wanted = subscribers * int(rate * seconds)
    return [figures[0], *(latency / 1000 for latency in figures[1:4]), 100 * (1 - figures[4] / wanted)]


def family(pid: int) -> Iterator[int]:
    """pid and its children."""
    pids = [pid]
    while pids:
        current = pids.pop()
        pids += [int(child) for child in Path(f"/proc/{current}/task/{current}/children").read_text().split()]
        yield current


def pss_kib(pid: int) -> float:
    """Proportional set size of pid and its children."""
    lines = (line for member in family(pid) for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines())
    return sum(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def cpu_seconds(pid: int) -> float:
    """Processor time that pid and its children have used, in user space and for their system calls."""
    stats = (Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split() for member in family(pid))
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


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
