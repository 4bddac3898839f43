"""Who may do what: one table, asked in one place of the studio (`rostra.studio.io.asgi`).

A link carries a role in its token. Whoever holds the link holds the role, until it is revoked.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """`owner` is the installation's own and belongs to no Space; the others hold for one Space."""

    OWNER = "owner"
    HOST = "host"
    COHOST = "cohost"
    SPEAKER = "speaker"


class Verb(StrEnum):
    CREATE_SPACE = "create_space"
    LIST_SPACES = "list_spaces"
    READ_SPACE = "read_space"
    EDIT_SPACE = "edit_space"
    DIRECT = "direct"  # GO, HOLD, MUSIC, RESUME, END, reschedule, postpone, cancel
    APPROVE = "approve"  # the recording
    SHARE = "share"  # make and revoke links
    SPEAK = "speak"
    ARM = "arm"  # any seat, or with SPEAK alone: disarm one's own
    MODERATE = "moderate"  # mute or remove others
    HEAR_RECORDING = "hear_recording"  # before it is approved


_SPEAKER: Final = frozenset({Verb.READ_SPACE, Verb.SPEAK})
_COHOST: Final = _SPEAKER | {Verb.DIRECT, Verb.ARM, Verb.MODERATE, Verb.HEAR_RECORDING}
_HOST: Final = _COHOST | {Verb.EDIT_SPACE, Verb.APPROVE, Verb.SHARE}

TABLE: Final[dict[Role, frozenset[Verb]]] = {
    Role.SPEAKER: _SPEAKER,
    Role.COHOST: _COHOST,
    Role.HOST: _HOST,
    Role.OWNER: _HOST | {Verb.CREATE_SPACE, Verb.LIST_SPACES},
}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a checked link says: its id, its role, and the Space it holds for (empty for the owner's)."""

    link: str
    role: Role
    space: str = ""


def allows(grant: Grant, verb: Verb, space: str = "") -> bool:
    """Whether `grant` covers `verb` in `space` (empty: in no particular Space)."""
    return verb in TABLE[grant.role] and (grant.role is Role.OWNER or grant.space == space)
