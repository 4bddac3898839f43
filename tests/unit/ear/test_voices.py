"""The demonstration's voices: in turn, at one level, small, and never silent together for long."""

from pathlib import Path

import numpy as np
import pytest

import rostra.ops
from rostra.ear.measure import Loudness, Samples
from rostra.media.loudness import integrated, true_peak
from support.voices import read_any

FOLDER = Path(rostra.ops.__file__).parent / "voices"


@pytest.fixture(scope="module")
def voices() -> list[Samples]:
    return [read_any(file) for file in sorted(FOLDER.glob("*.ogg"))]


def test_they_are_two_of_equal_length_and_small(voices: list[Samples]) -> None:
    assert len({len(voice) for voice in voices}) == 1
    assert len(voices) == 2
    assert all(file.stat().st_size < 150_000 for file in FOLDER.glob("*.ogg"))


def test_they_are_as_loud_as_each_other_and_do_not_clip(voices: list[Samples]) -> None:
    for voice in voices:
        assert integrated(voice) == pytest.approx(-18.5, abs=0.7)
        assert true_peak(voice) < 0


def test_they_take_turns_and_leave_no_silence(voices: list[Samples]) -> None:
    hops = [np.sqrt(np.mean(voice[: len(voice) // 960 * 960].reshape(-1, 960) ** 2, axis=1)) for voice in voices]
    assert not np.any((hops[0] > 0.01) & (hops[1] > 0.01))
    together = Loudness()
    together.feed(np.concatenate((voices[0] + voices[1],) * 2))
    assert together.silence_ms_max == 0
