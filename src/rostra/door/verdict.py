"""The door's answer to one arrival. Every join asks `decide`, and does what it says."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Decision(StrEnum):
    ADMIT = "admit"
    WAIT = "wait"
    CHALLENGE = "challenge"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an arrival. `reason` is a stable code; `retry_after_s` says when to come back, where it helps."""

    decision: Decision
    reason: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody who asks for sound, and how many listeners this worker has already."""

    space: str
    listeners: int


OPEN: Final = Verdict(Decision.ADMIT, "open")


def decide(_arrival: Arrival) -> Verdict:
    """The verdict on an arrival. No limit is set: whoever the kernel lets in is admitted."""
    return OPEN
