"""Certificates of the test's own, made with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Certificates:
    authority: Path
    certificate: Path  # of localhost and 127.0.0.1; a server's and a client's
    key: Path
    other_authority: Path  # that has signed nothing


def make(directory: Path) -> Certificates:
    for name in ("authority", "other"):
        _openssl(
            directory, "req", "-x509", *_fresh_key(name), "-out", f"{name}.crt", "-subj", f"/CN=Test {name}", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
    _openssl(directory, "req", *_fresh_key("server"), "-out", "server.csr", "-subj", "/CN=localhost")
    # Python 3.13 and later want the identifiers; not each openssl adds them to a certificate that it signs.
    extensions = ("subjectAltName=DNS:localhost,IP:127.0.0.1", "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid")
    (directory / "extensions").write_text("\n".join(extensions) + "\n")
    _openssl(
        directory, "x509", "-req", "-in", "server.csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial",
        "-out", "server.crt", "-days", "2", "-extfile", "extensions",
    )  # fmt: skip
    return Certificates(directory / "authority.crt", directory / "server.crt", directory / "server.key", directory / "other.crt")


def _fresh_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, cwd=directory, capture_output=True, timeout=30)
