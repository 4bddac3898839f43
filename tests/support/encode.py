"""Encoders for tests of everything behind the encoders: packets that decode onto the grid (`rostra.media.codec`)."""

from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from rostra.media.codec import OPUS, Codec

OPUS_LOOKAHEAD = 312


def tone(samples: int, hertz: float = 440.0, start: int = 0) -> npt.NDArray[np.float32]:
    """A sine whose phase is a matter of its place on the timeline."""
    at = np.arange(start, start + samples)
    return (0.3 * np.sin(2 * np.pi * hertz * at / 48_000)).astype(np.float32)


def encode(codec: Codec, pcm: npt.NDArray[np.float32]) -> list[bytes]:
    """The packets of one encoder session; packet k decodes to pcm[k·packet_samples:]. Whole packets only."""
    session = av.CodecContext.create("libopus" if codec is OPUS else "aac", "w")
    assert isinstance(session, av.AudioCodecContext)
    session.sample_rate = 48_000
    session.layout = "mono"
    session.format = "flt" if codec is OPUS else "fltp"
    session.bit_rate = codec.kbit_s * 1000
    if codec is not OPUS:
        session.options = {"aac_coder": "fast"}  # the default, twoloop, adds errors of its own as loud as the tone
    session.time_base = Fraction(1, 48_000)
    session.open()
    count = len(pcm) // codec.packet_samples
    ahead = pcm[OPUS_LOOKAHEAD:] if codec is OPUS else pcm
    fed = np.pad(ahead, (0, 4 * codec.packet_samples))
    packets = []
    for at in range(0, len(fed) - codec.packet_samples + 1, codec.packet_samples):
        frame = av.AudioFrame.from_ndarray(fed[None, at : at + codec.packet_samples], session.format.name, "mono")
        frame.sample_rate = 48_000
        frame.pts = at
        packets += [bytes(packet) for packet in session.encode(frame)]
    primed = packets if codec is OPUS else packets[1:]
    return primed[:count]
