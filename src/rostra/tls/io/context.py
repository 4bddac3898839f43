"""Certificates on disk, and the TLS context that serves the newest of them."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from rostra.kernel.errors import OperatorError
from rostra.tls.renewal import Certificate

log = structlog.get_logger()

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 4.2). TLS 1.3 has no others."""

Stamp = tuple[int, int, int]


def make_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, HTTP/1.1, with the chain and the key in two PEM files, or in one.

    Raises OperatorError `tls.certificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        named = f"{certificate} and {key}" if key else str(certificate)
        reason = "the key belongs to another certificate" if "MISMATCH" in (error.reason or "") else "not PEM"
        raise _unusable(f"{named} cannot be used: {error.reason or reason}.") from None
    except OSError as error:
        raise _unusable(f"{error.filename or certificate} cannot be read: {error.strerror}.") from None
    return context


def _no_password() -> str:
    raise _unusable("The key is locked with a password, and nobody is there to type it.")


def _unusable(sentence: str) -> OperatorError:
    return OperatorError(
        "tls.certificate",
        sentence,
        "Name PEM files that this user can read: the certificate with its chain, and its key without a password.",
    )


def read(certificate: Path) -> Certificate:
    """The first certificate in a PEM file. Raises OperatorError `tls.certificate`."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise _unusable(f"{certificate} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise _unusable(f"There is no certificate in {certificate}.") from None
    begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    return Certificate(_names(found), begins, ends)


def _names(found: x509.Certificate) -> frozenset[str]:
    """The names in the extension that browsers look at; the subject's where there is none."""
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        subject = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return frozenset(str(name.value).lower() for name in subject)
    dns = alternatives.get_values_for_type(x509.DNSName)
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return frozenset([name.lower() for name in dns] + [str(address) for address in addresses])


class Served:
    """The certificate that is served, read again when its files change.

    A pair that does not fit (one file was replaced, the other not yet) is not taken; the one before stays.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._certificate, self._key = certificate, key
        self._stamp = self._look()
        self.context = make_context(certificate, key)

    def _look(self) -> tuple[Stamp | None, ...]:
        return tuple(_stamp(path) for path in (self._certificate, self._key) if path is not None)

    def look(self) -> bool:
        """Whether there is a new context now."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        try:
            context = make_context(self._certificate, self._key)
        except OperatorError as error:
            if None not in stamp:
                log.warning("certificate_not_taken", reason=error.sentence)
            self._stamp = stamp
            return False
        self.context, self._stamp = context, stamp
        log.info("certificate_taken")
        return True

    def entrance(self) -> ssl.SSLContext:
        """A context for a server that keeps the one it was given: each handshake is passed on to the newest.

        OpenSSL asks for every handshake, whether or not the client names a server.
        """
        outer = make_context(self._certificate, self._key)
        outer.sni_callback = self._pass_on
        return outer

    def _pass_on(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _outer: ssl.SSLContext) -> None:
        connection.context = self.context


Look = Callable[[], bool]


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
