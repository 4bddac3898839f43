"""The studio's line to a Space's stage: who is there, what becomes of a seat, WebRTC offers."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from rostra.kernel.errors import PeerError, RostraError, Unavailable
from rostra.space.grants import Grant
from rostra.space.io import sockets
from rostra.space.lifecycle import State
from rostra.space.roster import Roster
from rostra.studio import api, signalling
from rostra.studio.io.desk import Desk

ROSTER_DEADLINE_MS: Final = 1000
OFFER_DEADLINE_MS: Final = 8000
"""Of the 10 s that a WHIP client is promised: candidates and keys on a busy machine."""

_OVER: Final = frozenset({State.ENDED, State.REPLAY, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Answer:
    """A session that the stage has made, its answer, and the seat it feeds."""

    session: str
    sdp: str
    seat: str


class Switchboard:
    """Blocking calls, each with a deadline; safe to use from several threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def stage(self, space: str, you: str = "") -> api.Stage:
        """Who sits where, as the stage says; while it is away, as it last wrote, with nobody connected."""
        folder = self._desk.folder(space)
        try:
            found = sockets.call(folder.stage_sock, "roster", deadline_ms=ROSTER_DEADLINE_MS)
        except Unavailable:
            on_air = self._desk.life(space).state is State.ON_AIR
            return api.Stage(seats=_remembered(folder.read_roster(), you), on_air=on_air, connected=False)
        return _stage(found, you)

    def change(self, space: str, seat: str, change: api.SeatChange, *, actor: str, you: str = "") -> api.Stage:
        """Arm, mute or remove a seat. Raises PeerError `seat.unknown`, Unavailable `process.away`."""
        for order in signalling.seat_orders(change):
            self._call(space, order, seat=seat)
            self._desk.note(actor, order, space, subject=seat)
        return self.stage(space, you)

    def offer(self, space: str, grant: Grant, key: str, name: str, sdp: str) -> Answer:
        """Connect whoever holds `grant` to their seat.

        Raises PeerError `space.state` after the end and what the stage refuses, Unavailable `process.away`.
        """
        if self._desk.life(space).state in _OVER:
            raise PeerError("space.state", "This Space is over.", "Nobody can join its stage any more.")
        seat = signalling.seat_id(grant.link, key)
        link = self._desk.store.link(grant.link)
        fallback = (link.label if link else "") or grant.role.capitalize()
        self._remember(space, grant, seat)
        made = self._call(
            space,
            "offer",
            deadline_ms=OFFER_DEADLINE_MS,
            seat=seat,
            name=signalling.seat_name(name, fallback),
            role=grant.role.value,
            sdp=sdp,
        )
        return Answer(made["session"], made["sdp"], seat)

    def trickle(self, space: str, session: str, fragment: str) -> None:
        self._call(space, "trickle", session=session, fragment=fragment)

    def close(self, space: str, session: str) -> None:
        self._call(space, "close", session=session)

    def expel(self, space: str, link: str) -> None:
        """Take the seats of a link that was revoked off the stage, and with them their sound."""
        for act in self._desk.store.acts(space, verb="join", actor=link):
            with suppress(RostraError):
                self._call(space, "remove", seat=act.subject)

    def _remember(self, space: str, grant: Grant, seat: str) -> None:
        """Note once which link a seat came by, so that revoking the link can find it."""
        joined = self._desk.store.acts(space, verb="join", actor=grant.link)
        if seat not in {act.subject for act in joined}:
            self._desk.note(grant.link, "join", space, subject=seat)

    def _call(self, space: str, verb: str, *, deadline_ms: int = 2000, **args: Any) -> dict[str, Any]:
        return sockets.call(self._desk.folder(space).stage_sock, verb, deadline_ms=deadline_ms, **args)


def _stage(found: dict[str, Any], you: str) -> api.Stage:
    seats = [api.Seat.model_validate({**seat, "you": bool(you) and seat["id"] == you}) for seat in found["seats"]]
    return api.Stage(seats=seats, on_air=bool(found.get("on_air")), connected=True)


def _remembered(roster: Roster, you: str) -> list[api.Seat]:
    return [
        api.Seat(id=seat.id, name=seat.name, role=seat.role, armed=seat.armed, muted=seat.muted, you=seat.id == you)
        for seat in roster.seats
    ]
