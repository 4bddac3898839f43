"""The results of guests' tests, as the host sees them: the latest of each guest, no address, no sound."""

from dataclasses import dataclass
from typing import Final, Protocol

OF_LINK_MAX: Final = 16
"""Guests remembered of one link; the one who tested longest ago makes room. A link is meant for one person."""


@dataclass(frozen=True, slots=True)
class Check:
    """What came of a test: whose (`link` and `seat`), when (wall-clock ns), the verdict, what to do, what was measured.

    `advice` are codes in the order of their weight, `measured` is the studio's JSON.
    """

    space: str
    link: str
    seat: str
    name: str
    at_ns: int
    verdict: str
    advice: tuple[str, ...] = ()
    measured: str = "{}"


class Checks(Protocol):
    """The tests. Every method may raise Unavailable `store.busy`, OperatorError `store.failed`."""

    def keep_check(self, check: Check) -> None:
        """Remember a test in the place of the same seat's last one. Raises PeerError `space.unknown`."""
        ...

    def checks(self, space: str) -> list[Check]:
        """The tests of a Space's guests, the latest first."""
        ...
