"""Brings third-party C sources that Debian does not have in the version we need into .cache/sources/.

They come from source packages of the Python registry, pinned by version and hash. A second run does nothing.
Standard library and pip only: it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "sources"


@dataclass(frozen=True)
class Source:
    """A folder of a source package: `name` is what it is called in the cache."""

    name: str
    package: str
    version: str
    sha256: str
    folder: str


SOURCES = [
    Source(
        name="llhttp",
        package="httptools",
        version="0.9.0",
        sha256="d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6",
        folder="vendor/llhttp",
    ),
    Source(
        name="hiredis",
        package="hiredis",
        version="3.5.0",
        sha256="c227592cc56b7df247abe4755c26723965be68972be2149fa441ac33d82131ba",
        folder="vendor/hiredis",
    ),
]


def download(source: Source, into: Path) -> Path:
    """The source package's archive, its hash checked."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    wanted = into / "requirements.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    command += ["--no-binary", ":all:", "--dest", str(into), "--require-hashes", "-r", str(wanted)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    archives = list(into.glob("*.tar.gz"))
    if not archives:
        sys.exit(f"fetch_sources: pip could not download {source.package} {source.version}:\n{result.stderr}")
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if digest != source.sha256:
        sys.exit(f"fetch_sources: {archives[0].name} has sha256 {digest}, expected {source.sha256}")
    return archives[0]


def extract(source: Source, archive: Path, target: Path) -> None:
    """Copies the regular files of the source's folder to target."""
    prefix = f"{source.package}-{source.version}/{source.folder}/"
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if not member.isfile() or not member.name.startswith(prefix):
                continue
            path = target / member.name[len(prefix) :]
            path.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as data, open(path, "wb") as file:  # type: ignore[union-attr]
                shutil.copyfileobj(data, file)


def fetch(source: Source) -> None:
    stamp = CACHE / source.name / ".sha256"
    if stamp.exists() and stamp.read_text() == source.sha256:
        return
    print(f"fetch_sources: {source.name} from {source.package} {source.version}")
    with tempfile.TemporaryDirectory() as folder:
        archive = download(source, Path(folder))
        shutil.rmtree(CACHE / source.name, ignore_errors=True)
        extract(source, archive, CACHE / source.name)
    stamp.write_text(source.sha256)


if __name__ == "__main__":
    for entry in SOURCES:
        fetch(entry)
