"""Where speakers' browsers find out their own address (STUN) and, where UDP is blocked, a relay (TURN).

The servers are the operator's. A TURN server is not to relay for strangers, so each speaker gets a credential that
ends: draft-uberti-behave-turn-rest-00 section 2.2, which coturn checks with `use-auth-secret`.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.errors import OperatorError
from rostra.kernel.units import SECOND_NS
from rostra.studio.api import IceServer, IceServers

CREDENTIAL_S: Final = 6 * 3600
"""A relay that was allocated lives on when its credential ends; a page asks for a new one whenever it dials."""

_URL: Final = re.compile(
    r"(?:(?P<scheme>stun|turn)(?P<tls>s?):)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?:\?transport=(?P<transport>udp|tcp))?"
)


@dataclass(frozen=True, slots=True)
class Servers:
    """What the operator configured, as URLs (RFC 7064, RFC 7065). `secret` is shared with the TURN servers."""

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)


def read_urls(text: str, scheme: str) -> tuple[str, ...]:
    """The servers in a configured text, apart by commas or spaces; `host` and `host:port` mean `<scheme>:host…`.

    Raises OperatorError `config.invalid`.
    """
    return tuple(_url(word, scheme) for word in re.split(r"[,\s]+", text.strip()) if word)


def _url(word: str, scheme: str) -> str:
    found = _URL.fullmatch(word)
    wrong = found is None or found["scheme"] not in (None, scheme) or not 0 < int(found["port"] or 1) < 65_536
    if found is None or wrong or (found["transport"] and scheme == "stun"):
        example = "turns:turn.example.org:443?transport=tcp" if scheme == "turn" else "stun:turn.example.org:3478"
        raise OperatorError(
            "config.invalid",
            f"{scheme}: “{word}” is not the address of a {scheme.upper()} server.",
            f"Write {example}.",
        )
    port = f":{found['port']}" if found["port"] else ""
    transport = f"?transport={found['transport']}" if found["transport"] else ""
    return f"{scheme}{found['tls'] or ''}:{found['host']}{port}{transport}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens, and how it is spoken to: `transport` is `udp` or `tcp`."""

    host: str
    port: int
    transport: str
    tls: bool


def place(url: str) -> Place:
    """What a URL that `read_urls` returned means (RFC 7064 and 7065, section 3.2: 3478, and 5349 with TLS)."""
    found = _URL.fullmatch(url)
    assert found is not None, "a URL that was not read"
    tls = bool(found["tls"])
    transport = found["transport"] or ("tcp" if tls else "udp")
    return Place(found["host"].strip("[]"), int(found["port"] or (5349 if tls else 3478)), transport, tls)


def credential(secret: str, holder: str, expires_s: int) -> tuple[str, str]:
    """User name and password that a TURN server with `secret` takes until `expires_s` (Unix time)."""
    username = f"{expires_s}:{holder}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1)  # SHA-1: what the scheme is made of
    return username, base64.b64encode(digest.digest()).decode()


def offered(servers: Servers, holder: str, now_ns: int) -> IceServers:
    """What a browser is told, as `RTCConfiguration.iceServers` takes it. `holder` shows in the TURN server's log."""
    found = [IceServer(urls=list(servers.stun))] if servers.stun else []
    expires_at = None
    if servers.turn:
        expires_s = now_ns // SECOND_NS + CREDENTIAL_S
        username, password = credential(servers.secret, holder, expires_s)
        found.append(IceServer(urls=list(servers.turn), username=username, credential=password))
        expires_at = to_rfc3339(expires_s * SECOND_NS)
    return IceServers(ice_servers=found, expires_at=expires_at)


def links(told: IceServers) -> Iterator[str]:
    """The values of `Link` headers that say the same (RFC 9725 section 4.6): one a URL."""
    for server in told.ice_servers:
        for url in server.urls:
            link = f'<{url}>; rel="ice-server"'
            if server.username:
                link += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
            yield link
