"""How each rendition is encoded, and how its packets are brought onto the grid.

An encoder answers late: what it gives first decodes to *padding* that was never programme. Packet k of a rendition must
decode to exactly the samples [k·n, (k+1)·n) of the timeline (`rostra.media.codec`), so of a padding of P samples the
whole packets are thrown away, and the rest is made up for by beginning P % n samples into what is fed: the encoder is
then ahead by just as much as it is behind.

A new encoder is also warmed with 0.32 s of what sounded before: it has learnt the sound when its first packet counts.
"""

from dataclasses import dataclass, field
from typing import Final

from rostra.media.codec import AAC, CODECS, OPUS, Codec

WARM_SAMPLES: Final = 15_360
"""The shortest stretch that is whole packets of both codecs."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """libav's encoder for a codec: its name, sample format (for mono `flt` and `fltp` are one), padding and options."""

    codec: Codec
    encoder: str
    sample_format: str
    padding_samples: int
    options: dict[str, str] = field(default_factory=dict)

    @property
    def skip_samples(self) -> int:
        """How much of what is fed first is left out, so that packets begin on the grid."""
        return self.padding_samples % self.codec.packet_samples

    @property
    def skip_packets(self) -> int:
        """How many packets come before the first that counts, the warm-up's included."""
        return (self.padding_samples + WARM_SAMPLES) // self.codec.packet_samples


_TABLE: Final = {
    # `audio` keeps music and several voices; 20 ms is the packet the grid is made of.
    OPUS: Encoding(OPUS, "libopus", "flt", 312, {"application": "audio", "frame_duration": "20", "vbr": "on"}),
    # The default coder, twoloop, adds errors as loud as -20 dB to tones, at twice the work.
    AAC: Encoding(AAC, "aac", "fltp", 1024, {"aac_coder": "fast"}),
}

ENCODINGS: Final = tuple(_TABLE[codec] for codec in CODECS)
