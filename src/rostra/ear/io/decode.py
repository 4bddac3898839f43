"""Packets to samples, through libav: mono float32 at 48 kHz, whatever the stream is."""

import struct
from collections.abc import Iterable
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from rostra.ear.parse import Init
from rostra.kernel.errors import PeerError
from rostra.kernel.units import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

_NAMES: Final = {"opus": "libopus"}


class Decoder:
    """One track's decoder. Packets must follow each other; make a new one behind a hole.

    Nothing is trimmed: a track's pre-skip is left in, so that sample k of the result is sample k of the media time.
    """

    def __init__(self, init: Init) -> None:
        context = av.CodecContext.create(_NAMES.get(init.codec, "aac"), "r")
        assert isinstance(context, AudioCodecContext)
        context.extradata = _opus_head(init) if init.codec == "opus" else init.config
        self._context = context
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)

    def decode(self, packets: Iterable[bytes]) -> Samples:
        """The samples of `packets`, in order, shape (n,). Raises PeerError `media.undecodable`."""
        try:
            parts = [self._mono(frame) for data in packets for frame in self._context.decode(av.Packet(data))]
        except av.FFmpegError as error:
            raise PeerError(
                "media.undecodable", f"The sound cannot be decoded: {error.strerror}.", "Report it to the operator."
            ) from None
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _mono(self, frame: AudioFrame) -> Samples:
        """The mean of a frame's channels. Only other rates meet the resampler: it holds samples back."""
        if frame.sample_rate == SAMPLE_RATE:
            return _mean(frame)
        frame.pts = None
        parts = [_mean(part) for part in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _mean(frame: AudioFrame) -> Samples:
    channels = len(frame.layout.channels)
    rows = frame.to_ndarray()  # planar: a row a channel; packed: one row, interleaved
    if not frame.format.is_planar:
        rows = rows.reshape(-1, channels).T
    mean: Samples = rows.astype(np.float32).mean(axis=0)
    return mean / np.float32(32_768) if frame.format.name.startswith("s16") else mean


def _opus_head(init: Init) -> bytes:
    """The Ogg header that libav wants (RFC 7845, 5.1): the fields of `dOps`, little-endian, and no pre-skip."""
    _version, channels, _pre_skip, rate, gain, family = struct.unpack_from(">BBHIhB", init.config)
    return b"OpusHead" + struct.pack("<BBHIhB", 1, channels, 0, rate, gain, family) + init.config[11:]
