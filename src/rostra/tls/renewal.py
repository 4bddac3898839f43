"""When a certificate is ordered, and what a failed attempt means.

A certificate is renewed at two thirds of its life, so that a third is left for whatever is in the way. A failed attempt
is repeated with growing pauses, and never touches the certificate that is being served.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PAUSES_S: Final = (30, 120, 600, 1800, 3600, 10_800)
"""After the first, second, … failure in a row. Let's Encrypt allows five failed validations of a name an hour; these
are five in the first three quarters of an hour, and at most one an hour afterwards."""

RENEW_AT: Final = 2 / 3


@dataclass(frozen=True, slots=True)
class Certificate:
    """What matters of a certificate: the names it is for, and its life in seconds since 1970."""

    names: frozenset[str]
    begins_s: float
    ends_s: float

    def covers(self, name: str) -> bool:
        """Whether it is for `name`; a star stands for one label (RFC 9525 6.3)."""
        name = name.lower()
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def usable(self, names: Iterable[str], now_s: float) -> bool:
        """Whether a browser would take it for each of `names` now."""
        return now_s < self.ends_s and all(self.covers(name) for name in names)

    @property
    def renew_at_s(self) -> float:
        return self.begins_s + (self.ends_s - self.begins_s) * RENEW_AT


@dataclass(frozen=True, slots=True)
class Attempts:
    """How it went so far: failures in a row, and the instant before which nothing is tried, seconds since 1970."""

    failures: int = 0
    not_before_s: float = 0.0

    def failed(self, now_s: float, retry_after_s: float | None = None) -> "Attempts":
        """One more failure; an authority that says when to come back is believed where that is later."""
        pause_s = float(PAUSES_S[min(self.failures, len(PAUSES_S) - 1)])
        return Attempts(self.failures + 1, now_s + max(pause_s, retry_after_s or 0.0))


def order_at_s(certificate: Certificate | None, names: Iterable[str], attempts: Attempts) -> float:
    """When to order next, in seconds since 1970; what lies in the past is due."""
    fits = certificate is not None and all(certificate.covers(name) for name in names)
    due_s = certificate.renew_at_s if certificate is not None and fits else 0.0
    return max(due_s, attempts.not_before_s)


class Whose(StrEnum):
    """Who can mend it."""

    OPERATOR = "operator"
    AUTHORITY = "authority"
    NETWORK = "network"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt failed: whose it is to mend, a sentence, and what to do. `retry_after_s`: the authority's word."""

    whose: Whose
    sentence: str
    hint: str
    retry_after_s: float | None = None


def refused(code: str, detail: str, name: str, retry_after_s: float | None = None) -> Fault:
    """What the authority's problem type means (RFC 8555 6.7); `code` without the `urn:ietf:params:acme:error:`."""
    said = f"It said: {detail.strip()[:300]}" if detail.strip() else ""
    whose, sentence, hint = _KNOWN.get(code, _unknown(code))
    return Fault(whose, " ".join((sentence.format(name=name), said)).strip(), hint.format(name=name), retry_after_s)


def _unknown(code: str) -> tuple[Whose, str, str]:
    return Whose.AUTHORITY, f"The authority refuses {{name}} ({code or 'no reason given'}).", "Look into what it said."


_KNOWN: Final = {
    "connection": (
        Whose.OPERATOR,
        "The authority could not reach {name} on port 80.",
        "Open TCP port 80 to this machine, in its firewall and in the router, also for IPv6 if {name} has an AAAA.",
    ),
    "dns": (
        Whose.OPERATOR,
        "The authority could not look {name} up.",
        "Give {name} an A record (and AAAA, if it is served) with this machine's address.",
    ),
    "unauthorized": (
        Whose.OPERATOR,
        "Another server answers for {name} on port 80.",
        "Point {name} at this machine, or forward /.well-known/acme-challenge/ to it.",
    ),
    "incorrectResponse": (
        Whose.OPERATOR,
        "Another server answers for {name} on port 80.",
        "Point {name} at this machine, or forward /.well-known/acme-challenge/ to it.",
    ),
    "caa": (
        Whose.OPERATOR,
        "A CAA record forbids this authority to certify {name}.",
        "Change the CAA record, or choose another authority with acme_directory.",
    ),
    "rejectedIdentifier": (
        Whose.OPERATOR,
        "The authority does not certify names like {name}.",
        "Choose another name, or another authority with acme_directory.",
    ),
    "unsupportedContact": (Whose.OPERATOR, "The authority does not take this e-mail address.", "Change acme_email."),
    "invalidContact": (Whose.OPERATOR, "The authority does not take this e-mail address.", "Change acme_email."),
    "externalAccountRequired": (
        Whose.OPERATOR,
        "This authority wants an account made on its site first.",
        "Choose another with acme_directory, or obtain the certificate with its own tool and name the files.",
    ),
    "rateLimited": (
        Whose.AUTHORITY,
        "The authority has had enough of {name} for now.",
        "Nothing to do: it is asked again when it said.",
    ),
    "serverInternal": (
        Whose.AUTHORITY,
        "The authority has a fault of its own, and does not certify {name} for now.",
        "Nothing to do: it is asked again.",
    ),
}
