"""Whether there is sound to be had now, and what to say to whoever asks for it when there is none."""

from typing import Final

from rostra.audience.http import CROSS_ORIGIN, Response, problem
from rostra.door.verdict import Verdict
from rostra.kernel.units import SECOND_NS
from rostra.space.lifecycle import LIVE, Life, State

RETRY_S_MAX: Final = 60
"""The schedule may change: nobody is sent away for longer."""

UNKNOWN: Final = problem(404, "space.unknown", "There is no such Space.", "Check the link.", headers=CROSS_ORIGIN)
NO_RENDITION: Final = problem(
    404,
    "rendition.unknown",
    "The programme is not encoded like that.",
    "The renditions are listed in state.json.",
    headers=CROSS_ORIGIN,
)
STARTING: Final = problem(
    503,
    "programme.starting",
    "The programme is about to start.",
    "Try again in a second.",
    retry_after_s=1,
    headers=CROSS_ORIGIN,
)


def closed(life: Life, doors_s: int, now_ns: int) -> Response | None:
    """Why a Space in this state has no sound, or None when it has."""
    if life.state in LIVE:
        return None
    if life.state in (State.SCHEDULED, State.POSTPONED):
        until_doors_s = -((now_ns - life.starts_at_ns) // SECOND_NS) - doors_s
        retry_s = RETRY_S_MAX if life.state is State.POSTPONED else max(1, min(RETRY_S_MAX, until_doors_s))
        title = "The doors are not open yet." if life.state is State.SCHEDULED else "This Space has been postponed."
        return problem(
            503,
            f"space.{life.state}",
            title,
            "The same link will work when they are.",
            retry_after_s=retry_s,
            headers=CROSS_ORIGIN,
            state=life.state,
        )
    title = "This Space was cancelled." if life.state is State.CANCELLED else "This Space has ended."
    return problem(410, f"space.{life.state}", title, headers=CROSS_ORIGIN, state=life.state)


def turned_away(verdict: Verdict) -> Response:
    """What the door's verdict says to whoever may not come in now."""
    return problem(
        503,
        f"door.{verdict.reason}",
        "You cannot come in now.",
        "Your player will try again.",
        retry_after_s=verdict.retry_after_s,
        headers=CROSS_ORIGIN,
        decision=verdict.decision,
    )
