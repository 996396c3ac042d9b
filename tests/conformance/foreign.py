"""Runs somebody else's test files in a process of their own, with a plugin of ours that puts Peneus in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def outcomes(folder: Path, files: list[str], plugin: str, options: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """For each test's id ("test_x.py::Class::test", with what names a subtest behind it): its outcome ("passed", "failed",
    "skipped") and the text of a failure."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conformance.report", "-p", plugin, "-p", "no:cacheprovider"]
        command += ["--rootdir", str(folder), "-c", os.devnull, "-W", "ignore", *options, *(str(folder / name) for name in files)]
        path = os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"CONFORMANCE_REPORT": str(report), "TMPDIR": scratch}
        result = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=300)
        text = report.read_text() if report.exists() else ""
    assert text, f"the tests did not run:\n{result.stdout}\n{result.stderr}"
    found = {}
    for name, (outcome, failure) in json.loads(text).items():
        file, _, test = name.partition("::")
        found[f"{Path(file).name}::{test}"] = (outcome, failure)
    return found


def compare(
    found: Mapping[str, tuple[str, str]], differences: Mapping[str, str], at_least: int, races: Mapping[str, str] | None = None
) -> None:
    """Asserts that just the tests in differences fail, and that at least so many others pass; those in races may do either."""
    allowed = {**differences, **(races or {})}
    failed = {name: text for name, (outcome, text) in found.items() if outcome == "failed" and name not in allowed}
    assert not failed, "\n\n".join(f"{name}\n{text}" for name, text in failed.items())
    agreed = [name for name in differences if found.get(name, ("missing", ""))[0] != "failed"]
    assert not agreed, f"in the list of differences, but they do not fail: {agreed}"
    passed = [name for name, (outcome, _) in found.items() if outcome == "passed"]
    assert len(passed) >= at_least, f"only {len(passed)} tests passed: {passed}"
