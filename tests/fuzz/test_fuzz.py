"""A short run of every fuzz target, from its corpus; `make fuzz` is the long one."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = sorted(path.name for path in (ROOT / "tests/fuzz/corpus").iterdir())
SECONDS = os.environ.get("PENEUS_FUZZ_SECONDS", "5")


@pytest.mark.long
@pytest.mark.skipif("PENEUS_SANITIZED" in os.environ, reason="the targets have sanitizers of their own")
@pytest.mark.parametrize("target", TARGETS)
def test_target(target: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "ASAN_OPTIONS")}
    command = ["tools/fuzz.sh", SECONDS, target]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "number_of_executed_units" in run.stdout


def test_every_target_is_run() -> None:
    assert TARGETS == sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "tests/fuzz").glob("fuzz_*.c"))
