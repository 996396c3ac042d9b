"""Every scenario of tests/leaks/turns.py at once, for a while, against a server whose C is instrumented.

    python -m tests.threads.load SECONDS PYTHON PRELOADED

PYTHON is an interpreter that finds the instrumented Peneus, PRELOADED the runtime of ThreadSanitizer. Ends with 1 where there is
a report, and prints it; the reports that are expected of other people's code are in suppressions.txt, each with its reason.
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.leaks.turns import SCENARIOS, Site, site

CLIENTS = 4  # processes
ROUND = 0.2  # s of one scenario, before the next
SUPPRESSIONS = Path(__file__).parent / "suppressions.txt"


def client(running: Site, seconds: float, seed: int, failed: "multiprocessing.SimpleQueue[str]") -> None:
    """One scenario after another, in an order of its own."""
    chance = random.Random(seed)
    names = list(SCENARIOS)
    deadline = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < deadline:
        chance.shuffle(names)
        for name in names:
            try:
                with SCENARIOS[name](running) as turn:
                    until = min(deadline, time.monotonic() + ROUND)
                    while time.monotonic() < until:
                        turn()
                        turns += 1
            except Exception as error:
                failed.put(f"{name}: {error!r}")
    print(f"client {seed}: {turns} turns", flush=True)


def load(running: Site, seconds: float) -> list[str]:
    failed: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
    clients = [multiprocessing.Process(target=client, args=(running, seconds, seed, failed)) for seed in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    failures = []
    while not failed.empty():
        failures.append(failed.get())
    return failures


def main(seconds: float, python: str, preloaded: str) -> int:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = {
            "LD_PRELOAD": preloaded,
            "TSAN_OPTIONS": f"log_path={directory}/report:suppressions={SUPPRESSIONS}:second_deadlock_stack=1:history_size=4",
        }
        # ThreadSanitizer needs the address space as it was laid out before kernels randomised more of it.
        command = ("setarch", os.uname().machine, "-R", python)
        with site(directory, python=command, **environment) as running:
            failures = load(running, seconds)
            os.kill(running.pid, signal.SIGTERM)
            _wait(running.pid)
        reports = "\n".join(report.read_text(errors="replace") for report in sorted(directory.glob("report*")))
    sys.stdout.write(reports)
    for failure in failures:
        print("failed:", failure)
    count = reports.count("WARNING: ThreadSanitizer")
    print(f"ThreadSanitizer: {count} reports; {len(failures)} turns failed")
    return 1 if count or failures else 0


def _wait(pid: int) -> None:
    """For its end: what is torn down is looked at too."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the server does not end"
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2], sys.argv[3]))
