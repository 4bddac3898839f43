"""A speaker's packets as frames: the jitter buffer says what to do, libopus does it."""

import numpy as np

from rostra.kernel.errors import PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES
from rostra.stage.io.opus import Decoder
from rostra.stage.jitter import Action, Jitter, Kind, Packet, Tally


class Playout:
    """One speaker, from RTP to PCM."""

    def __init__(self) -> None:
        self._jitter = Jitter()
        self._decoder = Decoder()
        self._ready = np.zeros(0, np.float32)
        self._folded: Pcm | None = None

    @property
    def tally(self) -> Tally:
        return self._jitter.tally

    def put(self, packet: Packet, now_ns: int) -> None:
        self._jitter.put(packet, now_ns)

    def frame(self, now_ns: int) -> Pcm:
        """The next 20 ms, shape (960,)."""
        made = [self._make(action) for action in self._jitter.pull(now_ns)]
        samples = np.concatenate([self._ready, *made])
        self._ready = samples[FRAME_SAMPLES:]
        return samples[:FRAME_SAMPLES]

    def _make(self, action: Action) -> Pcm:
        match action.kind:
            case Kind.SILENCE:
                return np.zeros(action.samples, np.float32)
            case Kind.RESET:
                self._decoder.reset()
                return np.zeros(0, np.float32)
            case Kind.FOLD:
                self._folded = self._decode(action, FRAME_SAMPLES)
                return np.zeros(0, np.float32)
            case _:
                return self._unfold(self._decode(action, action.samples))

    def _decode(self, action: Action, samples: int) -> Pcm:
        """Just `samples` samples; a damaged packet is concealed."""
        try:
            if action.kind is Kind.RECOVER:
                return self._decoder.recover(action.payload, samples)
            if action.kind is not Kind.CONCEAL:
                decoded = self._decoder.decode(action.payload)
                if len(decoded) == samples:
                    return decoded
        except PeerError:
            self.tally.malformed += 1
        return self._decoder.conceal(samples)

    def _unfold(self, samples: Pcm) -> Pcm:
        """Fade over from the frame that was folded away to `samples`."""
        folded, self._folded = self._folded, None
        if folded is None:
            return samples
        length = min(len(folded), len(samples))
        ramp = np.arange(1, length + 1, dtype=np.float32) / length
        samples[:length] = folded[:length] * (1 - ramp) + samples[:length] * ramp
        return samples
