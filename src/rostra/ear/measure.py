"""The figures of one listening (DESIGN 15, `listen`), from what was observed.

Definitions. Times of day are wall-clock nanoseconds; `prft` of a fragment is the time its first sample was mixed.

- *First audio*: from the moment the connection was begun to the moment the first sample was decoded.
- *Delay* of a fragment: the arrival of its last byte, less its `prft`. From then on its first sample can be played, for
  a player takes fragments whole; a player that starts then and never waits plays all of it with that delay. The first
  fragment of each connection is left out: it was waiting for whoever joined, and its age says when that was.
- *Gap*: media time that was never received, between the first fragment and the last. A notice that says so does not
  bring the sound back, so it is a gap all the same; a fragment the programme filled with music is none.
- *Silence*: two seconds in which the momentary loudness (400 ms, BS.1770) never reaches -60 LUFS; or the integrated
  loudness of everything is below that.
- *Ended*: the server ended the programme, in so many words; false when the connection broke, or listening stopped.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import MS_NS
from rostra.media.loudness import ABSOLUTE_GATE_LUFS, STEP_SAMPLES, Meter

Samples = npt.NDArray[np.float32]

SILENCE_LUFS: Final = -60.0
SILENCE_STEPS: Final = 20
"""Two seconds, in steps of 100 ms: a breath and a thought, but not a host who has walked away."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `rostra listen` says. What cannot be known is None.

    `loudness_lufs` is integrated over all that was heard; -70, the gate, stands for anything below it.
    """

    surface: str
    first_audio_ms: float | None
    fragments: int
    gaps: int
    gap_ms_total: float
    delay_ms_p50: float | None
    delay_ms_p99: float | None
    loudness_lufs: float | None
    ended: bool
    # not in the JSON
    delay_ms_p95: float | None = None
    silence_ms_max: float = 0.0
    fault: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields that scripts read (DESIGN 15)."""
        return {name: value for name, value in asdict(self).items() if name not in _UNPRINTED}

    @property
    def faults(self) -> list[str]:
        """Sentences that say what does not hold; none when all is well."""
        said = [self.fault] if self.fault else []
        if self.gaps:
            said.append(f"{self.gaps} {'gap' if self.gaps == 1 else 'gaps'}, {self.gap_ms_total:.0f} ms in all.")
        if self.loudness_lufs is None:
            said.append("Nothing was heard.")
        elif self.silence_ms_max:
            said.append(f"Silence for {self.silence_ms_max / 1000:.1f} s.")
        return said

    @property
    def holds(self) -> bool:
        """Whether all of it was heard, and there was something to hear."""
        return not self.faults

    def in_words(self) -> str:
        """The report for a person."""
        parts = [
            f"{self.fragments} fragments",
            _ms("first audio after", self.first_audio_ms),
            _ms("delay p50", self.delay_ms_p50),
            _ms("p99", self.delay_ms_p99),
            "" if self.loudness_lufs is None else f"{self.loudness_lufs:.1f} LUFS",
            "ended" if self.ended else "",
        ]
        return "\n".join((", ".join(filter(None, parts)) + ".", *self.faults))


_UNPRINTED: Final = frozenset({"delay_ms_p95", "silence_ms_max", "fault"})


def _ms(name: str, value: float | None) -> str:
    return "" if value is None else f"{name} {value:.0f} ms"


class Listening:
    """Observations of one listening, in the order they were made."""

    def __init__(self, surface: str) -> None:
        self.surface = surface
        self.connections = 0
        self.fragments = 0
        self.repeats = 0
        self.gaps = 0
        self.gap_ms = 0.0
        self.delays_ms: list[float] = []
        self.first_audio_ms: float | None = None
        self.notices: list[dict[str, Any]] = []
        self._began_ns = 0
        self._next: int | None = None
        self._fresh = False
        self._loudness = Loudness()

    def connected(self, began_mono_ns: int) -> None:
        """A connection stands; it was begun at `began_mono_ns`."""
        self.connections += 1
        self._fresh = True
        if self.connections == 1:
            self._began_ns = began_mono_ns

    def fragment(self, time: int, duration: int, timescale: int, mixed_ns: int | None, arrived_ns: int) -> int | None:
        """A fragment came: where and how long it is, when it was mixed and when its last byte came (wall clock).

        Returns the media time that is missing before it, in `timescale` units, usually 0; None when its sound (or a
        part of it) was received before, so that it must not be heard again.
        """
        joined, self._fresh = self._fresh, False
        missing = 0 if self._next is None else time - self._next
        if missing < 0:
            self.repeats += 1
            return None
        if missing:
            self.gaps += 1
            self.gap_ms += missing * 1000 / timescale
        self.fragments += 1
        self._next = time + duration
        if mixed_ns is not None and not joined:
            self.delays_ms.append((arrived_ns - mixed_ns) / MS_NS)
        return missing

    def heard(self, samples: Samples, mono_ns: int) -> None:
        """Samples were decoded, by `mono_ns`."""
        if self.first_audio_ms is None and len(samples):
            self.first_audio_ms = (mono_ns - self._began_ns) / MS_NS
        self._loudness.feed(samples)

    @property
    def loudness_momentary(self) -> float:
        """LUFS over the last 400 ms; -inf for silence."""
        return self._loudness.momentary()

    def report(self, *, ended: bool, fault: str = "") -> Report:
        p50, p95, p99 = percentiles(self.delays_ms)
        return Report(
            surface=self.surface,
            first_audio_ms=_rounded(self.first_audio_ms),
            fragments=self.fragments,
            gaps=self.gaps,
            gap_ms_total=round(self.gap_ms, 1),
            delay_ms_p50=_rounded(p50),
            delay_ms_p99=_rounded(p99),
            loudness_lufs=_rounded(self._loudness.integrated()),
            ended=ended,
            delay_ms_p95=_rounded(p95),
            silence_ms_max=self._loudness.silence_ms_max,
            fault=fault,
        )


class Loudness:
    """Integrated loudness, and the longest silence on the way."""

    def __init__(self) -> None:
        self._meter = Meter()
        self._rest: Samples = np.zeros(0, np.float32)
        self._quiet_steps = 0
        self._quiet_steps_max = 0
        self._samples = 0

    def feed(self, samples: Samples) -> None:
        """The next samples, shape (n,)."""
        pending = np.concatenate((self._rest, samples))
        whole = len(pending) - len(pending) % STEP_SAMPLES
        for start in range(0, whole, STEP_SAMPLES):
            self._meter.feed(pending[start : start + STEP_SAMPLES])
            self._quiet_steps = self._quiet_steps + 1 if self._meter.momentary() < SILENCE_LUFS else 0
            self._quiet_steps_max = max(self._quiet_steps_max, self._quiet_steps)
        self._rest = pending[whole:]
        self._samples += len(samples)

    def momentary(self) -> float:
        return self._meter.momentary()

    @property
    def silence_ms_max(self) -> float:
        """The longest silence, if it lasted 2 s or if the whole is that quiet; 0 otherwise."""
        silent = self._quiet_steps_max >= SILENCE_STEPS or self._meter.integrated() < SILENCE_LUFS
        return self._quiet_steps_max * 100.0 if silent else 0.0

    def integrated(self) -> float | None:
        """LUFS, no less than the gate; None before there was any sound to measure."""
        return max(self._meter.integrated(), ABSOLUTE_GATE_LUFS) if self._samples else None


def percentiles(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """The 50th, 95th and 99th percentile; None of nothing."""
    if not values:
        return None, None, None
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
