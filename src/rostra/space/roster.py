"""Who sits on the stage. A pure machine: `Roster` is a value, each function returns the next one.

A *seat* belongs to a person with a link; a *session* is one WebRTC connection, and comes and goes. Reaching air takes
three things at once: armed (by someone who may), connected, and not muted. Sound or a reconnection alone never puts
anyone on air: `joined` and `left` touch the session and nothing else.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from rostra.kernel.errors import OperatorError, PeerError
from rostra.kernel.limits import NAME_CHARS_MAX, ROSTER_BYTES_MAX, SEATS_MAX
from rostra.space.grants import Role

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Seat:
    """One person's place. `session` is the WHIP resource that feeds it now, or empty."""

    id: str
    name: str
    role: Role
    session: str = ""
    armed: bool = False
    muted: bool = False

    @property
    def present(self) -> bool:
        """Armed and connected: counts for the start, muted or not."""
        return self.armed and self.session != ""

    @property
    def audible(self) -> bool:
        """Reaches air when the Space is on air."""
        return self.present and not self.muted


@dataclass(frozen=True, slots=True)
class Roster:
    """The seats by id, in the order they were taken."""

    seats: tuple[Seat, ...] = ()

    def find(self, seat_id: str) -> Seat | None:
        return next((seat for seat in self.seats if seat.id == seat_id), None)

    def of_session(self, session: str) -> Seat | None:
        return next((seat for seat in self.seats if session and seat.session == session), None)

    @property
    def armed(self) -> int:
        return sum(seat.armed for seat in self.seats)

    @property
    def present(self) -> int:
        return sum(seat.present for seat in self.seats)


def joined(roster: Roster, seat_id: str, name: str, role: Role, session: str) -> Roster:
    """`session` feeds the seat from now on; a new seat is made unarmed. An earlier session of the seat is displaced.

    Raises PeerError `stage.full`.
    """
    seat = roster.find(seat_id)
    if seat is not None:
        return _with(roster, replace(seat, name=name or seat.name, role=role, session=session))
    if len(roster.seats) >= SEATS_MAX:
        raise PeerError("stage.full", f"All {SEATS_MAX} seats are taken.", "Ask the host to free one.")
    return Roster((*roster.seats, Seat(seat_id, name, role, session)))


def left(roster: Roster, session: str) -> Roster:
    """The connection is gone; the seat, and whether it is armed, stay. A displaced session changes nothing."""
    seat = roster.of_session(session)
    return roster if seat is None else _with(roster, replace(seat, session=""))


def armed(roster: Roster, seat_id: str, on: bool) -> Roster:
    """Let a seat reach air, or no longer. Raises PeerError `seat.unknown`."""
    return _with(roster, replace(_seat(roster, seat_id), armed=on))


def muted(roster: Roster, seat_id: str, on: bool) -> Roster:
    """Silence a seat, or no longer. Raises PeerError `seat.unknown`."""
    return _with(roster, replace(_seat(roster, seat_id), muted=on))


def removed(roster: Roster, seat_id: str) -> Roster:
    """Take the seat away. Raises PeerError `seat.unknown`."""
    gone = _seat(roster, seat_id)
    return Roster(tuple(seat for seat in roster.seats if seat is not gone))


def disconnected(roster: Roster) -> Roster:
    """The roster as a restarted stage finds it: every seat kept, nobody connected."""
    return Roster(tuple(replace(seat, session="") for seat in roster.seats))


def _seat(roster: Roster, seat_id: str) -> Seat:
    seat = roster.find(seat_id)
    if seat is None:
        raise PeerError("seat.unknown", "That seat does not exist any more.", "Reload to see who is on the stage.")
    return seat


def _with(roster: Roster, seat: Seat) -> Roster:
    return Roster(tuple(seat if old.id == seat.id else old for old in roster.seats))


def encode(roster: Roster) -> bytes:
    """`roster.json`: what a restarted stage needs. Sessions do not survive it."""
    seats = [
        {"id": seat.id, "name": seat.name, "role": seat.role, "armed": seat.armed, "muted": seat.muted}
        for seat in roster.seats
    ]
    return json.dumps({"v": VERSION, "seats": seats}, ensure_ascii=False).encode()


def _seat_of(told: dict[str, Any]) -> Seat:
    seat_id, name, armed, muted = told["id"], told["name"], told["armed"], told["muted"]
    if not (isinstance(seat_id, str) and isinstance(name, str) and isinstance(armed, bool) and isinstance(muted, bool)):
        raise ValueError("a seat of the wrong type")
    return Seat(seat_id, name[:NAME_CHARS_MAX], Role(told["role"]), "", armed, muted)


def decode(data: bytes) -> Roster:
    """Raises OperatorError `roster.unreadable`."""
    try:
        document = json.loads(data)
        if document["v"] != VERSION:
            raise ValueError(f"version {document['v']}")
        if len(data) > ROSTER_BYTES_MAX or len(document["seats"]) > SEATS_MAX:
            raise ValueError("too large")
        return Roster(tuple(_seat_of(seat) for seat in document["seats"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OperatorError(
            "roster.unreadable",
            f"A roster.json cannot be read ({error}).",
            "Remove it: the seats are taken anew.",
        ) from None
