"""The units of the programme: samples, frames, fragments.

Everything is counted at 48 kHz. A *frame* is 20 ms of PCM; a *fragment* is 0.64 s, the shortest multiple of 0.32 s
(where 960-sample Opus frames and 1,024-sample AAC frames meet) that keeps the per-fragment overhead under 10 %.
"""

from typing import Final

SAMPLE_RATE: Final = 48_000
FRAME_SAMPLES: Final = 960
FRAME_NS: Final = 20_000_000
FRAGMENT_SAMPLES: Final = 30_720
FRAGMENT_FRAMES: Final = FRAGMENT_SAMPLES // FRAME_SAMPLES
FRAGMENT_NS: Final = FRAGMENT_FRAMES * FRAME_NS

SECOND_NS: Final = 1_000_000_000
MS_NS: Final = 1_000_000


def samples_to_ns(samples: int) -> int:
    """Nanoseconds at the start of sample number `samples`, rounded down."""
    return samples * SECOND_NS // SAMPLE_RATE


def ns_to_samples(ns: int) -> int:
    """The sample that is sounding `ns` nanoseconds into a timeline, rounded down."""
    return ns * SAMPLE_RATE // SECOND_NS
