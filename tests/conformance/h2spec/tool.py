"""h2spec, 2.2.1, a Go program: found or built into .cache/ from what go.mod and go.sum pin, and run against a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache" / "h2spec"
NO_GO = "there is no Go: apt-get install golang-go, or name one by PENEUS_GO=/path/to/go, to run h2spec"
PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec"


def go() -> str | None:
    for candidate in (os.environ.get("PENEUS_GO"), shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    return None


def built(compiler: str) -> Path:
    """The program. RuntimeError where its sources cannot be fetched or built."""
    program, stamp = CACHE / "h2spec", CACHE / "go.sum"
    wanted = (HERE / "go.sum").read_text()
    if program.exists() and stamp.exists() and stamp.read_text() == wanted:
        return program
    CACHE.mkdir(parents=True, exist_ok=True)
    # Read-only module files could not be removed by `rm -rf .cache`.
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -modcacherw", "GOPATH": str(CACHE / "gopath"), "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [compiler, "build", "-o", str(program), PACKAGE], cwd=HERE, env=environment, capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"h2spec cannot be built: {done.stderr[-500:]}")
    stamp.write_text(wanted)
    return program


def outcomes(program: Path, port: int, *, tls: bool) -> dict[str, str]:
    """Each test of generic, http2 and hpack, strict ones included: "" where it passed, or what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        secure = ["--tls", "--insecure"] if tls else []
        command = [str(program), "--strict", "--timeout", "10", "--port", str(port), "--junit-report", str(report), *secure]
        subprocess.run(command, capture_output=True, timeout=600)
        found = {}
        for suite in ElementTree.parse(report).getroot():
            for case in suite.iter("testcase"):
                wrong = [child for child in case if child.tag in ("failure", "error", "skipped")]
                name = f"{case.get('package')} {case.get('classname')} ({suite.get('id', '')}{len(found)})"
                found[name] = "; ".join((child.text or child.tag).strip() for child in wrong)
        return found
