"""The life of a Space, as one table.

    scheduled → doors_open → on_air ⇄ holding → ended → replay          postponed and cancelled beside it

The theory. A Space is announced for an instant T. From `doors_at` the audience hears hold music. At T, if the start is
`automatic` and somebody who may reach air is there (*armed* and connected), the talk is on air. If nobody is, nothing
fails: the Space is `holding`, says why, and goes on air by itself as soon as an armed seat is there. The audience
always hears something: every state in which listeners are connected is either talk or hold music.

Three kinds of event move it. *Time*: an instant in `due` has come. *The stage*: the first armed seat is there, or the
last is gone. *A person*: GO, HOLD, MUSIC, RESUME, END and the scheduling commands. A hold that a person asked for is
only ended by a person or by the time they gave; a hold that happened by itself ends by itself.

`step` looks an event up in `TABLE`. A row is (state, event, guard) and what follows; the first row whose guard holds
is taken, and no row means that the event makes no sense now: a person is told so, time and stage are ignored. The
machine never reads a clock: `now_ns` is an argument, and `due` says which instant it waits for and why.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.errors import OperatorError, PeerError
from rostra.kernel.units import SECOND_NS
from rostra.space.spec import Recording, Spec, Start, check_start

VERSION: Final = 1


class State(StrEnum):
    SCHEDULED = "scheduled"
    DOORS_OPEN = "doors_open"
    ON_AIR = "on_air"
    HOLDING = "holding"
    ENDED = "ended"
    REPLAY = "replay"
    POSTPONED = "postponed"
    CANCELLED = "cancelled"


LIVE: Final = frozenset({State.DOORS_OPEN, State.ON_AIR, State.HOLDING})
"""The states in which the programme sounds."""


class Event(StrEnum):
    # time
    DOORS_DUE = "doors_due"
    START_DUE = "start_due"
    RESUME_DUE = "resume_due"
    AUTO_END_DUE = "auto_end_due"
    # the stage
    PRESENT = "present"
    LOST = "lost"
    STAGE_LOST = "stage_lost"
    # a person
    GO = "go"
    HOLD = "hold"
    MUSIC = "music"
    RESUME = "resume"
    END = "end"
    RESCHEDULE = "reschedule"
    POSTPONE = "postpone"
    CANCEL = "cancel"
    APPROVE = "approve"
    WITHDRAW = "withdraw"


COMMANDS: Final = frozenset(
    {
        Event.GO,
        Event.HOLD,
        Event.MUSIC,
        Event.RESUME,
        Event.END,
        Event.RESCHEDULE,
        Event.POSTPONE,
        Event.CANCEL,
        Event.APPROVE,
        Event.WITHDRAW,
    }
)


class Cause(StrEnum):
    """Why a Space is in its state: what the audience is told, in words that pages translate."""

    CREATED = "created"
    TIME = "time"
    HOST = "host"
    NOBODY_ARMED = "nobody_armed"
    WAITING_FOR_GO = "waiting_for_go"
    SPEAKERS_LOST = "speakers_lost"
    STAGE_LOST = "stage_lost"
    SPEAKERS_BACK = "speakers_back"
    AUTO_END = "auto_end"
    RECORDING_PUBLIC = "recording_public"


BY_ITSELF: Final = frozenset({Cause.NOBODY_ARMED, Cause.SPEAKERS_LOST, Cause.STAGE_LOST})
"""Holds that nobody asked for, and that end by themselves when an armed seat is there."""


@dataclass(frozen=True, slots=True)
class Life:
    """Where a Space stands. `present` is the number of armed seats that are connected; times are wall-clock ns."""

    state: State
    cause: Cause
    since_ns: int
    starts_at_ns: int
    resume_at_ns: int | None = None
    first_on_air_ns: int | None = None
    present: int = 0


def begin(spec: Spec, now_ns: int) -> Life:
    """The life of a Space that was just announced."""
    return Life(State.SCHEDULED, Cause.CREATED, now_ns, spec.starts_at_ns)


@dataclass(frozen=True, slots=True)
class Input:
    """An event, and what came with it: `until_ns` for HOLD, `starts_at_ns` for RESCHEDULE, `present` from the stage."""

    event: Event
    until_ns: int | None = None
    starts_at_ns: int | None = None
    present: int | None = None


Guard = Callable[[Life, Spec], bool]


def _always(_life: Life, _spec: Spec) -> bool:
    return True


def _somebody(life: Life, _spec: Spec) -> bool:
    return life.present > 0


def _automatic(_life: Life, spec: Spec) -> bool:
    return spec.start is Start.AUTOMATIC


def _automatic_and_somebody(life: Life, spec: Spec) -> bool:
    return _automatic(life, spec) and _somebody(life, spec)


def _awaits_go(life: Life, spec: Spec) -> bool:
    return spec.start is Start.ON_GO and life.first_on_air_ns is None


def _by_itself(life: Life, spec: Spec) -> bool:
    return life.cause in BY_ITSELF and _somebody(life, spec)


def _never_on_air(life: Life, _spec: Spec) -> bool:
    return life.first_on_air_ns is None


S, E, C = State, Event, Cause
Row = tuple[State, Event, Guard, State, Cause]

TABLE: Final[tuple[Row, ...]] = (
    (S.SCHEDULED, E.DOORS_DUE, _always, S.DOORS_OPEN, C.TIME),
    (S.SCHEDULED, E.RESCHEDULE, _always, S.SCHEDULED, C.HOST),
    (S.SCHEDULED, E.POSTPONE, _always, S.POSTPONED, C.HOST),
    (S.SCHEDULED, E.CANCEL, _always, S.CANCELLED, C.HOST),
    (S.DOORS_OPEN, E.START_DUE, _automatic_and_somebody, S.ON_AIR, C.TIME),
    (S.DOORS_OPEN, E.START_DUE, _automatic, S.HOLDING, C.NOBODY_ARMED),
    (S.DOORS_OPEN, E.START_DUE, _always, S.HOLDING, C.WAITING_FOR_GO),
    (S.DOORS_OPEN, E.GO, _somebody, S.ON_AIR, C.HOST),
    (S.DOORS_OPEN, E.HOLD, _always, S.DOORS_OPEN, C.HOST),
    (S.DOORS_OPEN, E.RESCHEDULE, _always, S.DOORS_OPEN, C.HOST),
    (S.DOORS_OPEN, E.POSTPONE, _always, S.POSTPONED, C.HOST),
    (S.DOORS_OPEN, E.CANCEL, _always, S.CANCELLED, C.HOST),
    (S.DOORS_OPEN, E.END, _always, S.ENDED, C.HOST),
    (S.ON_AIR, E.HOLD, _always, S.HOLDING, C.HOST),
    (S.ON_AIR, E.MUSIC, _always, S.HOLDING, C.HOST),
    (S.ON_AIR, E.LOST, _always, S.HOLDING, C.SPEAKERS_LOST),
    (S.ON_AIR, E.STAGE_LOST, _always, S.HOLDING, C.STAGE_LOST),
    (S.ON_AIR, E.AUTO_END_DUE, _always, S.ENDED, C.AUTO_END),
    (S.ON_AIR, E.END, _always, S.ENDED, C.HOST),
    (S.HOLDING, E.PRESENT, _by_itself, S.ON_AIR, C.SPEAKERS_BACK),
    (S.HOLDING, E.GO, _somebody, S.ON_AIR, C.HOST),
    (S.HOLDING, E.RESUME, _somebody, S.ON_AIR, C.HOST),
    (S.HOLDING, E.RESUME, _awaits_go, S.HOLDING, C.WAITING_FOR_GO),
    (S.HOLDING, E.RESUME, _always, S.HOLDING, C.NOBODY_ARMED),
    (S.HOLDING, E.RESUME_DUE, _awaits_go, S.HOLDING, C.WAITING_FOR_GO),
    (S.HOLDING, E.RESUME_DUE, _somebody, S.ON_AIR, C.TIME),
    (S.HOLDING, E.RESUME_DUE, _always, S.HOLDING, C.NOBODY_ARMED),
    (S.HOLDING, E.HOLD, _always, S.HOLDING, C.HOST),
    (S.HOLDING, E.MUSIC, _always, S.HOLDING, C.HOST),
    (S.HOLDING, E.AUTO_END_DUE, _always, S.ENDED, C.AUTO_END),
    (S.HOLDING, E.POSTPONE, _never_on_air, S.POSTPONED, C.HOST),
    (S.HOLDING, E.CANCEL, _never_on_air, S.CANCELLED, C.HOST),
    (S.HOLDING, E.END, _always, S.ENDED, C.HOST),
    (S.POSTPONED, E.RESCHEDULE, _always, S.SCHEDULED, C.HOST),
    (S.POSTPONED, E.CANCEL, _always, S.CANCELLED, C.HOST),
    (S.ENDED, E.APPROVE, _always, S.REPLAY, C.HOST),
    (S.REPLAY, E.WITHDRAW, _always, S.ENDED, C.HOST),
)


def step(life: Life, given: Input, spec: Spec, now_ns: int) -> Life:
    """The life after `given`; `life` itself, with `present` brought up to date, when nothing moves.

    Raises:
        PeerError: `space.state` when a person asks for what the state does not allow (`given.event` in COMMANDS),
            `space.nobody_armed` when GO finds nobody who may reach air, `space.past` for a start in the past.
    """
    if given.present is not None:
        life = replace(life, present=given.present)
    for state, event, guard, after, cause in TABLE:
        if (state, event) == (life.state, given.event) and guard(life, spec):
            return _settle(replace(life, state=after, cause=cause, since_ns=now_ns), life, given, spec, now_ns)
    if given.event in COMMANDS:
        _refuse(life, given.event)
    return life


def _settle(after: Life, before: Life, given: Input, spec: Spec, now_ns: int) -> Life:
    """Carry over what the row does not say: the times that commands brought, and when the talk first began."""
    resume_at = given.until_ns if given.event is Event.HOLD else None
    after = replace(after, resume_at_ns=resume_at)
    if given.event is Event.HOLD and after.state is State.DOORS_OPEN and given.until_ns is not None:
        after = replace(after, starts_at_ns=given.until_ns, resume_at_ns=None)
    if given.event is Event.RESCHEDULE:
        assert given.starts_at_ns is not None
        check_start(given.starts_at_ns, now_ns)
        after = replace(after, starts_at_ns=given.starts_at_ns)
    if after.state is State.ON_AIR and before.first_on_air_ns is None:
        after = replace(after, first_on_air_ns=now_ns)
    if after.state is State.ENDED and before.state in LIVE:
        after = replace(after, present=0)
        if spec.recording is Recording.PUBLIC and before.first_on_air_ns is not None:
            after = replace(after, state=State.REPLAY, cause=Cause.RECORDING_PUBLIC)
    return after


def _refuse(life: Life, event: Event) -> None:
    if event in (Event.GO, Event.RESUME) and life.state in (State.DOORS_OPEN, State.HOLDING):
        raise PeerError(
            "space.nobody_armed", "Nobody who may reach air is there yet.", "Arm a connected seat, then GO."
        )
    allowed = sorted({e for s, e, *_ in TABLE if s is life.state and e in COMMANDS})
    raise PeerError(
        "space.state",
        f"A Space that is {life.state.replace('_', ' ')} cannot {event}.",
        f"Possible now: {', '.join(allowed)}." if allowed else "Nothing more happens to it.",
    )


def due(life: Life, spec: Spec) -> tuple[int, Event] | None:
    """The next instant (wall-clock ns) at which time itself moves the Space, and the event it brings."""
    match life.state:
        case State.SCHEDULED:
            return life.starts_at_ns - spec.doors_s * SECOND_NS, Event.DOORS_DUE
        case State.DOORS_OPEN:
            return life.starts_at_ns, Event.START_DUE
        case State.HOLDING if life.resume_at_ns is not None:
            return life.resume_at_ns, Event.RESUME_DUE
        case State.HOLDING:
            return life.since_ns + spec.auto_end_s * SECOND_NS, Event.AUTO_END_DUE
        case _:
            return None


def encode(life: Life, given: Event | None, **facts: object) -> bytes:
    """One line of `journal.jsonl`: the event, the life after it, and facts worth keeping beside them."""
    entry = {"v": VERSION, "at": to_rfc3339(life.since_ns), "event": given, **asdict(life), **facts}
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Life:
    """The life that a journal line left. Raises OperatorError `journal.unreadable`."""
    try:
        entry = json.loads(line)
        if entry["v"] != VERSION:
            raise ValueError(f"version {entry['v']}")
        return Life(
            state=State(entry["state"]),
            cause=Cause(entry["cause"]),
            since_ns=int(entry["since_ns"]),
            starts_at_ns=int(entry["starts_at_ns"]),
            resume_at_ns=None if entry["resume_at_ns"] is None else int(entry["resume_at_ns"]),
            first_on_air_ns=None if entry["first_on_air_ns"] is None else int(entry["first_on_air_ns"]),
            present=int(entry["present"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            "journal.unreadable",
            f"A journal.jsonl has a line that cannot be read ({error}).",
            "Keep the file, and remove the line to go on from the one before it.",
        ) from None


def last(journal: bytes) -> Life | None:
    """The life at the end of a journal; a torn last line (no newline) is passed over."""
    whole = journal[: journal.rfind(b"\n") + 1].splitlines()
    return decode(whole[-1]) if whole else None
