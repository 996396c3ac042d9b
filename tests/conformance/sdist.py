"""Source packages whose tests we run: fetched at test time, pinned by version and hash, unpacked under .cache/."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
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


HAS_FILTERS = hasattr(tarfile, "data_filter")


def unpack(archive: Path, destination: Path) -> None:
    """Unpacks regular files and folders only, and only below destination, as files of this user."""
    with tarfile.open(archive) as tar:
        if HAS_FILTERS:
            tar.extractall(destination, filter="data")
        else:  # before Python 3.10.12 and 3.11.4: Debian 12 has 3.11.2
            tar.extractall(destination, members=plain_members(tar, destination.resolve()))


def plain_members(tar: tarfile.TarFile, destination: Path) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        if (member.isfile() or member.isdir()) and (destination / member.name).resolve().is_relative_to(destination):
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            member.mode &= 0o755
            yield member


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
        unpack(archive, CACHE)
    stamp.write_text(sdist.sha256)
    return sdist.folder
