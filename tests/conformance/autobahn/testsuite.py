"""The Autobahn testsuite, 0.8.2, which runs under Python 2.7 alone: found, installed into .cache/, and run against a server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache" / "autobahn"
REQUIREMENTS = HERE / "requirements.txt"
NO_PYTHON27 = "there is no Python 2.7: name one by PENEUS_PYTHON27=/path/to/python2.7 to run the Autobahn testsuite"

# A folder with packages that say in .pth files where they are.
START = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


def candidates() -> Iterator[str]:
    yield os.environ.get("PENEUS_PYTHON27", "")
    yield shutil.which("python2.7") or ""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path) for path in sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


def python27() -> str | None:
    """A Python 2.7 that runs: pyenv has a python2.7 in the path also where none is chosen."""
    for python in candidates():
        with contextlib.suppress(OSError):
            if python and subprocess.run([python, "-c", "import zlib, ssl"], capture_output=True).returncode == 0:
                return python
    return None


def installed(python: str) -> Path:
    """The folder with the testsuite's packages."""
    folder, stamp = CACHE / "packages", CACHE / "requirements.txt"
    wanted = REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(CACHE, ignore_errors=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # Some of the packages build with what stands in the same list.
    subprocess.run([*install, "--target", str(folder), "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted)
    return folder


def outcomes(python: str, url: str, cases: list[str]) -> dict[str, dict[str, str]]:
    """What the fuzzing client found: for each case "behavior" and "behaviorClose", and "description" from its report."""
    packages = installed(python)
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.json"
        servers = [{"agent": "peneus", "url": url}]
        spec.write_text(
            json.dumps({"outdir": folder, "servers": servers, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}})
        )
        command = [python, "-c", START, str(packages), "-m", "fuzzingclient", "-s", str(spec)]
        run = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        index = Path(folder) / "index.json"
        if not index.exists():
            raise AssertionError(f"the Autobahn testsuite ended with {run.returncode} and no report:\n{run.stdout[-2000:]}")
        found = json.loads(index.read_text())["peneus"]
        for case in found.values():
            report = json.loads((Path(folder) / case["reportfile"]).read_text())
            case["description"] = f"{report['description']}\nexpected {report['expectation']}\ngot {report['result']}"
        return found
