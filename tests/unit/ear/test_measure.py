"""What the figures mean."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.ear.measure import Listening

G = 30_720
MS = 1_000_000
JSON_FIELDS = [
    "surface",
    "first_audio_ms",
    "fragments",
    "gaps",
    "gap_ms_total",
    "delay_ms_p50",
    "delay_ms_p99",
    "loudness_lufs",
    "ended",
]


def tone(seconds: float, level_dbfs: float = -20) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    t = np.arange(round(seconds * 48_000)) / 48_000
    return (10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 997 * t)).astype(np.float32)


def hear(listening: Listening, number: int, delay_ms: float = 700) -> int | None:
    mixed = 10**18 + number * 640 * MS
    return listening.fragment(number * G, G, 48_000, mixed, mixed + round(delay_ms * MS))


def test_delay_is_arrival_less_prft_and_leaves_out_whoever_waited_for_us() -> None:
    listening = Listening("push")
    listening.connected(0)
    hear(listening, 5, 1200)
    for number, delay in ((6, 700), (7, 710), (8, 690)):
        hear(listening, number, delay)
    listening.connected(9)
    hear(listening, 9, 3000)
    report = listening.report(ended=False)
    assert (report.fragments, report.gaps) == (5, 0)
    assert report.delay_ms_p50 == 700
    assert 709 < (report.delay_ms_p99 or 0) <= 710


def test_first_audio_runs_from_the_first_connection_to_the_first_sample() -> None:
    listening = Listening("push")
    listening.connected(1000 * MS)
    listening.heard(tone(0), 1020 * MS)
    listening.heard(tone(0.64), 1050 * MS)
    listening.heard(tone(0.64), 2000 * MS)
    assert listening.report(ended=True).first_audio_ms == 50


def test_what_cannot_be_known_is_none_and_hearing_nothing_does_not_hold() -> None:
    listening = Listening("push")
    listening.connected(0)
    report = listening.report(ended=False)
    assert list(report.as_json()) == JSON_FIELDS
    assert [report.first_audio_ms, report.delay_ms_p50, report.loudness_lufs] == [None] * 3
    assert not report.holds


def test_without_prft_the_delay_is_unknown() -> None:
    listening = Listening("push")
    listening.connected(0)
    for number in range(3):
        listening.fragment(number * G, G, 48_000, None, 10**18)
    assert listening.report(ended=True).delay_ms_p99 is None


def test_a_hole_in_media_time_is_one_gap_of_its_length() -> None:
    listening = Listening("push")
    listening.connected(0)
    assert [hear(listening, number) for number in (1, 2, 5, 6, 8)] == [0, 0, 2 * G, 0, G]
    report = listening.report(ended=True)
    assert (report.gaps, report.gap_ms_total) == (2, 1920.0)
    assert report.faults[0] == "2 gaps, 1920 ms in all."


def test_what_was_heard_before_is_not_heard_again() -> None:
    listening = Listening("push")
    listening.connected(0)
    assert [hear(listening, number) for number in (1, 2, 3, 2, 3, 4)] == [0, 0, 0, None, None, 0]
    assert (listening.report(ended=True).fragments, listening.repeats) == (4, 2)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_time_heard_and_time_missing_make_up_the_whole(numbers: list[int]) -> None:
    listening = Listening("push")
    listening.connected(0)
    heard = [number for number in numbers if hear(listening, number) is not None]
    report = listening.report(ended=True)
    assert report.gap_ms_total == pytest.approx((heard[-1] - heard[0] + 1 - len(heard)) * 640)
    assert heard == sorted(set(heard))


def test_loudness_is_that_of_a_calibrated_tone() -> None:
    listening = Listening("push")
    for _ in range(10):
        listening.heard(tone(0.64, -20), 0)
    report = listening.report(ended=True)
    assert report.loudness_lufs == pytest.approx(-23.0, abs=0.15)  # BS.1770: 997 Hz at 0 dBFS, one channel, is -3.01
    assert report.holds


@pytest.mark.parametrize(("quiet_s", "level_dbfs", "silent"), [(1.8, -90, False), (2.6, -90, True), (2.6, -50, False)])
def test_two_seconds_below_60_lufs_are_silence(quiet_s: float, level_dbfs: float, silent: bool) -> None:
    listening = Listening("push")
    for part in (tone(2), tone(quiet_s, level_dbfs), tone(2)):
        listening.heard(part, 0)
    report = listening.report(ended=True)
    assert bool(report.silence_ms_max) == silent
    assert report.holds == (not silent)


def test_digital_silence_is_said_as_the_gate_and_never_as_infinity() -> None:
    listening = Listening("push")
    listening.heard(np.zeros(30_720, np.float32), 0)
    report = listening.report(ended=True)
    assert report.loudness_lufs == -70
    assert math.isfinite(report.silence_ms_max)
    assert not report.holds
