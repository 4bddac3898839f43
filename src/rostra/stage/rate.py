"""What a speaker is sent: how many bits, and how many of them as FEC, by what their receiver reports say.

FEC (RFC 6716 section 2.1.7) is a coarse copy of the frame before, in every packet: it costs bits, and pays when packets
are lost one by one. So the encoder is told the loss to prepare for, in steps; bits are added where the copy would take
them from the frame itself. Loss together with a growing round trip means something else, a queue that we fill: then
bits are taken away, and only then.

Worse news is believed at once, better news when it has lasted (`CALM_NS`): one good report says little. Reports are the
peer's word; whatever they say, the outcome is one of the few plans here. aiortc negotiates neither transport-wide
feedback nor REMB for audio, so reports are all there is.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rostra.kernel.units import SECOND_NS
from rostra.stage.network import Report

CALM_NS: Final = 15 * SECOND_NS
"""Three reports of a browser: how long news must have been better before less is done."""

BASE_NS: Final = 60 * SECOND_NS
"""The round trip of an empty queue is the least of so long."""

REPORTS_MAX: Final = 64
"""Kept at most: one a second in a minute; who sends more is remembered for less long."""

QUEUE_MS: Final = 150.0
DRAINED_MS: Final = 75.0
"""How much the round trip grows when a queue has built up, and what it shrinks to when it has gone."""

QUEUE_LOSS: Final = 0.02
"""Without loss a queue does no harm that fewer bits would mend: a phone's radio delays like that."""


class Reason(StrEnum):
    CLEAR = "clear"
    LOSS = "loss"
    CONGESTION = "congestion"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the encoder is set to."""

    kbit_s: int
    loss_percent: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Step:
    """`plan` is for a loss above `above`, and is left when the loss has been under `below`; both of 1."""

    above: float
    below: float
    plan: Plan


STEPS: Final = (
    Step(0.0, 0.0, Plan(32, 10, Reason.CLEAR)),
    Step(0.02, 0.01, Plan(36, 15, Reason.LOSS)),
    Step(0.07, 0.04, Plan(40, 20, Reason.LOSS)),
    Step(0.15, 0.10, Plan(40, 30, Reason.LOSS)),
)
"""Measured on a voice (libopus 1.6): a lost frame that is rebuilt differs from what was sent by 8 % of its energy with
the first plan and by 4 % with the last, a concealed one by 75 %. At 32 kbit/s, told to expect 5 % of loss or less,
libopus sends no FEC at all; so the first plan says 10 %, for the first loss comes before the first report."""

CONGESTED: Final = Plan(24, 20, Reason.CONGESTION)
"""The least at which speech with FEC stays wideband (at 20 kbit/s it falls to 6 kHz). Headers make it 48 of 56."""


class Rate:
    """One connection's plan. It begins without news, as if all were well."""

    def __init__(self) -> None:
        self._step = 0
        self._congested = False
        self._past: deque[tuple[int, Report]] = deque(maxlen=REPORTS_MAX)

    @property
    def plan(self) -> Plan:
        return CONGESTED if self._congested else STEPS[self._step].plan

    def report(self, report: Report, now_ns: int) -> Plan:
        """The plan after one more report."""
        self._past.append((now_ns, report))
        while self._past[0][0] < now_ns - BASE_NS:
            self._past.popleft()
        recent = [past for at, past in self._past if at > now_ns - CALM_NS]
        lasted = now_ns - self._past[0][0] >= CALM_NS
        self._step = _step(self._step, report.loss, max(past.loss for past in recent) if lasted else 1.0)
        self._congested = self._queued(report, recent, lasted=lasted)
        return self.plan

    def _queued(self, report: Report, recent: list[Report], *, lasted: bool) -> bool:
        base_ms = min(_trips(past for _, past in self._past), default=0.0)
        grown_ms = max(_trips(recent), default=0.0) - base_ms
        if self._congested:
            return not (lasted and grown_ms < DRAINED_MS)
        return report.loss >= QUEUE_LOSS and report.rtt_ms is not None and report.rtt_ms - base_ms > QUEUE_MS


def _step(step: int, loss: float, worst: float) -> int:
    """Up to what `loss` asks for at once; down one at a time, when the `worst` of the last seconds is less than it."""
    asked = max(at for at, each in enumerate(STEPS) if at == 0 or loss > each.above)
    if asked > step:
        return asked
    return step - 1 if step and worst < STEPS[step].below else step


def _trips(reports: Iterable[Report]) -> list[float]:
    return [report.rtt_ms for report in reports if report.rtt_ms is not None]
