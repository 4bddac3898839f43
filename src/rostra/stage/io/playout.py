"""A speaker's packets as frames: the jitter buffer says what to do, libopus does it.

The order is decoder, stretch, resampler, frame: the resampler alone knows how many samples a frame takes, the stretcher
works on what it has not taken yet, and the buffer is told how much that is.
"""

from typing import Final

import numpy as np

from rostra.kernel.errors import PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.stage import stretch
from rostra.stage.io.opus import Decoder
from rostra.stage.jitter import Action, Jitter, Kind, Packet, Tally, count_shift, packet_samples
from rostra.stage.resample import Resampler
from rostra.stage.stretch import Stretcher

SEAM: Final = 5 * SAMPLE_RATE // 1000
"""Samples of a fade between two things that do not join: long enough to hide the edge, too short to be an echo."""


class Playout:
    """One speaker, from RTP to PCM."""

    def __init__(self) -> None:
        self._jitter = Jitter()
        self._decoder = Decoder()
        self._stretcher = Stretcher()
        self._resampler = Resampler()
        self._ready = np.zeros(0, np.float32)  # made, not yet played
        self._past = np.zeros(FRAME_SAMPLES, np.float32)  # what was played last
        self._guess = 0  # how many samples at the start of `_ready` reach to the end of the last that nobody sent
        self._sounding = False
        self._tail: Pcm | None = None  # how what came before would have gone on, to fade out of

    @property
    def tally(self) -> Tally:
        return self._jitter.tally

    @property
    def delay_ms(self) -> float | None:
        """How much later than it could be the speaker is heard; None while nothing sounds."""
        delay = self._jitter.delay
        return None if delay is None else delay * 1000 / SAMPLE_RATE

    @property
    def jitter_ms(self) -> float:
        """The interarrival jitter of RFC 3550 section 6.4.1."""
        return self._jitter.jitter_ns / 1e6

    def put(self, packet: Packet, now_ns: int) -> None:
        self._jitter.put(packet, now_ns)

    def frame(self, now_ns: int) -> Pcm:
        """The next 20 ms, shape (960,)."""
        ratio = self._jitter.ratio
        want = self._resampler.wants(ratio, FRAME_SAMPLES)
        line = self._fill(now_ns, want)
        if self._jitter.wish and self._guess <= 0 and self._sounding:
            line = self._stretch(line, want)
        self._past, self._ready = line[:want], line[want:]
        self._guess -= want
        return self._resampler.run(self._past, ratio, FRAME_SAMPLES)

    def _fill(self, now_ns: int, want: int) -> Pcm:
        """What is ready and what the buffer adds, at least `want` samples."""
        made = [self._ready]
        length = len(self._ready)
        for action in self._jitter.pull(now_ns, length, want):
            made.append(self._make(action))
            length += len(made[-1])
            if action.kind is not Kind.DECODE:
                self._guess = length
        return np.concatenate(made)

    def _stretch(self, line: Pcm, want: int) -> Pcm:
        """Do what the buffer wishes, if this is a good place, and there is enough left of `line`."""
        wish = min(self._jitter.wish, len(line) - want)
        stretched = self._stretcher.act(self._past, line, wish)
        count_shift(self.tally, len(line) - len(stretched))
        return stretched

    def _make(self, action: Action) -> Pcm:
        match action.kind:
            case Kind.SILENCE:
                if self._sounding:
                    self._end_here()
                self._sounding = False
                return self._join(np.zeros(action.samples, np.float32))
            case Kind.SKIP | Kind.RESET:
                self._end_here()
                if action.kind is Kind.RESET:
                    self._decoder.reset()
                return np.zeros(0, np.float32)
            case _:
                if not self._sounding:
                    self._sounding, self._tail = True, np.zeros(SEAM, np.float32)
                return self._join(self._decode(action))

    def _decode(self, action: Action) -> Pcm:
        """Just `action.samples` samples; a damaged packet is concealed."""
        try:
            if action.kind is Kind.RECOVER:
                return self._recover(action)
            if action.kind is Kind.DECODE:
                decoded = self._decoder.decode(action.payload)
                if len(decoded) == action.samples:
                    return decoded
        except PeerError:
            self.tally.malformed += 1
        return self._decoder.conceal(action.samples)

    def _recover(self, action: Action) -> Pcm:
        """The hole's samples. libopus rebuilds whole packets only: of one whose start was concealed, take the end."""
        whole = packet_samples(action.payload)
        if whole > action.samples:
            self._end_here()
        return self._decoder.recover(action.payload, whole)[whole - action.samples :]

    def _end_here(self) -> None:
        """What comes next does not join: keep a little of how this would have gone on."""
        if self._tail is None:
            self._tail = self._decoder.conceal(SEAM) if self._sounding else np.zeros(SEAM, np.float32)

    def _join(self, samples: Pcm) -> Pcm:
        """Fade over from `_tail`, if there is one, to `samples`."""
        tail, self._tail = self._tail, None
        if tail is not None:
            length = min(SEAM, len(samples))
            samples[:length] = stretch.fade(tail[:length], samples[:length], 0.0)
        return samples
