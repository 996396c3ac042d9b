"""Certificates for tests of TLS: an authority of the test's own, and who it knows."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

PASSWORD = "open sesame"


@dataclass
class Identity:
    certificate: Path
    key: Path
    locked_key: Path  # the same, encrypted with PASSWORD

    @property
    def pem(self) -> str:
        return self.certificate.read_text()


class Authority:
    """Signs certificates in directory; its own is `file`."""

    def __init__(self, directory: Path, name: str = "Authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        # What RFC 5280 asks of an authority's certificate: Python 3.13 and later refuse one that lacks any of it.
        usage = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = self._build(self._name, self._key, [x509.BasicConstraints(ca=True, path_length=None), usage])
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *alternatives: str) -> Identity:
        """A key and a certificate for name, and for alternatives, which are host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative(each) for each in alternatives or (name,)])
        certificate = self._build(_named(name), key, [names])
        stem = self._directory / name.replace("*", "_")
        made = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"), stem.with_suffix(".locked"))
        made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        made.key.write_bytes(_pem(key, NoEncryption()))
        made.locked_key.write_bytes(_pem(key, BestAvailableEncryption(PASSWORD.encode())))
        return made

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[x509.ExtensionType]
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
        )
        for extension in extensions:
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical)
        # RFC 5280 asks for both identifiers, and so does Python 3.13.
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signers = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(own, critical=False).add_extension(signers, critical=False).sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
