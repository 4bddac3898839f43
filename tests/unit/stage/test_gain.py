"""Automatic gain: nobody hears it move, nothing clips, no noise comes up; and in the end all are equally loud."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rostra.ops
from rostra.kernel.units import FRAME_SAMPLES
from rostra.media.loudness import integrated
from rostra.stage import gain, levels, mix
from rostra.stage.gain import Array, Gain

VOICES = Path(rostra.ops.__file__).parent / "voices"
SETTLED_S = 8.0
"""Seconds of talk after which all are to be equally loud; pauses do not count."""

Levels = list[tuple[float, float]]
levels_db = st.lists(st.tuples(st.floats(-100, 0), st.floats(0, 20)), min_size=1, max_size=300)
"""Frames as RMS level and crest."""


def through(frames: Levels, begin: Gain = Gain()) -> list[Gain]:  # noqa: B008 — frozen
    passed = [begin]
    for level, crest in frames:
        passed.append(gain.step(passed[-1], level, min(0.0, level + crest)))
    return passed


@given(levels_db)
def test_the_gain_keeps_within_its_range_and_its_slope(frames: Levels) -> None:
    passed = through(frames)
    for before, after in pairwise(passed):
        assert abs(after.gain_db - before.gain_db) <= gain.SLOPE_DB + 1e-9
        assert after.duck_db - before.duck_db <= gain.RELEASE_DB + 1e-9
        assert -gain.DOWN_DB_MAX <= after.gain_db <= gain.UP_DB_MAX
        assert after.duck_db <= 0


@given(levels_db)
def test_no_peak_is_lifted_over_the_knee(frames: Levels) -> None:
    for (level, crest), after in zip(frames, through(frames)[1:], strict=True):
        assert min(0.0, level + crest) + after.applied_db <= 20 * np.log10(mix.KNEE) + 1e-6


@given(levels_db, st.floats(-100, -20), st.integers(0, 300))
def test_in_a_pause_the_gain_stands_still(frames: Levels, noise_db: float, seconds: int) -> None:
    """Steady noise moves nothing, from the moment on that its level is known to be the floor."""
    talked = through(frames + [(noise_db, 10.0)] * (2 * gain.HALF_FRAMES))[-1]
    paused = through([(noise_db + wobble, 10.0) for wobble in (0.0, 1.0, 2.0, 3.0)] * seconds, talked)
    assert {each.gain_db for each in paused} == {talked.gain_db}
    assert not paused[-1].speech or not seconds


@given(levels_db)
def test_nothing_is_lifted_to_more_noise_than_is_stated(frames: Levels) -> None:
    for before, after in pairwise(through(frames)):
        if after.gain_db > before.gain_db and after.gain_db > 0:
            assert after.gain_db <= max(0.0, gain.NOISE_DB_MAX - min(before.floor_db, after.least_db)) + 1e-6


def test_a_keystroke_and_digital_silence_are_no_speech() -> None:
    room = [(-60.0, 10.0)] * 200
    typed = (room[:30] + [(-20.0, 15.0)] * 2) * 50
    assert through(room + typed)[-1].known == 0
    after_silence = through(room + [(-100.0, 0.0)] * 500)[-1]
    assert after_silence.floor_db == -60.0


def test_after_one_shout_a_whisperer_is_still_heard() -> None:
    whisper = ([(-45.0, 12.0)] * 30 + [(-70.0, 10.0)] * 10) * 30
    assert through([(-70.0, 10.0)] * 160 + [(-6.0, 5.0)] * 60 + whisper)[-1].gain_db > 15


@given(st.lists(st.floats(-24, 24), min_size=2, max_size=2), st.floats(0.001, 1))
def test_the_gain_is_a_ramp_without_a_step(applied: list[float], level: float) -> None:
    before, after = applied
    frame = np.full((1, FRAME_SAMPLES), level, np.float32)
    lifted = gain.lift(frame, [before], [after])[0] / level
    start, end = 10 ** (before / 20), 10 ** (after / 20)
    assert np.abs(np.diff(lifted, prepend=start)).max() <= abs(end - start) / FRAME_SAMPLES * 1.01 + 1e-4
    assert lifted[-1] == pytest.approx(end, rel=1e-4)
    assert gain.lift(frame, [0.0], [0.0]) is frame


# the listening test: the voices of the demonstration, as from near and from far, with a fan in the room


@pytest.fixture(scope="module", params=["ada.ogg", "ben.ogg"])
def talk(request: pytest.FixtureRequest) -> Array:
    """A demonstration voice, its pauses cut to half a second: shape (frames, 960)."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000, frame_size=FRAME_SAMPLES)
    with av.open(str(VOICES / request.param)) as file:
        found = [piece.to_ndarray()[0] for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
    frames = np.stack([piece for piece in found if len(piece) == FRAME_SAMPLES]).astype(np.float32)
    quiet, kept = 0, []
    for level, frame in zip(levels.frame_db(frames), frames, strict=True):
        quiet = quiet + 1 if level < -45 else 0
        if quiet <= 25:
            kept.append(frame)
    return np.stack(kept)


def listen(frames: Array) -> tuple[Array, list[Gain]]:
    """What comes out, and the gain after each frame."""
    now, made, passed = Gain(), [], []
    for frame, level, peak in zip(frames, levels.frame_db(frames), gain.peak_db(frames), strict=True):
        after = gain.step(now, level, peak)
        made.append(gain.lift(frame[None], [now.applied_db], [after.applied_db])[0])
        now = after
        passed.append(now)
    return mix.soften(np.stack(made)), passed


def at_level(talk: Array, lufs: float, noise_db: float | None) -> Array:
    """`talk` at a loudness, over white noise; no louder than full scale, as from any converter."""
    heard = talk * 10 ** ((lufs - integrated(talk.ravel())) / 20)
    if noise_db is not None:
        heard = heard + np.random.default_rng(1).normal(0, 10 ** (noise_db / 20), talk.shape)
    return np.clip(heard, -1, 1).astype(np.float32)


@pytest.mark.parametrize("noise_db", [None, -76.0])
def test_near_and_far_end_up_equally_loud(talk: Array, noise_db: float | None) -> None:
    settled = round(SETTLED_S * 50)
    loudness = []
    for lufs in (-40.0, -26.0, -12.0):
        heard, passed = listen(at_level(talk, lufs, noise_db))
        loudness.append(integrated(heard[settled:].ravel()))
        slow = [each.gain_db for each in passed[settled:]]
        assert max(slow) - min(slow) < 4, "a gain that has settled wanders with the sentence, not with the word"
        assert np.abs(heard).max() < 1
    print([round(each, 1) for each in loudness])
    assert max(loudness) - min(loudness) < 2
    assert all(-18 < each < -15.5 for each in loudness)


@pytest.mark.parametrize("noise_db", [-65.0, -55.0, -45.0])
def test_a_room_comes_up_to_what_is_stated_and_no_further(talk: Array, noise_db: float) -> None:
    noisy = at_level(talk, -40.0, noise_db)
    room = np.random.default_rng(2).normal(0, 10 ** (noise_db / 20), (500, FRAME_SAMPLES)).astype(np.float32)
    paused = np.concatenate([noisy, room])
    heard, passed = listen(paused)
    pause = slice(len(talk) + 2 * gain.HALF_FRAMES, None)
    rise_db = np.mean(levels.frame_db(heard[pause])) - noise_db
    print(f"noise of {noise_db:.0f} dBFS rises by {rise_db:.1f} dB")
    assert rise_db < max(0.0, gain.NOISE_DB_MAX - noise_db) + 1.5
    assert len({each.gain_db for each in passed[pause]}) == 1
