"""libopus through ctypes: decoding with FEC and concealment, encoding with in-band FEC (RFC 6716, opus_defines.h).

PyAV's wheel brings a libopus of its own; where PyAV was built on the system's, that one is taken. PyAV's own interface
to it offers neither FEC nor concealment.
"""

import ctypes
import ctypes.util
from functools import cache
from pathlib import Path
from typing import Final

import av
import numpy as np

from rostra.kernel.errors import OperatorError, PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.stage.jitter import PACKET_SAMPLES_MAX

KBIT_S: Final = 32
LOSS_PERCENT: Final = 10
"""What the encoder prepares for: how many of its bits go into FEC. `rostra.stage.rate` says what when."""

COMPLEXITY: Final = 5
"""Of 10. Measured on speech, 10 takes twice the time of 5 and nobody hears it."""

_PACKET_BYTES_MAX: Final = 1275
_APPLICATION_VOIP: Final = 2048
_SET_BITRATE: Final = 4002
_SET_COMPLEXITY: Final = 4010
_SET_INBAND_FEC: Final = 4012
_SET_PACKET_LOSS_PERCENT: Final = 4014
_RESET_STATE: Final = 4028
_SET_PREDICTION_DISABLED: Final = 4046
_OK: Final = 0


def _candidates() -> list[str]:
    bundled = sorted((Path(av.__file__).parent.parent / "av.libs").glob("libopus-*.so*"))
    found = ctypes.util.find_library("opus") if not bundled else None
    return [*map(str, bundled), *([found] if found else [])]


@cache
def library() -> ctypes.CDLL:
    """The library, its functions declared. Raises OperatorError `opus.missing`."""
    for name in _candidates():
        try:
            return _declare(ctypes.CDLL(name))
        except OSError:
            continue
    raise OperatorError(
        "opus.missing", "libopus cannot be loaded.", "Install PyAV from its wheel, or the system's libopus (libopus0)."
    )


def _declare(opus: ctypes.CDLL) -> ctypes.CDLL:
    state, size, number = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int
    error = ctypes.POINTER(ctypes.c_int)
    opus.opus_decoder_create.argtypes, opus.opus_decoder_create.restype = [size, number, error], state
    opus.opus_encoder_create.argtypes, opus.opus_encoder_create.restype = [size, number, number, error], state
    opus.opus_decode_float.argtypes = [state, ctypes.c_char_p, size, ctypes.c_void_p, number, number]
    opus.opus_encode_float.argtypes = [state, ctypes.c_void_p, number, ctypes.c_void_p, size]
    opus.opus_decoder_destroy.argtypes = opus.opus_encoder_destroy.argtypes = [state]
    opus.opus_decoder_destroy.restype = opus.opus_encoder_destroy.restype = None
    opus.opus_strerror.argtypes, opus.opus_strerror.restype = [number], ctypes.c_char_p
    return opus


class Decoder:
    """A mono decoder at 48 kHz. Every method returns float32 samples, full scale ±1."""

    def __init__(self) -> None:
        self._opus = library()
        error = ctypes.c_int()
        self._state = self._opus.opus_decoder_create(SAMPLE_RATE, 1, ctypes.byref(error))
        assert error.value == _OK, "a decoder of fixed parameters can always be made"
        self._pcm = np.zeros(PACKET_SAMPLES_MAX, np.float32)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._opus.opus_decoder_destroy(self._state)

    def decode(self, payload: bytes) -> Pcm:
        """A packet's own samples. Raises PeerError `opus.damaged`."""
        return self._run(payload, PACKET_SAMPLES_MAX, fec=False)

    def recover(self, payload: bytes, samples: int) -> Pcm:
        """The `samples` before those of `payload`, from its FEC where it has any, else concealed. May raise, too."""
        return self._run(payload, samples, fec=True)

    def conceal(self, samples: int) -> Pcm:
        """`samples` (a multiple of 120) that continue what was decoded last, fading to silence or comfort noise."""
        return self._run(None, samples, fec=False)

    def reset(self) -> None:
        """Forget what was decoded: another encoder follows."""
        self._opus.opus_decoder_ctl(ctypes.c_void_p(self._state), _RESET_STATE)

    def _run(self, payload: bytes | None, samples: int, *, fec: bool) -> Pcm:
        made = self._opus.opus_decode_float(
            self._state, payload, len(payload or b""), self._pcm.ctypes.data, samples, int(fec)
        )
        if made < 0:
            reason = self._opus.opus_strerror(made).decode()
            raise PeerError("opus.damaged", f"An Opus packet cannot be decoded ({reason}).")
        return self._pcm[:made].copy()


class Encoder:
    """A mono encoder for speech: frames of 960 samples, in-band FEC."""

    def __init__(self, kbit_s: int = KBIT_S) -> None:
        self._opus = library()
        error = ctypes.c_int()
        self._state = self._opus.opus_encoder_create(SAMPLE_RATE, 1, _APPLICATION_VOIP, ctypes.byref(error))
        assert error.value == _OK, "an encoder of fixed parameters can always be made"
        self._packet = ctypes.create_string_buffer(_PACKET_BYTES_MAX)
        self.set_rate(kbit_s, LOSS_PERCENT)
        self._set(_SET_COMPLEXITY, COMPLEXITY)
        self._set(_SET_INBAND_FEC, 1)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._opus.opus_encoder_destroy(self._state)

    def encode(self, frame: Pcm, *, independent: bool = False) -> bytes:
        """The packet of one frame, shape (960,); an `independent` one refers as little as can be to those before."""
        if independent:
            self._set(_SET_PREDICTION_DISABLED, 1)
            packet = self.encode(frame)
            self._set(_SET_PREDICTION_DISABLED, 0)
            return packet
        assert frame.shape == (FRAME_SAMPLES,)
        samples = np.ascontiguousarray(frame, np.float32)
        size = self._opus.opus_encode_float(
            self._state, samples.ctypes.data, FRAME_SAMPLES, self._packet, _PACKET_BYTES_MAX
        )
        assert size > 0, self._opus.opus_strerror(size).decode()
        return self._packet.raw[:size]

    def set_rate(self, kbit_s: int, loss_percent: int) -> None:
        """From the next frame on; the encoder changes over by itself, without a click."""
        self._set(_SET_BITRATE, kbit_s * 1000)
        self._set(_SET_PACKET_LOSS_PERCENT, loss_percent)

    def _set(self, request: int, value: int) -> None:
        made = self._opus.opus_encoder_ctl(ctypes.c_void_p(self._state), request, ctypes.c_int32(value))
        assert made == _OK, f"libopus refused setting {request}"
