"""Links: a signed token (JWT, HS256) that says which role it gives, in which Space, until when.

    {"v": 1, "lid": "<link id>", "role": "host", "space": "<id, empty for the owner>", "exp": <seconds, optional>}

The token stands behind the `#` of an address, so that no server, proxy or log sees it in a request line. The
signature and its comparison are joserfc's. That a link was not taken back is known to the store alone (`check`).
"""

from typing import Any, Final

from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OctKey

from rostra.kernel.errors import PeerError
from rostra.kernel.units import SECOND_NS
from rostra.space.grants import Grant, Role
from rostra.store.people import Link

VERSION: Final = 1
KEY_BYTES: Final = 32
ALGORITHM: Final = "HS256"
TOKEN_CHARS_MAX: Final = 1024
"""Ours have about 200; what is longer is not looked at."""

_ANEW: Final = "Ask whoever invited you for a new link."


def issue(key: bytes, grant: Grant, expires_ns: int | None = None) -> str:
    """The token of a link. The same link always gives the same token, so none has to be stored."""
    claims: dict[str, Any] = {"v": VERSION, "lid": grant.link, "role": grant.role, "space": grant.space}
    if expires_ns is not None:
        claims["exp"] = expires_ns // SECOND_NS
    return jwt.encode({"alg": ALGORITHM}, claims, OctKey.import_key(key), algorithms=[ALGORITHM])


def read(key: bytes, token: str, now_ns: int) -> Grant:
    """What a token grants, its link not being revoked.

    Raises PeerError `link.malformed`, `link.forged` or `link.expired`.
    """
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise _malformed()
    try:
        claims = jwt.decode(token, OctKey.import_key(key), algorithms=[ALGORITHM]).claims
    except (BadSignatureError, UnsupportedAlgorithmError):
        raise PeerError(
            "link.forged", "This link was not given out here.", f"Copy the whole link again. {_ANEW}"
        ) from None
    except (JoseError, ValueError, TypeError, KeyError):
        raise _malformed() from None
    try:
        jwt.JWTClaimsRegistry(now=now_ns // SECOND_NS).validate(claims)
    except ExpiredTokenError:
        raise PeerError("link.expired", "This link has expired.", _ANEW) from None
    except JoseError:
        raise _malformed() from None
    return _grant(claims)


def check(link: Link | None) -> None:
    """Raises PeerError `link.revoked` unless the store still knows the link and it was not taken back."""
    if link is None or link.revoked_ns is not None:
        raise PeerError("link.revoked", "This link was taken back.", _ANEW)


def _grant(claims: dict[str, Any]) -> Grant:
    try:
        link, space, version = claims["lid"], claims["space"], claims["v"]
        grant = Grant(link, Role(claims["role"]), space)
    except (KeyError, ValueError):
        raise _malformed() from None
    if version != VERSION or not isinstance(link, str) or not isinstance(space, str):
        raise _malformed()
    return grant


def _malformed() -> PeerError:
    return PeerError("link.malformed", "This link is incomplete or mistyped.", f"Copy the whole link again. {_ANEW}")
