"""The hold music: a small piece for electric piano, strings, bass and guitar, composed and played by this module.

Twelve bars at 75 beats a minute make a loop of exactly 38.4 s (60 fragments, 1,920 frames). The music is written into a
ring: a note or an echo that runs past the end sounds at the beginning, so there is no seam. Nothing in it is random but
the room's reverberation, which is drawn from a fixed seed, so every process plays the same samples, and the music's
position is the frame's number: a restarted programme goes on in the middle of the bar.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.media import loudness

Samples = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complexfloating[Any, Any]]

LUFS: Final = -16.0
"""Where speech over the internet usually lies (AES TD1008), so that the step into the talk is small."""

PEAK_MAX: Final = 10 ** (-1.5 / 20)

BARS: Final = 12
BEAT_SAMPLES: Final = 38_400
"""0.8 s."""

BEATS_A_BAR: Final = 4
LOOP_SAMPLES: Final = BARS * BEATS_A_BAR * BEAT_SAMPLES
LOOP_FRAMES: Final = LOOP_SAMPLES // FRAME_SAMPLES

_RATE: Final = SAMPLE_RATE // 2
"""What the instruments are played at: nothing in them reaches 12 kHz, and half the samples are half the work."""

_BEAT: Final = BEAT_SAMPLES // 2
_LOOP: Final = LOOP_SAMPLES // 2

_SWING: Final = 2 / 3
"""Where the off-beat lies within a beat: as in a slow swing."""

_CHORDS: Final = (
    (41, (57, 60, 64, 67)),  # F major 9
    (38, (57, 60, 64, 65)),  # D minor 9
    (43, (58, 62, 65, 69)),  # G minor 9
    (36, (58, 62, 64, 69)),  # C 13
    (41, (57, 60, 64, 67)),  # F major 9
    (45, (55, 60, 64, 67)),  # A minor 7
    (46, (57, 60, 62, 65)),  # B flat major 9
    (36, (58, 62, 65, 67)),  # C 9, fourth suspended
    (38, (57, 60, 64, 65)),  # D minor 9
    (46, (57, 60, 62, 65)),  # B flat major 9
    (43, (58, 62, 65, 69)),  # G minor 9
    (36, (58, 61, 64, 69)),  # C 13, flat ninth
)
"""A bar each: the bass, and four voices above it (MIDI note numbers)."""

_Melody = tuple[tuple[float, int, float], ...]
_PHRASE: Final[tuple[_Melody, ...]] = (
    ((1, 76, 0.8), (1 + _SWING, 79, 0.6), (2 + _SWING, 81, 0.9)),
    ((1, 77, 0.7), (2, 76, 0.6), (3, 72, 0.8)),
    ((0 + _SWING, 74, 0.6), (1 + _SWING, 77, 0.8), (3, 82, 0.7)),
    ((0 + _SWING, 81, 0.8), (2, 79, 0.6), (3 + _SWING, 76, 0.5)),
    ((0, 79, 0.8), (2 + _SWING, 72, 0.5), (3 + _SWING, 76, 0.6)),
    ((1, 79, 0.8), (1 + _SWING, 76, 0.5), (3, 72, 0.6)),
    ((0 + _SWING, 77, 0.7), (1 + _SWING, 81, 0.8), (3, 86, 0.7)),
    ((0 + _SWING, 84, 0.8), (2, 82, 0.6), (3, 79, 0.6)),
    ((1, 81, 0.8), (2 + _SWING, 77, 0.6)),
    ((0 + _SWING, 74, 0.6), (1, 77, 0.6), (2 + _SWING, 81, 0.7)),
    ((1, 82, 0.8), (2, 81, 0.5), (3, 77, 0.6)),
    ((0 + _SWING, 76, 0.7), (2, 73, 0.5), (3, 72, 0.6)),
)
"""A bar each: beat, note, strength."""

_STRIKES: Final = ((0.0, 1.0), (1 + _SWING, 0.55), (3.0, 0.4))
"""When the electric piano plays its chord within a bar, and how hard."""


def loop() -> Samples:
    """The music, shape (LOOP_SAMPLES,), float32: -16 LUFS, no sample above -1.5 dBFS. Takes about a second."""
    piano, strings, bass, plucked = _piano(), _strings(), _bass(), _plucked()
    dry = 0.5 * _chorus(piano) + 0.20 * strings + 0.22 * bass + 0.34 * plucked
    wet = 0.5 * piano + 0.30 * strings + 0.55 * plucked
    music = _doubled(np.fft.rfft(dry) + 0.32 * np.fft.rfft(wet) * _room())
    return _bent(music * np.float32(10 ** ((LUFS - loudness.integrated(music)) / 20)))


def _doubled(spectrum: Spectrum) -> Samples:
    """Sound of the inner rate at the programme's: nothing is added above 12 kHz."""
    return np.asarray(np.fft.irfft(2 * spectrum, LOOP_SAMPLES), np.float32)


def _bent(music: Samples) -> Samples:
    knee = np.float32(0.7 * PEAK_MAX)
    room = np.float32(PEAK_MAX) - knee
    above = np.abs(music) - knee
    high = above > 0
    bent = music.copy()
    bent[high] = np.sign(music[high]) * (knee + room * np.tanh(above[high] / room))
    return bent


def _hertz(note: int) -> float:
    return float(440 * 2 ** ((note - 69) / 12))


def _seconds(duration_s: float) -> Samples:
    return np.arange(round(duration_s * _RATE), dtype=np.float32) / np.float32(_RATE)


def _sine(cycles: Samples) -> Samples:
    sine: Samples = np.sin(np.float32(2 * np.pi) * (cycles - np.floor(cycles)))
    return sine


def _silence() -> Samples:
    return np.zeros(_LOOP, np.float32)


def _place(track: Samples, note: Samples, beat: float, gain: float) -> None:
    """Add `note` at `beat` of the loop; what runs past the end comes round to the beginning."""
    start = round(beat * _BEAT) % _LOOP
    first = note[: _LOOP - start]
    track[start : start + len(first)] += np.float32(gain) * first
    rest = note[len(first) :]
    track[: len(rest)] += np.float32(gain) * rest


def _softened(note: Samples, attack_s: float, release_s: float) -> Samples:
    """The note with a rounded beginning and end: no edge that would click."""
    rise, fall = round(attack_s * _RATE), round(release_s * _RATE)
    note[:rise] *= np.float32(0.5) - np.float32(0.5) * np.cos(np.linspace(0, np.pi, rise, dtype=np.float32))
    note[-fall:] *= np.float32(0.5) + np.float32(0.5) * np.cos(np.linspace(0, np.pi, fall, dtype=np.float32))
    return note


def _piano_note(note: int) -> Samples:
    """An electric piano: a tone bent by itself, and a tine that rings for a moment (frequency modulation)."""
    at, hertz = _seconds(2.4), np.float32(_hertz(note))
    body = np.float32(0.16) * np.exp(at * np.float32(-1.6)) * _sine(at * hertz)
    tine = np.float32(0.05) * np.exp(at * np.float32(-9)) * _sine(at * (hertz * 7))
    return _softened(_sine(at * hertz + body + tine) * np.exp(at * np.float32(-1.3)), 0.004, 0.5)


def _piano() -> Samples:
    track = _silence()
    notes = {note: _piano_note(note) for _, voices in _CHORDS for note in voices}
    for bar, (_, voices) in enumerate(_CHORDS):
        for beat, strength in _STRIKES:
            for place, note in enumerate(voices):
                rolled = beat + 0.02 * place
                _place(track, notes[note], bar * BEATS_A_BAR + rolled, strength * 0.2)
    return track


def _strings_note(note: int) -> Samples:
    """Three players slightly apart, each with a few soft harmonics, swelling and fading with the bar."""
    at = _seconds(BEATS_A_BAR * 0.8 + 1.2)
    track = np.zeros(len(at), np.float32)
    for cents in (-7, 0, 6):
        hertz = np.float32(_hertz(note) * 2 ** (cents / 1200))
        start = np.float32(0.31 * (cents + 7))
        for harmonic, strength in ((1, 1.0), (2, 0.3), (3, 0.1)):
            track += np.float32(strength) * _sine(at * (hertz * harmonic) + start)
    return _softened(track, 0.9, 1.4)


def _strings() -> Samples:
    track = _silence()
    notes = {note: _strings_note(note) for _, voices in _CHORDS for note in voices[::2]}
    for bar, (_, voices) in enumerate(_CHORDS):
        for note in voices[::2]:
            _place(track, notes[note], bar * BEATS_A_BAR - 0.3, 0.1)
    return track


def _bass_note(note: int, duration_s: float) -> Samples:
    at, hertz = _seconds(duration_s), np.float32(_hertz(note))
    tone = _sine(at * hertz) + np.float32(0.35) * np.exp(at * np.float32(-2)) * _sine(at * (hertz * 2))
    return _softened(tone * np.exp(at * np.float32(-0.9)), 0.012, 0.25)


def _bass() -> Samples:
    track = _silence()
    for bar, (root, _) in enumerate(_CHORDS):
        start = bar * BEATS_A_BAR
        _place(track, _bass_note(root, 1.7), start, 0.5)
        _place(track, _bass_note(root + 7, 0.9), start + 2, 0.36)
        _place(track, _bass_note(root + 12, 0.5), start + 3 + _SWING, 0.22)
    return track


def _plucked_note(note: int) -> Samples:
    """A nylon string: harmonics that die away the faster, the higher they are."""
    at, hertz = _seconds(1.8), np.float32(_hertz(note))
    tone = np.zeros(len(at), np.float32)
    for harmonic, strength in ((1, 1.0), (2, 0.38), (3, 0.16), (4, 0.07), (5, 0.03)):
        decay = np.exp(at * np.float32(-1.9 - 1.7 * harmonic))
        tone += np.float32(strength) * decay * _sine(at * (hertz * harmonic))
    return _softened(tone, 0.003, 0.4)


def _plucked() -> Samples:
    track = _silence()
    notes = {note: _plucked_note(note) for bar in _PHRASE for _, note, _ in bar}
    for bar, phrase in enumerate(_PHRASE):
        for beat, note, strength in phrase:
            _place(track, notes[note], bar * BEATS_A_BAR + beat, 0.4 * strength)
    return track


def _chorus(track: Samples) -> Samples:
    """The track with a slowly wandering double 8 to 14 ms behind it; the wandering closes with the loop."""
    at = np.arange(_LOOP, dtype=np.int32)
    sway = _sine((at * (24 / _LOOP)).astype(np.float32))
    delay = np.float32(0.011 * _RATE) + np.float32(0.003 * _RATE) * sway
    whole = delay.astype(np.int32)
    part = delay - whole.astype(np.float32)
    behind = (at - whole) % _LOOP
    double = track[behind] * (1 - part) + track[behind - 1] * part
    return np.asarray(np.float32(0.75) * track + np.float32(0.5) * double, np.float32)


def _room() -> Spectrum:
    """A small hall, as a frequency response: noise that decays by 60 dB in 1.8 s, heard through warm walls."""
    at = _seconds(2.2)
    noise = np.random.default_rng(5).standard_normal(len(at)).astype(np.float32)
    echo = np.zeros(_LOOP, np.float32)
    start = round(0.018 * _RATE)
    echo[start : start + len(at)] = noise * np.exp(at * np.float32(-6.9 / 1.8)) * np.float32(0.028)
    return np.fft.rfft(echo) * _warmth()


def _warmth() -> Samples:
    """A gentle fall above 3 kHz and below 150 Hz: walls swallow treble, and bass muddies."""
    hertz = np.linspace(0, _RATE / 2, _LOOP // 2 + 1, dtype=np.float32)
    low = (hertz / 150) ** 2
    return np.asarray(low / (1 + low) / (1 + (hertz / 3000) ** 2), np.float32)
