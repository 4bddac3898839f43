"""What the audience hears, frame by frame: nobody before air, no jump of gain, music when the stage is gone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.shared.ring import Frame
from rostra.kernel.units import FRAME_SAMPLES
from rostra.programme import transitions
from rostra.programme.transitions import (
    ABSENT_FRAMES,
    BACK_FRAMES,
    CLOSE_FRAMES,
    FADE_FRAMES,
    MISSING_MAX,
    Bridge,
    Desk,
    Presence,
    Samples,
    crossfade,
)
from rostra.space import lifecycle
from rostra.space.lifecycle import Cause, Event, Input, Life, State
from rostra.space.spec import Spec

STEEPEST = np.pi / 2 / FADE_FRAMES / FRAME_SAMPLES + 1 / CLOSE_FRAMES / FRAME_SAMPLES + 1e-6
"""The most a gain may move from one sample to the next: the crossfade's and the last fade's slopes together."""

ONES = np.ones(FRAME_SAMPLES, np.float32)
SILENT = np.zeros(FRAME_SAMPLES, np.float32)
TALK = Frame(ONES, 1, 1, "seat1")
SPEC = Spec("space1", "A Space", 10**18)


def life(state: State, cause: Cause = Cause.TIME, present: int = 1) -> Life:
    return Life(state, cause, 0, 10**18, present=present)


def gains(desk: Desk, script: list[tuple[bool, bool]], talk: Samples, hold: Samples) -> Samples:
    """What the desk makes of constant inputs: with one of them at 1 and the other at 0, that one's gain."""
    frame = Frame(talk, 1, 1, "seat1")
    return np.concatenate([desk.mix(on_air, frame if there else None, hold).pcm for on_air, there in script])


scripts = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9).map(lambda n: n > 0), st.integers(1, 15)), min_size=1, max_size=15
).map(lambda runs: [(on_air, there) for on_air, there, length in runs for _ in range(length)])


@given(scripts, st.none() | st.integers(0, 100))
def test_the_music_never_jumps(script: list[tuple[bool, bool]], close_at: int | None):
    desk, heard = Desk(), []
    for at, (on_air, there) in enumerate(script):
        if at == close_at:
            desk.close()
        heard.append(desk.mix(on_air, TALK if there else None, ONES).hold)
    assert np.abs(np.diff(np.concatenate(heard))).max() <= STEEPEST


@given(scripts)
def test_the_talk_never_jumps_while_the_stage_is_there(script: list[tuple[bool, bool]]):
    there = [(False, True), *((on_air, True) for on_air, _ in script)]
    assert np.abs(np.diff(gains(Desk(), there, ONES, SILENT)[FRAME_SAMPLES:])).max(initial=0) <= STEEPEST


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_nobody_is_heard_before_air(there: list[bool]):
    desk = Desk()
    for present in there:
        mixed = desk.mix(False, TALK if present else None, SILENT)
        assert not mixed.pcm.any()
        assert not mixed.talk_heard
        assert mixed.hold_heard


@given(scripts)
def test_after_air_the_talk_only_falls_and_is_gone_after_the_fade(script: list[tuple[bool, bool]]):
    desk, fader = Desk(), 0
    off = 0
    for on_air, there in script:
        mixed = desk.mix(on_air, TALK if there else None, SILENT)
        off = 0 if on_air else off + 1
        assert on_air or desk.fader <= fader
        if off > FADE_FRAMES:
            assert not mixed.talk_heard
            assert not mixed.pcm.any()
        fader = desk.fader


@given(st.integers(0, FADE_FRAMES - 1))
def test_the_crossfade_is_of_equal_power(step: int):
    for before, after in ((step, step + 1), (step + 1, step)):
        talk, hold = crossfade(before, after)
        assert np.allclose(talk**2 + hold**2, 1, atol=1e-5)


def test_into_talk_it_begins_in_the_very_frame_that_is_on_air():
    heard = gains(Desk(), [(False, True)] * 5 + [(True, True)] * 12, ONES, SILENT).reshape(-1, FRAME_SAMPLES)
    assert not heard[:5].any()
    assert heard[5, 0] > 0
    assert np.all(np.diff(heard[5:15].ravel()) >= 0)
    assert np.all(np.diff(heard[5:15, -1]) > 0)
    assert np.all(heard[15:] == 1)


def test_what_is_not_heard_is_not_computed():
    """Steady states pass their source bit for bit, whatever the other side holds."""
    chance = np.random.default_rng(1)
    music, broken = chance.normal(0, 0.1, FRAME_SAMPLES).astype(np.float32), np.full(FRAME_SAMPLES, np.nan, np.float32)
    desk = Desk()
    assert np.array_equal(desk.mix(False, Frame(broken), music).pcm, music)
    for _ in range(FADE_FRAMES):
        desk.mix(True, Frame(music), music)
    mixed = desk.mix(True, Frame(music), broken)
    assert np.array_equal(mixed.pcm, music)
    assert not mixed.hold.any()
    assert not mixed.hold_heard


def test_the_end_is_a_fade_of_a_second_from_whatever_sounds():
    for on_air in (True, False):
        desk = Desk()
        for _ in range(20):
            desk.mix(on_air, TALK, ONES)
        desk.close()
        heard = np.concatenate([desk.mix(False, TALK, ONES).pcm for _ in range(CLOSE_FRAMES + 5)])
        assert np.all(np.diff(heard) <= 1e-6)
        assert desk.closed
        assert heard[0] > 0.99
        assert not heard[CLOSE_FRAMES * FRAME_SAMPLES :].any()


# Frames that the stage owes.


def hum(frame: int) -> Samples:
    at = np.arange(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES)
    return (0.5 * np.sin(2 * np.pi * 180 * at / 48_000)).astype(np.float32)


def bridged(there: list[bool]) -> Samples:
    bridge = Bridge()
    return np.concatenate([bridge.next(hum(at) if is_there else None) for at, is_there in enumerate(there)])


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_gap_never_clicks(there: list[bool]):
    """No step between samples beyond the hum's own, a splice's slope, or the fade's."""
    own = 0.5 * 2 * np.pi * 180 / 48_000
    heard = bridged([True, *there])
    assert np.abs(np.diff(heard)).max() <= own + 1 / transitions.SPLICE_SAMPLES + 1e-4


def test_a_short_gap_is_bridged_ever_quieter_and_the_third_frame_ends_in_silence():
    levels = np.abs(bridged([True] * 3 + [False] * 5).reshape(-1, FRAME_SAMPLES)).max(axis=1)
    assert levels[3] > 0.4
    assert levels[2] > levels[4] > levels[5] > 0
    assert not levels[6:].any()


def test_after_three_missing_frames_the_music_comes_whatever_the_state():
    desk = Desk()
    for _ in range(20):
        desk.mix(True, TALK, ONES)
    music = [desk.mix(True, None, ONES).hold[-1] for _ in range(MISSING_MAX + FADE_FRAMES)]
    assert not any(music[: MISSING_MAX - 1])
    assert np.all(np.diff(music[MISSING_MAX - 2 : -1]) > 0), "with the third missing frame the music begins"
    assert abs(music[-2] - 1) < 1e-6


# What the stage means for the Space's life.


def receive(presence: Presence, talk: Frame | None, given: Life) -> tuple[Life, Input | None]:
    said = presence.receive(talk, given)
    return (lifecycle.step(given, said, SPEC, 1) if said else given), said


def test_the_stage_is_lost_with_the_third_missing_frame_and_said_once():
    presence, now = Presence(), life(State.ON_AIR)
    said = []
    for talk in [TALK] * 5 + [None] * 20:
        now, given = receive(presence, talk, now)
        said.append(given)
    assert [at for at, given in enumerate(said) if given] == [5 + MISSING_MAX - 1]
    assert (now.state, now.cause, now.present) == (State.HOLDING, Cause.STAGE_LOST, 0)


def test_a_stage_that_is_back_must_be_steady_before_the_talk_goes_on():
    presence, now = Presence(), life(State.HOLDING, Cause.STAGE_LOST, 0)
    for talk in ([TALK] * (BACK_FRAMES - 1) + [None]) * 3:
        now, _ = receive(presence, talk, now)
        assert now.state is State.HOLDING
    for _ in range(BACK_FRAMES):
        assert now.state is State.HOLDING
        now, _ = receive(presence, TALK, now)
    assert (now.state, now.cause) == (State.ON_AIR, Cause.SPEAKERS_BACK)


@given(st.integers(1, ABSENT_FRAMES - 1))
def test_a_speaker_who_reconnects_within_a_second_stays_on_air(away: int):
    presence, now = Presence(), life(State.ON_AIR)
    for talk in [TALK] * 3 + [Frame(SILENT)] * away + [TALK] * 3:
        now, _ = receive(presence, talk, now)
        assert now.state is State.ON_AIR


def test_after_a_second_without_speakers_the_music_comes():
    presence, now = Presence(), life(State.ON_AIR)
    receive(presence, TALK, now)
    for _ in range(ABSENT_FRAMES):
        assert now.state is State.ON_AIR
        now, _ = receive(presence, Frame(SILENT), now)
    assert (now.state, now.cause, now.present) == (State.HOLDING, Cause.SPEAKERS_LOST, 0)
    assert (ABSENT_FRAMES + FADE_FRAMES) * 0.02 < 2, "never two seconds of dead air"


def test_a_hold_that_a_person_asked_for_is_not_ended_by_the_stage():
    presence, now = Presence(), life(State.HOLDING, Cause.HOST, 0)
    for _ in range(3 * BACK_FRAMES):
        now, _ = receive(presence, TALK, now)
    assert (now.state, now.present) == (State.HOLDING, 1)


frames = st.none() | st.integers(0, 3).map(lambda present: Frame(SILENT, present, present))
lives = st.builds(life, st.sampled_from(State), st.sampled_from(Cause), st.integers(0, 3))


@given(lives, st.lists(st.tuples(frames, st.integers(1, 60)), max_size=8))
def test_the_stage_alone_never_puts_anyone_on_air_before_the_start(first: Life, script: list[tuple[Frame | None, int]]):
    presence, now = Presence(), first
    for talk, times in script:
        for _ in range(times):
            before = now
            now, given = receive(presence, talk, now)
            assert given is None or given.event in (Event.PRESENT, Event.LOST, Event.STAGE_LOST)
            if before.state is not State.ON_AIR and now.state is State.ON_AIR:
                assert before.state is State.HOLDING
                assert now.present > 0
            if talk is not None and now.state is not State.ON_AIR:
                assert now.present == talk.present
