"""Unpacking where tarfile has no data filter: Python before 3.10.12 and 3.11.4."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.conformance import sdist


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode, found.uid = kind, target, 0o4777, 12345
    return found


def test_only_files_and_folders_below_the_destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdist, "HAS_FILTERS", False)
    archive, destination = tmp_path / "some.tar.gz", tmp_path / "destination"
    destination.mkdir()
    content = b"content"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(member("package", tarfile.DIRTYPE))
        for name in ("package/file", "../outside", "package/../../outside", str(tmp_path / "outside"), "link/outside"):
            file = member(name)
            file.size = len(content)
            if name == "link/outside":
                tar.addfile(member("link", tarfile.SYMTYPE, str(tmp_path)))
            tar.addfile(file, io.BytesIO(content))
        tar.addfile(member("package/hard", tarfile.LNKTYPE, "package/file"))
        tar.addfile(member("package/fifo", tarfile.FIFOTYPE))
    sdist.unpack(archive, destination)
    assert sorted(tmp_path.rglob("*")) == sorted(
        [archive, destination, *(destination / name for name in ("link", "link/outside", "package", "package/file"))]
    )
    unpacked = destination / "package/file"
    assert unpacked.read_bytes() == content
    assert unpacked.stat().st_mode & 0o7777 == 0o755
    assert unpacked.stat().st_uid == tmp_path.stat().st_uid
