"""An order at a certificate authority (RFC 8555), through certbot's `acme` library.

The library speaks the protocol; here its errors become faults that say whose they are.
"""

import datetime
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from rostra.kernel.io.files import replace
from rostra.tls.renewal import Fault, Whose, refused

ORDER_S_MAX: Final = 120
"""Authorities answer within seconds; one that has not after this long is asked again later."""

_URN: Final = "urn:ietf:params:acme:error:"

Publish = Callable[[dict[str, str]], None]


class Failed(Exception):
    """No certificate came of it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


def order(directory: str, email: str, names: tuple[str, ...], account: Path, publish: Publish) -> bytes:
    """A new key and the chain for it, in PEM, one behind the other. `account` is the file that keeps the account's key,
    `publish` is given what port 80 must answer, by token, before the authority is told to look.

    Takes seconds, blocks. Raises Failed.
    """
    try:
        return _order(directory, email, names, account, publish)
    except Failed:
        raise
    except Exception as error:
        raise Failed(fault_of(error, names, directory)) from error


def _order(directory: str, email: str, names: tuple[str, ...], account: Path, publish: Publish) -> bytes:
    net = client.ClientNetwork(_account_key(account, directory), alg=ES256, user_agent="rostra")
    acme = client.ClientV2(client.ClientV2.get_directory(directory, net), net)
    _register(acme, email)
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ordered = acme.new_order(csr.public_bytes(Encoding.PEM))
    asked = [_http_challenge(authorization) for authorization in ordered.authorizations]
    pending = [body for body, status in asked if status == messages.STATUS_PENDING]
    publish({body.chall.encode("token"): body.chall.validation(net.key) for body in pending})
    for body in pending:
        acme.answer_challenge(body, body.chall.response(net.key))
    until = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_S_MAX)  # noqa: DTZ005 — the library compares so
    chain = acme.poll_and_finalize(ordered, until).fullchain_pem
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain.encode()


def _account_key(path: Path, directory: str) -> JWKEC:
    """The account's key at this authority; made when there is none. A key that was lost is an account that was lost, so
    it is on the disk before it is used.
    """
    known = json.loads(path.read_bytes())["keys"] if path.exists() else {}
    if directory in known:
        found = JWKEC.from_json(known[directory])
        assert isinstance(found, JWKEC)
        return found
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    replace(path, json.dumps({"v": 1, "keys": known | {directory: key.to_json()}}).encode(), sync=True)
    return key


def _register(acme: client.ClientV2, email: str) -> None:
    """Make the account, or find the one that this key has."""
    wanted = messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
    try:
        acme.new_account(wanted)
    except errors.ConflictError as known:
        acme.net.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())


def _http_challenge(authorization: messages.AuthorizationResource) -> tuple[messages.ChallengeBody, messages.Status]:
    for body in authorization.body.challenges:
        if isinstance(body.chall, challenges.HTTP01):
            return body, authorization.body.status
    name = authorization.body.identifier.value
    raise Failed(Fault(Whose.AUTHORITY, f"It does not ask for {name} over HTTP.", "Choose another acme_directory."))


def fault_of(error: Exception, names: Iterable[str], directory: str) -> Fault:
    """Whose fault an attempt was that ended with `error`."""
    name = ", ".join(names)
    match error:
        case errors.ValidationError():
            for authorization in error.failed_authzrs:
                for body in authorization.body.challenges:
                    if body.error is not None:
                        return _refused(body.error, str(authorization.body.identifier.value))
            return refused("unauthorized", "", name)
        case errors.IssuanceError():
            return _refused(error.error, name)
        case messages.Error():
            return _refused(error, name)
        case requests.exceptions.SSLError():
            return Fault(
                Whose.NETWORK,
                f"The certificate of {directory} itself is not valid.",
                "Something stands between this machine and the authority; name a private authority’s own certificate "
                "in REQUESTS_CA_BUNDLE.",
            )
        case requests.exceptions.RequestException() | errors.ClientError():
            return Fault(
                Whose.NETWORK,
                f"{directory} cannot be reached from this machine.",
                "Allow it to open HTTPS connections to the authority; check acme_directory and the DNS resolver.",
            )
        case errors.TimeoutError():
            return Fault(
                Whose.AUTHORITY, f"The authority did not come to a decision on {name}.", "Nothing to do: asked again."
            )
        case OSError():
            return Fault(
                Whose.MACHINE,
                f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.",
                "Give the user that runs Rostra write access to the data directory, and free some space.",
            )
        case _:
            return Fault(
                Whose.AUTHORITY,
                f"The authority’s answer is not understood: {error!r}"[:300],
                "Nothing to do: asked again.",
            )


def _refused(error: messages.Error, name: str) -> Fault:
    return refused(str(error.typ or "").removeprefix(_URN), str(error.detail or ""), name)
