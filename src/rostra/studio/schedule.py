"""What may be asked of a Space, and how it looks to those who run it. Decisions only: `rostra.studio.io.desk` acts."""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from rostra.kernel.clock import from_iso8601, to_rfc3339
from rostra.kernel.errors import PeerError
from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.space import lifecycle
from rostra.space.grants import Verb
from rostra.space.lifecycle import Event, Input, Life, State
from rostra.space.spec import Recording, Spec, Start, check
from rostra.studio.api import NewSpace, Space, SpaceChange

STATE_STALE_S: Final = 5.0
"""The keeper writes `state.json` every second; a count older than this is no count."""

_ALL: Final = frozenset({"title", "starts_at", "doors_s", "start", "recording", "time_zone"})
EDITABLE: Final[dict[State, frozenset[str]]] = {
    State.SCHEDULED: _ALL,
    State.POSTPONED: _ALL,
    State.DOORS_OPEN: _ALL - {"doors_s"},
    State.HOLDING: frozenset({"title", "recording"}),
    State.ON_AIR: frozenset({"title", "recording"}),
    State.ENDED: frozenset({"title"}),
    State.REPLAY: frozenset({"title"}),
    State.CANCELLED: frozenset({"title"}),
}


def announce(space: str, asked: NewSpace, now_ns: int) -> Spec:
    """The announcement that somebody asks for. Raises PeerError `time.*`, `space.*` when it cannot be held."""
    given: dict[str, Any] = {
        name: value
        for name in ("doors_s", "start", "recording", "time_zone")
        if (value := getattr(asked, name)) is not None
    }
    spec = Spec(space, asked.title.strip(), _whole_ms(from_iso8601(asked.starts_at)), **given)
    check(spec, now_ns)
    return spec


def edit(spec: Spec, life: Life, change: SpaceChange, now_ns: int) -> tuple[Spec, int | None]:
    """The announcement after `change`, and the new start (wall-clock ns) if the Space must be rescheduled for it.

    Raises PeerError `space.state` for what can no longer be changed, `time.*` and `space.*` as `announce` does.
    """
    given = {name: value for name, value in change.model_dump().items() if value is not None}
    starts_at = given.pop("starts_at", None)
    starts_at_ns = None if starts_at is None else _whole_ms(from_iso8601(starts_at))
    wanted = replace(spec, **given)
    moves = starts_at_ns is not None and starts_at_ns != life.starts_at_ns
    asked = {name for name in given if getattr(wanted, name) != getattr(spec, name)} | (
        {"starts_at"} if moves else set()
    )
    refused = asked - EDITABLE[life.state]
    if refused:
        raise _too_late(life.state, refused)
    if life.state in lifecycle.LIVE and Recording.OFF in {spec.recording, wanted.recording} and "recording" in asked:
        raise _too_late(life.state, {"recording"})
    if moves and starts_at_ns is not None:
        wanted = moved(wanted, starts_at_ns)
    check(wanted, now_ns if moves else min(now_ns, wanted.starts_at_ns - 1))
    return wanted, starts_at_ns if moves else None


def moved(spec: Spec, starts_at_ns: int) -> Spec:
    """The announcement after a move of the start that the lifecycle has accepted."""
    return replace(spec, starts_at_ns=starts_at_ns)


def _too_late(state: State, fields: set[str]) -> PeerError:
    names = ", ".join(sorted(fields))
    return PeerError(
        "space.state",
        f"A Space that is {state.replace('_', ' ')} cannot change its {names} any more.",
        "Change the rest without it.",
    )


def _whole_ms(ns: int) -> int:
    """Starts are kept to the millisecond: that is what `space.json` and the pages show."""
    return ns // MS_NS * MS_NS


@dataclass(frozen=True, slots=True)
class Order:
    """A command, made exact: what the lifecycle steps with, and what the programme's socket is asked."""

    given: Input

    @property
    def verb(self) -> str:
        return self.given.event.value

    @property
    def args(self) -> dict[str, int | None]:
        match self.given.event:
            case Event.HOLD:
                return {"until_ns": self.given.until_ns}
            case Event.RESCHEDULE:
                return {"starts_at_ns": self.given.starts_at_ns}
            case _:
                return {}


def order(event: Event, life: Life, now_ns: int, *, minutes: int | None = None, starts_at: str | None = None) -> Order:
    """The exact meaning of a command at `now_ns`.

    HOLD before air moves the start by `minutes`; later it holds for `minutes` from now, or until somebody ends it.

    Raises PeerError `command.minutes`, `command.starts_at` for a command that lacks what it needs or has too much.
    """
    if (minutes is not None and event is not Event.HOLD) or (starts_at is not None and event is not Event.RESCHEDULE):
        raise PeerError("command.extra", f"{event} takes no time.", "minutes belongs to hold, starts_at to reschedule.")
    if event is Event.RESCHEDULE:
        if starts_at is None:
            raise PeerError("command.starts_at", "A new start is missing.", "Send starts_at.")
        return Order(Input(event, starts_at_ns=_whole_ms(from_iso8601(starts_at))))
    if event is Event.HOLD:
        return Order(Input(event, until_ns=_until(life, minutes, now_ns)))
    return Order(Input(event))


def _until(life: Life, minutes: int | None, now_ns: int) -> int | None:
    before_air = life.state is State.DOORS_OPEN
    if minutes is None:
        if before_air:
            raise PeerError(
                "command.minutes", "Before the start, a hold needs its length.", "Send minutes, such as 5 or 15."
            )
        return None
    return (life.starts_at_ns if before_air else now_ns) + minutes * 60 * SECOND_NS


def verb_for(event: Event) -> Verb:
    """The right that a command needs."""
    return Verb.APPROVE if event in (Event.APPROVE, Event.WITHDRAW) else Verb.DIRECT


def on_air_offset_ms(journal: bytes) -> float | None:
    """How far from the announced instant the talk was first on air, as the programme noted it in the journal."""
    for line in journal.splitlines():
        if b"on_air_offset_ms" in line:
            try:
                return float(json.loads(line)["on_air_offset_ms"])
            except (ValueError, KeyError, TypeError):
                continue
    return None


def listeners(state_json: bytes, now_ns: int) -> int | None:
    """The keeper's count, if it is fresh."""
    try:
        state = json.loads(state_json)
        age_s = (now_ns - from_iso8601(state["server_time"])) / SECOND_NS
        return int(state["listeners"]) if abs(age_s) < STATE_STALE_S else None
    except (ValueError, KeyError, TypeError, PeerError):
        return None


@dataclass(frozen=True, slots=True)
class Bases:
    """The public addresses of both sides, without a slash at the end."""

    audience: str
    studio: str

    def audience_url(self, space: str) -> str:
        return f"{self.audience}/s/{space}"

    def link_url(self, token: str) -> str:
        return f"{self.studio}/#{token}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files of a Space say beside its announcement and its life."""

    listeners: int | None = None
    on_air_offset_ms: float | None = None
    has_recording: bool = False


def view(spec: Spec, life: Life, facts: Facts, bases: Bases) -> Space:
    """A Space as those who run it see it."""
    return Space(
        id=spec.id,
        title=spec.title,
        starts_at=to_rfc3339(life.starts_at_ns),
        doors_s=spec.doors_s,
        start=Start(spec.start),
        recording=Recording(spec.recording),
        time_zone=spec.time_zone,
        state=life.state,
        cause=life.cause,
        since=to_rfc3339(life.since_ns),
        resume_at=None if life.resume_at_ns is None else to_rfc3339(life.resume_at_ns),
        audience_url=bases.audience_url(spec.id),
        studio_url=f"{bases.studio}/",
        recording_url=f"/api/v1/spaces/{spec.id}/recording.m4a" if facts.has_recording else None,
        listeners=facts.listeners,
        on_air_offset_ms=facts.on_air_offset_ms,
    )
