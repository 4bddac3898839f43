"""A guest's test as a verdict: from what was measured to one word and what to do about it.

The table `SCALES` is all there is to it: each row measures one thing on a scale with two marks. From `usable` on
listeners notice; from `poor` on they mind, or do not understand. What makes a talk impossible (no microphone, no
connection, nothing heard) is `failed`. The verdict is the worst of them; the advice, a code for each, worst first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """From best to worst."""

    GOOD = "good"
    USABLE = "usable"
    POOR = "poor"
    FAILED = "failed"


class Microphone(StrEnum):
    """What became of asking for a microphone."""

    OPEN = "open"
    DENIED = "denied"
    NONE = "none"
    BUSY = "busy"
    INSECURE = "insecure"
    FAILED = "failed"


class Way(StrEnum):
    """How the connection was made: straight over UDP, through a relay (TURN), or not at all."""

    UDP = "udp"
    RELAY = "relay"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that is known about a guest; None is not known.

    Levels in dBFS (RMS). `clipped` and the losses are shares, 0 to 1: `loss_in` of what the guest sends, `loss_out` of
    what they are sent. `echo_db` is what the microphone returned of the loudspeaker's chirp, -100 when it was not
    found. `relay` tells whether the relay was reached, None where there is none.
    """

    microphone: Microphone = Microphone.OPEN
    way: Way | None = None
    relay: bool | None = None
    echo_db: float | None = None
    rtt_ms: float | None = None
    loss_in: float | None = None
    loss_out: float | None = None
    jitter_ms: float | None = None
    level_db: float | None = None
    noise_db: float | None = None
    clipped: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict, and the codes of what to do, worst first."""

    verdict: Verdict
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """What is measured (`of`; None: not known), rising as it gets worse, and from where on it matters."""

    advice: str
    of: Callable[[Measured], float | None]
    usable: float
    poor: float


def _softness_db(measured: Measured) -> float | None:
    return None if measured.level_db is None else -measured.level_db


def _noise_db(measured: Measured) -> float | None:
    """The noise against the voice."""
    known = measured.level_db is not None and measured.noise_db is not None
    return measured.noise_db - measured.level_db if known else None  # type: ignore[operator]


def _echo_db(measured: Measured) -> float | None:
    """The echo against the voice; the chirp is about as loud as a voice is played."""
    known = measured.level_db is not None and measured.echo_db is not None
    return measured.echo_db - measured.level_db if known else None  # type: ignore[operator]


def _loss(measured: Measured) -> float | None:
    return max((loss for loss in (measured.loss_in, measured.loss_out) if loss is not None), default=None)


SCALES: Final = (
    # Under -42 dBFS the stage does not take a voice for speech (stage/levels.py); 8 dB above, one that turns away is.
    Scale("level_low", _softness_db, usable=34, poor=42),
    # Speech peaks 12 dB above its RMS: from -12 dBFS on its peaks are cut off, from -6 it is cut off most of the time.
    Scale("level_high", lambda measured: measured.level_db, usable=-12, poor=-6),
    # One frame in fifty is a crackle now and then; one in five is a voice that sounds broken.
    Scale("clipping", lambda measured: measured.clipped, usable=0.02, poor=0.2),
    # 20 dB between voice and noise is an office, and heard as noise in the pauses; under 10 dB words drown.
    Scale("noise", _noise_db, usable=-20, poor=-10),
    # Others hear their own words come back after 0.3 s: 25 dB under a voice everyone does, from 40 dB on hardly anyone
    # (ITU-T G.131 asks for more, for telephones at the ear).
    Scale("echo", _echo_db, usable=-40, poor=-25),
    # These three as the stage's roster judges a seat, so that nobody is told two things. Up to 2 % FEC leaves nothing
    # to hear; above 8 % packets that follow each other are lost, and syllables with them.
    Scale("loss", _loss, usable=0.02, poor=0.08),
    # With the buffers of both ends 150 and 400 ms one way: ITU-T G.114's limits for ease and for use.
    Scale("delay", lambda measured: measured.rtt_ms, usable=250, poor=600),
    # The jitter buffer must hold some three times as much: 90 ms pass unnoticed, a quarter of a second does not.
    Scale("jitter", lambda measured: measured.jitter_ms, usable=30, poor=80),
)

MICROPHONE: Final = {
    Microphone.DENIED: "microphone_denied",
    Microphone.NONE: "microphone_none",
    Microphone.BUSY: "microphone_busy",
    Microphone.INSECURE: "microphone_insecure",
    Microphone.FAILED: "microphone_failed",
}

ADVICE: Final = (
    *MICROPHONE.values(),
    "connection_none",
    "nothing_heard",
    "relay_only",
    "relay_unreachable",
    *(scale.advice for scale in SCALES),
)
"""Every code that there is. Pages have words for each."""

_ORDER: Final = tuple(Verdict)


def judge(measured: Measured) -> Judged:
    """The verdict on `measured`."""
    if fatal := _fatal(measured):
        return Judged(Verdict.FAILED, (fatal,))
    found = [*_connection(measured), *_scaled(measured)]
    found.sort(key=lambda each: -_ORDER.index(each[0]))  # stable: among equals the table's order
    return Judged(found[0][0] if found else Verdict.GOOD, tuple(code for _, code in found))


def _fatal(measured: Measured) -> str:
    """What makes a talk impossible; the first cause, for the others follow from it."""
    if measured.microphone in MICROPHONE:
        return MICROPHONE[measured.microphone]
    if measured.way in (None, Way.NONE):
        return "connection_none"
    return "nothing_heard" if measured.level_db is None else ""


def _connection(measured: Measured) -> list[tuple[Verdict, str]]:
    """A relay adds a hop and a machine that can fail; one that cannot be reached is missed only when the way breaks."""
    if measured.way is Way.RELAY:
        return [(Verdict.USABLE, "relay_only")]
    return [(Verdict.GOOD, "relay_unreachable")] if measured.relay is False else []


def _scaled(measured: Measured) -> list[tuple[Verdict, str]]:
    return [(grade, code) for code, grade in grades(measured).items() if grade is not Verdict.GOOD]


def grades(measured: Measured) -> dict[str, Verdict]:
    """Each scale's own grade, by its code, in the table's order; what is not known has none."""
    found = {}
    for scale in SCALES:
        value = scale.of(measured)
        if value is not None:
            bad = Verdict.POOR if value >= scale.poor else Verdict.USABLE
            found[scale.advice] = bad if value >= scale.usable else Verdict.GOOD
    return found
