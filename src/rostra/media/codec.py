"""The renditions' codecs, and the grid on which their packets meet (DESIGN 7).

Opus packets hold 960 samples, AAC packets 1,024; they meet every 15,360 samples. A fragment is twice that: 32 Opus or
30 AAC packets. Packet k of a rendition decodes to exactly the samples [k·packet_samples, (k+1)·packet_samples) of the
timeline: encoders' priming is dropped before packets get here, so media time needs no edit list.
"""

from dataclasses import dataclass
from typing import Final

from rostra.kernel.units import FRAGMENT_SAMPLES


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoding of the programme: mono, 48 kHz. `name` is also the rendition's and its folder's."""

    name: str
    mime: str
    kbit_s: int
    packet_samples: int
    packets_per_fragment: int

    def __post_init__(self) -> None:
        assert self.packet_samples * self.packets_per_fragment == FRAGMENT_SAMPLES

    def first_packet(self, number: int) -> int:
        """The packet that fragment `number` begins with, counted from the anchor."""
        return number * self.packets_per_fragment


OPUS: Final = Codec("opus", 'audio/mp4; codecs="opus"', 32, 960, 32)
AAC: Final = Codec("aac", 'audio/mp4; codecs="mp4a.40.2"', 64, 1024, 30)

CODECS: Final = (OPUS, AAC)
BY_NAME: Final = {codec.name: codec for codec in CODECS}


def media_time(number: int) -> int:
    """The first sample of fragment `number`: its `tfdt`, in every rendition."""
    return number * FRAGMENT_SAMPLES
