"""TLS: what the listeners of a server encrypt with: made from the settings and from `ssl:` endpoints, read again when asked."""

import logging
from pathlib import Path
from typing import Any

from ._core import TLS
from .endpoints import SSL
from .errors import SettingError

logger = logging.getLogger(__name__)

# What is offered by ALPN (RFC 7301), the best first, for each value of --http2.
PROTOCOLS = {"on": ("h2", "http/1.1"), "off": ("http/1.1",), "only": ("h2",)}
VERSIONS = {"1.0": 0x0301, "1.1": 0x0302, "1.2": 0x0303, "1.3": 0x0304}
VERIFY = {"none": 0, "optional": 1, "required": 2}

# For each thing that can be wrong: the option that says it, the argument of an `ssl:` endpoint, what to write instead.
PROBLEMS = {
    "certificate": ("--ssl-certfile", "certKey", "the path of a certificate in PEM"),
    "key": ("--ssl-keyfile", "privateKey", "the path of the certificate's private key in PEM"),
    "password": ("--ssl-keyfile-password", "privateKey", "the password of the key, or the path of a key without one"),
    "chain": ("--ssl-certfile", "extraCertChain", "the path of certificates in PEM"),
    "ca": ("--ssl-ca-certs", "", "the path of the certificates of those whom clients' certificates have to be from, in PEM"),
    "ciphers": ("--ssl-ciphers", "", "a list as `openssl ciphers` takes it, such as ECDHE+AESGCM, or leave it out"),
    "version": ("--ssl-min-version", "", "1.2 or 1.3"),
    "dh": ("--endpoint", "dhParameters", "the path of parameters in PEM, or leave it out"),
}


def wire(protocols: tuple[str, ...]) -> bytes:
    """protocols as ALPN writes them."""
    return b"".join(bytes([len(name)]) + name.encode() for name in protocols)


class Contexts:
    """The TLS of a server's listeners. ticket_keys: those of a supervisor, so that its workers resume each other's sessions."""

    def __init__(self, settings: Any, ticket_keys: bytes | None = None) -> None:
        self._settings = settings
        self._ticket_keys = ticket_keys
        self._made: dict[tuple[str | None, ...], tuple[SSL, str, TLS]] = {}

    def of(self, endpoint: SSL, string: str) -> TLS:
        """The TLS of endpoint, which string describes. SettingError names the option, or string, and the file."""
        what = (endpoint.certificate, endpoint.key, endpoint.chain, endpoint.dh_parameters)
        if what not in self._made:
            try:
                self._made[what] = (endpoint, string, self._make(endpoint))
            except ValueError as error:
                raise _explained(error, endpoint, string) from None
        return self._made[what][2]

    def reload(self) -> None:
        """Reads all files again, for who comes from now on. What cannot be used stays as it was, and the log says why."""
        for endpoint, string, made in self._made.values():
            try:
                made.reload()
            except ValueError as error:
                logger.error("TLS goes on as it was: %s", _explained(error, endpoint, string))
            else:
                logger.info("TLS: certificates read again")

    def __bool__(self) -> bool:
        return bool(self._made)

    def _make(self, endpoint: SSL) -> TLS:
        settings = self._settings
        password = settings.ssl_keyfile_password
        if endpoint.certificate is not None:
            certificates = [(endpoint.certificate, endpoint.key, endpoint.chain, password)]
        else:
            keys = settings.ssl_keyfile or [None] * len(settings.ssl_certfile)
            certificates = [(each, key, None, password) for each, key in zip(settings.ssl_certfile, keys, strict=True)]
        authorities = settings.ssl_ca_certs
        is_directory = authorities is not None and Path(authorities).is_dir()
        return TLS(
            tuple(certificates),
            ca_file=None if is_directory else authorities,
            ca_directory=authorities if is_directory else None,
            verify=VERIFY[settings.ssl_cert_reqs],
            ciphers=settings.ssl_ciphers,
            minimum_version=VERSIONS[settings.ssl_min_version],
            dh_parameters=endpoint.dh_parameters,
            alpn=wire(PROTOCOLS[settings.http2]),
            ticket_keys=self._ticket_keys,
        )


def _explained(error: ValueError, endpoint: SSL, string: str) -> SettingError:
    what, sentence = error.args
    option, argument, instead = PROBLEMS[what]
    if endpoint.certificate is not None and argument:
        return SettingError("--endpoint", f"{string!r}: {sentence}; write as {argument} {instead}")
    return SettingError(option, f"{sentence}; write {instead}")
