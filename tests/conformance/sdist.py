"""Source packages whose tests we run: fetched at test time, pinned by version and hash, unpacked under .cache/."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "sdists"


@dataclass(frozen=True)
class Sdist:
    name: str
    version: str
    sha256: str

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-{self.version}"


DAPHNE = Sdist("daphne", "4.2.3", "1c458f81926b37301cadc8ec1b6316d9a5db53fba061fc4826610395fe5d5c81")
CHANNELS_REDIS = Sdist("channels_redis", "4.3.0", "740ee7b54f0e28cf2264a940a24453d3f00526a96931f911fcb69228ef245dd2")


def unpacked(sdist: Sdist) -> Path:
    """The folder of the unpacked package; the archive's hash is checked before anything of it is used."""
    stamp = sdist.folder / ".sha256"
    if stamp.exists() and stamp.read_text() == sdist.sha256:
        return sdist.folder
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{sdist.name}=={sdist.version} --hash=sha256:{sdist.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder]
        subprocess.run([*command, "--require-hashes", "-r", str(wanted)], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != sdist.sha256:
            raise RuntimeError(f"{archive.name} has sha256 {digest}, expected {sdist.sha256}")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    stamp.write_text(sdist.sha256)
    return sdist.folder
