"""The links that were given out, and who did what with them.

A link is all a person has: no account, no password. Its token is signed, so nothing secret is stored; what is stored
is that it was given out, for what, and whether it was taken back. A token whose link is not stored counts as revoked.
"""

from dataclasses import dataclass
from typing import Protocol

from rostra.space.grants import Role


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was given out; `space` is empty for the owner's. Times are wall-clock ns, None means never."""

    id: str
    space: str
    role: Role
    label: str
    created_ns: int
    expires_ns: int | None = None
    revoked_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done: by which link (`operator` for the command line), to what, with which particulars."""

    at_ns: int
    actor: str
    verb: str
    space: str = ""
    subject: str = ""
    detail: str = ""


class People(Protocol):
    """The links and the audit trail. Every method may raise Unavailable `store.busy`, OperatorError `store.failed`."""

    def add_link(self, link: Link) -> None:
        """Raises PeerError `link.exists`."""
        ...

    def link(self, link_id: str) -> Link | None:
        """A link by its id, revoked or not."""
        ...

    def links(self, space: str) -> list[Link]:
        """The links of a Space (or the owner's, for the empty id), oldest first, revoked ones too."""
        ...

    def revoke_link(self, link_id: str, at_ns: int) -> Link:
        """Take a link back; one that was revoked before stays as it is. Raises PeerError `link.unknown`."""
        ...

    def record(self, act: Act) -> None:
        """Add to the audit trail. Nothing is ever removed from it."""
        ...

    def acts(self, space: str, *, verb: str = "", actor: str = "") -> list[Act]:
        """What was done in a Space, oldest first, if wished by one verb or one actor only."""
        ...
