"""Meters, the speaking flag, and who holds the floor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAME_SAMPLES
from rostra.stage import levels
from rostra.stage.levels import ATTACK_FRAMES, FLOOR_DB, RELEASE_FRAMES, TAKEOVER_FRAMES, Active, Meter


def after(frames: list[float], meter: Meter | None = None) -> Meter:
    meter = meter or Meter()
    for level in frames:
        meter = levels.measure(meter, level)
    return meter


def test_levels_are_rms_in_dbfs() -> None:
    sine = np.sin(2 * np.pi * np.arange(FRAME_SAMPLES) / 48).astype(np.float32)
    found = levels.frame_db(np.stack([np.ones_like(sine), sine, sine / 10, sine * 0]))
    assert found == pytest.approx([0, -3.01, -23.01, FLOOR_DB], abs=0.01)
    assert levels.frame_db(np.zeros((0, FRAME_SAMPLES), np.float32)) == []


def test_a_meter_rises_at_once_and_falls_slowly() -> None:
    meter = after([-20.0])
    assert meter.level_db == -20
    assert after([FLOOR_DB] * 50, meter).level_db == pytest.approx(-50)
    assert after([FLOOR_DB] * 500, meter).level_db == FLOOR_DB


def test_speaking_begins_after_some_frames_and_outlasts_the_pauses_of_a_sentence() -> None:
    assert not after([-20.0] * (ATTACK_FRAMES - 1)).speaking
    meter = after([-20.0] * ATTACK_FRAMES)
    assert meter.speaking
    assert after([-80.0] * (RELEASE_FRAMES - 1), meter).speaking
    assert not after([-80.0] * RELEASE_FRAMES, meter).speaking
    assert after([-46.0] * 200, meter).speaking  # between the two thresholds nothing changes
    assert not after([-46.0] * 200).speaking


def test_a_click_is_not_speech() -> None:
    assert not after([-5.0, -80.0, -5.0, -80.0, -5.0]).speaking


@given(st.lists(st.floats(-100, 0), max_size=300))
def test_a_meter_is_never_under_the_frame_nor_far_over_it(frames: list[float]) -> None:
    meter = Meter()
    for level in frames:
        before = meter
        meter = levels.measure(meter, level)
        assert level <= meter.level_db <= max(level, before.level_db)


def floor(history: list[dict[str, float]]) -> Active:
    active, meters = Active(), {"a": Meter(), "b": Meter()}
    for frame in history:
        meters = {seat: levels.measure(meters[seat], level) for seat, level in frame.items()}
        active = levels.elect(active, meters, ["a", "b"])
    return active


BOTH, ANN = {"a": -20.0, "b": -12.0}, {"a": -20.0, "b": -80.0}


def test_whoever_speaks_keeps_the_floor_until_another_is_clearly_louder_for_a_while() -> None:
    assert floor([{"a": -80.0, "b": -80.0}] * 10).seat == ""
    assert floor([ANN] * 10).seat == "a"
    assert floor([ANN] * 10 + [BOTH] * (ATTACK_FRAMES + TAKEOVER_FRAMES - 2)).seat == "a"
    assert floor([ANN] * 10 + [BOTH] * (ATTACK_FRAMES + TAKEOVER_FRAMES)).seat == "b"
    assert floor([ANN] * 10 + [{"a": -20.0, "b": -16.0}] * 200).seat == "a"
    assert floor([ANN] * 10 + [{"a": -80.0, "b": -40.0}] * (RELEASE_FRAMES + 1)).seat == "b"


def test_who_cannot_be_heard_never_has_the_floor() -> None:
    meters = {"a": after([-10.0] * 10), "b": after([-30.0] * 10)}
    assert levels.elect(Active("a"), meters, ["b"]).seat == "b"
    assert levels.elect(Active("a"), meters, []).seat == ""


def test_a_noise_that_does_not_change_is_loud_but_does_not_speak() -> None:
    meter = Meter()
    for _ in range(2 * levels.RELEASE_FRAMES):
        meter = levels.measure(meter, -20.0, speech=False)
    assert (meter.level_db, meter.speaking) == (-20.0, False)
    for _ in range(levels.ATTACK_FRAMES):
        meter = levels.measure(meter, -20.0)
    assert meter.speaking
    for _ in range(levels.RELEASE_FRAMES):
        meter = levels.measure(meter, -20.0, speech=False)
    assert not meter.speaking
