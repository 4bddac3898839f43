"""The encoders: libav through PyAV, brought onto the grid by `rostra.programme.renditions`."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from rostra.kernel.errors import OperatorError
from rostra.kernel.units import SAMPLE_RATE
from rostra.programme.renditions import WARM_SAMPLES, Encoding

Samples = npt.NDArray[np.float32]


class Encoder:
    """One rendition's encoder. What is fed first becomes the packet that decodes to it, to the sample.

    `warm` is what sounded before, shape (WARM_SAMPLES,). Raises OperatorError `codec.missing` when libav has no such
    encoder, `codec.padding` when it pads otherwise than the table says (a sample off is a grid off).
    """

    def __init__(self, encoding: Encoding, warm: Samples) -> None:
        assert len(warm) == WARM_SAMPLES
        self._encoding = encoding
        self._session = _open(encoding)
        self._rest: Samples = np.zeros(0, np.float32)
        self._fed = 0
        self._to_skip = encoding.skip_packets
        self._checked = False
        self._early = list(self.feed(warm[encoding.skip_samples :]))
        assert not self._early

    def feed(self, pcm: Samples) -> Iterator[bytes]:
        """Encode `pcm` of shape (n,), any n; yields the packets that are whole now."""
        pending = np.concatenate((self._rest, pcm))
        step = self._encoding.codec.packet_samples
        whole = len(pending) // step * step
        self._rest = pending[whole:]
        for at in range(0, whole, step):
            yield from self._encode(pending[None, at : at + step])

    def _encode(self, pcm: Samples) -> Iterator[bytes]:
        frame = av.AudioFrame.from_ndarray(pcm, self._encoding.sample_format, "mono")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = self._fed
        self._fed += pcm.shape[1]
        for packet in self._session.encode(frame):
            self._check(packet.pts)
            if self._to_skip:
                self._to_skip -= 1
            else:
                yield bytes(packet)

    def _check(self, first_pts: int | None) -> None:
        if not self._checked and first_pts != -self._encoding.padding_samples:
            raise OperatorError(
                "codec.padding",
                f"The {self._encoding.codec.name} encoder begins at sample {first_pts},"
                f" not {-self._encoding.padding_samples}.",
                "Install the version of PyAV that Rostra's lock names.",
            )
        self._checked = True


def _open(encoding: Encoding) -> av.AudioCodecContext:
    try:
        session = av.CodecContext.create(encoding.encoder, "w")
    except ValueError:  # UnknownCodecError
        raise OperatorError(
            "codec.missing",
            f"PyAV was built without {encoding.encoder}.",
            "Install PyAV from its wheel: it brings its own libav.",
        ) from None
    assert isinstance(session, av.AudioCodecContext)
    session.sample_rate = SAMPLE_RATE
    session.layout = "mono"
    session.format = encoding.sample_format
    session.bit_rate = encoding.codec.kbit_s * 1000
    session.time_base = Fraction(1, SAMPLE_RATE)
    session.options = dict(encoding.options)
    session.open()
    return session
