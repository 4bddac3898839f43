"""How people are protected on their way to us, and what is refused for lack of it.

There are three ways to HTTPS: certificate files, a certificate obtained by ourselves (ACME), or a proxy that ends TLS
before us. Without one of them Rostra serves this machine alone: browsers open no microphone over plain HTTP, and the
links that let people speak would cross the network readable.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from rostra.kernel.errors import OperatorError

Network = IPv4Network | IPv6Network

LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"

HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80

_WAYS: Final = (
    "Give --certificate and --certificate-key, or --acme-email with --public-url https://…; or, where a proxy ends TLS "
    "before Rostra, say from which address it speaks with --terminator. docs/3-operate/https.md has all three."
)


class Way(StrEnum):
    """Who ends TLS, and where the certificate comes from."""

    PLAIN = "plain"
    FILES = "files"
    ACME = "acme"
    TERMINATOR = "terminator"


@dataclass(frozen=True, slots=True)
class Protection:
    """What the operator said about TLS. `certificate` and `certificate_key` are paths; `terminator` are the networks a
    proxy speaks from, `acme_directory` is the authority's address (RFC 8555 7.1.1).
    """

    certificate: str = ""
    certificate_key: str = ""
    acme_email: str = ""
    acme_directory: str = LETS_ENCRYPT
    acme_port: int = HTTP_PORT
    terminator: tuple[Network, ...] = ()

    @property
    def way(self) -> Way:
        if self.certificate:
            return Way.FILES
        if self.acme_email:
            return Way.ACME
        return Way.TERMINATOR if self.terminator else Way.PLAIN

    @property
    def ours(self) -> bool:
        """Whether TLS ends in a process of ours, on the ports that people reach."""
        return self.way in (Way.FILES, Way.ACME)

    @property
    def scheme(self) -> str:
        """The scheme of the ports as they are served here."""
        return "https" if self.ours else "http"


PLAIN: Final = Protection()
"""Nothing was said: plain HTTP, for this machine alone."""


def networks(text: str) -> tuple[Network, ...]:
    """The networks in `10.0.0.5, 10.1.0.0/16`. Raises OperatorError `tls.terminator`."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise OperatorError(
            "tls.terminator",
            f"“{text}” does not say from where the terminator speaks: {error}.",
            "Write its address, or several with commas between: --terminator 127.0.0.1",
        ) from None


def admits(callers: tuple[Network, ...], address: str) -> bool:
    """Whether a connection from `address` comes from one of `callers`. A socket for both families names an IPv4 caller
    as ::ffff:a.b.c.d (RFC 4291 2.5.5.2).
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in callers)


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach what listens on `bind`."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


def check(protection: Protection, bind: str, public_url: str, studio_url: str = "") -> None:
    """Whether this may be served. Raises OperatorError `bind.unprotected` or `tls.…`: the reason and what to do."""
    _check_ways(protection)
    match protection.way:
        case Way.PLAIN:
            _check_plain(bind, public_url)
        case Way.TERMINATOR:
            _check_terminator(protection, bind, public_url)
        case Way.ACME:
            for url in (public_url, studio_url or public_url):
                _check_name(public_name(url))
    for key, url in (("public-url", public_url), ("studio-url", studio_url)):
        if protection.way is not Way.PLAIN and urlsplit(url).scheme == "http":
            raise OperatorError(
                "tls.scheme", f"{url} is plain HTTP, and Rostra is served as HTTPS.", f"Write --{key} https{url[4:]}."
            )


def _check_ways(protection: Protection) -> None:
    ways = {
        "certificate": bool(protection.certificate or protection.certificate_key),
        "acme_email": bool(protection.acme_email),
        "terminator": bool(protection.terminator),
    }
    named = [key for key, given in ways.items() if given]
    if len(named) > 1:
        raise OperatorError("tls.ambiguous", f"{' and '.join(named)} exclude each other.", "Keep one of them.")
    if protection.certificate_key and not protection.certificate:
        raise OperatorError(
            "tls.incomplete",
            "There is a key and no certificate.",
            "Name the file with the certificate and its chain: --certificate.",
        )


def _check_plain(bind: str, public_url: str) -> None:
    if not is_loopback(bind):
        raise OperatorError(
            "bind.unprotected",
            f"{bind} can be reached from other machines, and nothing here makes HTTPS: their browsers would not open a "
            "microphone, and speakers' links would cross the network readable.",
            _WAYS,
        )
    if urlsplit(public_url).scheme == "https":
        raise OperatorError("tls.undeclared", f"{public_url} is HTTPS, and nothing that was declared makes it.", _WAYS)


def _check_terminator(protection: Protection, bind: str, public_url: str) -> None:
    if urlsplit(public_url).scheme != "https":
        raise OperatorError(
            "tls.public_url",
            "A terminator makes HTTPS under an address that Rostra does not know.",
            "Say what people type: --public-url https://live.example.org",
        )
    if is_loopback(bind) and not any(network.is_loopback for network in protection.terminator):
        raise OperatorError(
            "tls.terminator",
            f"{bind} can be reached from this machine alone, and the terminator is on another one.",
            "Give --bind the address at which the terminator reaches this machine.",
        )


def public_name(public_url: str) -> str:
    """The host in the public address, in lower case; empty when there is none."""
    return urlsplit(public_url).hostname or ""


def _check_name(name: str) -> None:
    """An authority signs names that it can look up, and no numbers."""
    try:
        ip_address(name)
        numeric = True
    except ValueError:
        numeric = False
    if not name or numeric or "." not in name.strip("."):
        raise OperatorError(
            "tls.name",
            f"No authority can certify “{name}”." if name else "A certificate needs a name.",
            "Say what people type: --public-url https://live.example.org, a name whose address is this machine's.",
        )


def origin(scheme: str, host: str, port: int) -> str:
    """`scheme://host:port` without the port that goes without saying; `host` stands in brackets already if it must."""
    usual = HTTPS_PORT if scheme == "https" else HTTP_PORT
    return f"{scheme}://{host}" if port == usual else f"{scheme}://{host}:{port}"


def notes(protection: Protection, public_url: str, audience_port: int) -> list[str]:
    """What is allowed and may still surprise, in a sentence each."""
    if not protection.ours or not public_url:
        return []
    found = []
    port = urlsplit(public_url).port or HTTPS_PORT
    if port != audience_port:
        found.append(
            f"{public_url} means port {port}, and the audience is served on {audience_port}: forward the one to the "
            f"other, or use --audience-port {port}."
        )
    if protection.way is Way.ACME and protection.acme_port != HTTP_PORT:
        found.append(
            f"The authority will ask at port {HTTP_PORT}, and port {protection.acme_port} listens for it: forward the "
            "one to the other."
        )
    return found
