"""A Python 2.7: one of this machine, or Debian 11's packages of it, the last that Debian had, unpacked into .cache/."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache"
UNPACKED = CACHE / "python27"
INSTALLER = HERE / "installer.txt"
# The interpreter, its headers, and of its shared libraries those that Debian 12 has no more: as sha256sum lists them.
PACKAGES = HERE / "debian11.sha256"
APT_HELPER = "/usr/lib/apt/apt-helper"
ADVICE = "to run the Autobahn testsuite, name one: PENEUS_PYTHON27=/path/to/python2.7"

# What it compiles needs its headers, which it looks for in /usr.
LAUNCHER = """#!/bin/sh
root=$(dirname "$(dirname "$0")")
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export CPPFLAGS="-I$root/usr/include -I$root/usr/include/python2.7 ${CPPFLAGS:-}"
exec "$root/usr/bin/python2.7" "$@"
"""


def candidates() -> Iterator[str]:
    yield os.environ.get("PENEUS_PYTHON27", "")
    yield shutil.which("python2.7") or ""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path) for path in sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


def runs(python: str) -> bool:
    """pyenv has a python2.7 in the path also where none is chosen."""
    with contextlib.suppress(OSError):
        return subprocess.run([python, "-c", "import zlib, ssl"], capture_output=True).returncode == 0
    return False


@functools.cache
def python27() -> str:
    """A Python 2.7 that runs. RuntimeError where there is none and Debian 11's cannot be fetched."""
    for python in candidates():
        if python and runs(python):
            return python
    try:
        python = str(fetched())
    except RuntimeError as error:
        raise RuntimeError(f"there is no Python 2.7, and Debian 11's cannot be fetched: {error}; {ADVICE}") from error
    if not runs(python):
        raise RuntimeError(f"there is no Python 2.7, and Debian 11's does not run here; {ADVICE}")
    return python


def fetched() -> Path:
    """Debian 11's Python 2.7, with pip and setuptools, in .cache/python27."""
    launcher, stamp = UNPACKED / "bin" / "python2.7", UNPACKED / "stamp"
    wanted = f"{LAUNCHER}{PACKAGES.read_text()}{INSTALLER.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return launcher
    if not (os.access(APT_HELPER, os.X_OK) and run("dpkg", "--print-architecture").strip() == "amd64"):
        raise RuntimeError("its packages are for amd64, and need apt")
    shutil.rmtree(UNPACKED, ignore_errors=True)
    launcher.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        for line in PACKAGES.read_text().splitlines():
            sha256, path = line.split()
            package = Path(folder) / Path(path).name
            download(path, sha256, package)
            run("dpkg-deb", "--extract", str(package), str(UNPACKED))
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    install_pip(str(launcher))
    stamp.write_text(wanted)
    return launcher


def download(path: str, sha256: str, into: Path) -> None:
    """By apt, with its proxies and its retries; it checks the hash."""
    errors = []
    for archive in archives():
        try:
            run(APT_HELPER, "download-file", archive + path, str(into), f"SHA256:{sha256}")
            return
        except RuntimeError as error:
            errors.append(str(error))
    raise RuntimeError("; ".join(errors) or "apt knows no archive of Debian")


@functools.cache
def archives() -> list[str]:
    """Those that apt has Debian from. The origin is unknown before the first `apt-get update`."""
    lines = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages").splitlines()
    found = [line.partition(" ")[2] for line in lines if line.partition(" ")[0] in ("Debian", "")]
    return list(dict.fromkeys(found))


def install_pip(python: str) -> None:
    """Debian's own had no pip. Another pip fetches this one, which then installs itself."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run(*pip, "--only-binary", ":all:", "--require-hashes", "--dest", folder, "-r", str(INSTALLER))
        wheels = sorted(str(wheel) for wheel in Path(folder).glob("*.whl"))
        (pip_wheel,) = Path(folder).glob("pip-*.whl")
        packages = str(UNPACKED / "usr" / "lib" / "python2.7" / "dist-packages")
        install = [python, f"{pip_wheel}/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
        run(*install, "--target", packages, *wheels)


def run(*command: str) -> str:
    """Its output. RuntimeError with the end of its errors."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if done.returncode != 0:
        errors = " ".join(line for line in done.stderr.splitlines() if not line.startswith("W:"))
        raise RuntimeError(f"{' '.join(command[:3])}: {errors[-300:]}")
    return done.stdout
