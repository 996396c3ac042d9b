"""The Autobahn testsuite, 0.8.2, which runs under Python 2.7 alone: installed into .cache/, and run against a server."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conformance.autobahn.python27 import CACHE, run

HERE = Path(__file__).resolve().parent
INSTALLED = CACHE / "autobahn"
REQUIREMENTS = HERE / "requirements.txt"

# A folder with packages that say in .pth files where they are.
START = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


def installed(python: str) -> Path:
    """The folder with the testsuite's packages. RuntimeError where they cannot be fetched or built."""
    folder, stamp = INSTALLED / "packages", INSTALLED / "requirements.txt"
    # What one Python 2.7 has compiled may not run under another.
    wanted = f"# for {python}\n{REQUIREMENTS.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(INSTALLED, ignore_errors=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # Some of the packages build with what stands in the same list.
    run(*install, "--target", str(folder), "-r", str(REQUIREMENTS))
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
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        index = Path(folder) / "index.json"
        if not index.exists():
            raise AssertionError(f"the Autobahn testsuite ended with {done.returncode} and no report:\n{done.stdout[-2000:]}")
        found = json.loads(index.read_text())["peneus"]
        for case in found.values():
            report = json.loads((Path(folder) / case["reportfile"]).read_text())
            case["description"] = f"{report['description']}\nexpected {report['expectation']}\ngot {report['result']}"
        return found
