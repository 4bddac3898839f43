"""The encoders on the grid: packet k decodes to exactly its samples, from the first one on."""

from dataclasses import replace

import numpy as np
import pytest

from rostra.kernel.errors import OperatorError
from rostra.kernel.shared.index import Flag
from rostra.kernel.units import FRAGMENT_SAMPLES, FRAME_SAMPLES
from rostra.log.index import Sealed
from rostra.media.fragment import init_segment
from rostra.programme.io.libav import Encoder, Samples
from rostra.programme.renditions import ENCODINGS, WARM_SAMPLES, Encoding
from rostra.programme.writer import Packager
from support.programme import decode, lag, likeness

FRAGMENTS = 5
EACH = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.codec.name)


def voice(samples: int) -> Samples:
    """Noise coloured like speech, swelling at a syllable's rate: nothing in it repeats."""
    chance = np.random.default_rng(3)
    spectrum = np.fft.rfft(chance.normal(0, 1, samples))
    hertz = np.fft.rfftfreq(samples, 1 / 48_000)
    coloured = np.fft.irfft(spectrum * (hertz > 100) / (1 + (hertz / 300) ** 2), samples)
    coloured *= 1 + 0.8 * np.sin(2 * np.pi * 4 * np.arange(samples) / 48_000)
    return np.asarray(0.5 * coloured / np.abs(coloured).max(), np.float32)


def session(encoding: Encoding, pcm: Samples, warm: Samples) -> list[Sealed]:
    """The fragments of one encoder session that is fed `pcm` by the frame."""
    codec = encoding.codec
    encoder, packager = Encoder(encoding, warm), Packager({codec.name: 0}, [codec])
    sealed = []
    for at in range(0, len(pcm), FRAME_SAMPLES):
        packager.frame(at // FRAME_SAMPLES, Flag.HOLD, 0)
        sealed += [packager.packet(codec.name, packet) for packet in encoder.feed(pcm[at : at + FRAME_SAMPLES])]
    return [fragment for fragment in sealed if fragment]


@EACH
def test_the_source_is_decoded_at_its_own_place(encoding: Encoding):
    whole = voice(WARM_SAMPLES + FRAGMENT_SAMPLES * (FRAGMENTS + 1))
    pcm = whole[WARM_SAMPLES:]
    sealed = session(encoding, pcm, whole[:WARM_SAMPLES])
    assert [fragment.number for fragment in sealed] == list(range(FRAGMENTS))
    heard = decode(init_segment(encoding.codec) + b"".join(fragment.data for fragment in sealed))
    assert len(heard) == FRAGMENTS * FRAGMENT_SAMPLES
    source = pcm[: len(heard)]
    assert lag(heard, source) == 0
    assert likeness(heard, source) == pytest.approx(1, abs=0.05)
    for start in range(2 * FRAGMENT_SAMPLES // 5, len(heard) - 9600, 9600):  # everywhere, not only on the whole
        assert lag(heard[start : start + 9600], source[start : start + 9600]) == 0


@EACH
def test_a_fragment_is_whole_within_five_frames_of_its_last(encoding: Encoding):
    """Encoders hold back what they look ahead to; a tenth of a second is all that may cost."""
    pcm = voice(FRAGMENT_SAMPLES + 5 * FRAME_SAMPLES)
    assert len(session(encoding, pcm, np.zeros(WARM_SAMPLES, np.float32))) == 1


@EACH
def test_an_encoder_that_pads_otherwise_is_refused(encoding: Encoding):
    other = replace(encoding, padding_samples=encoding.padding_samples + 1)
    with pytest.raises(OperatorError, match="begins at sample"):
        Encoder(other, np.zeros(WARM_SAMPLES, np.float32))


def test_an_encoder_that_is_not_there_is_said_plainly():
    with pytest.raises(OperatorError, match="PyAV was built without"):
        Encoder(replace(ENCODINGS[0], encoder="libnothing"), np.zeros(WARM_SAMPLES, np.float32))
