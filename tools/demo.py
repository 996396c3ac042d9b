"""demo.py PORT: the market-data example in the foreground, on PORT or, where that is taken, on another that is free."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def main() -> None:
    try:
        port = int(sys.argv[1])
    except (IndexError, ValueError):
        sys.exit("demo.py: PORT must be a number: make demo PORT=9000")
    if not free(port):
        taken, port = port, any_free_port()
        print(f"==> port {taken} is taken, using {port}")
    print(f"==> open http://{HOST}:{port}/ in a browser, in two tabs; Ctrl-C ends it", flush=True)
    os.chdir(ROOT / "examples" / "marketdata")
    peneus = str(ROOT / ".venv" / "bin" / "peneus")
    os.execv(peneus, [peneus, "-b", HOST, "-p", str(port), "--access-log", os.devnull, "marketdata.asgi:application"])


if __name__ == "__main__":
    main()
