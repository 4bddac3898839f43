"""A guest's test: its phases, and what it measures of packets and frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SECOND_NS
from rostra.stage.check import CONNECT_NS, LENGTH_NS, RECORD_FRAMES, Arrivals, Check, Phase
from rostra.stage.jitter import Packet

T = 1000 * SECOND_NS
CHANCE = np.random.default_rng(1)


def noise(level_db: float) -> Pcm:
    """A frame of noise at an RMS level."""
    return (10 ** (level_db / 20) * CHANCE.standard_normal(FRAME_SAMPLES)).astype(np.float32)


def packet(number: int, ssrc: int = 1) -> Packet:
    return Packet(ssrc, number & 0xFFFF, number * FRAME_SAMPLES & 0xFFFF_FFFF, b"x")


def connected() -> Check:
    check = Check(T)
    check.connected()
    check.arrived(packet(0), T)
    return check


def test_what_is_recorded_is_played_back_once_and_then_forgotten() -> None:
    check = connected()
    said = [noise(-20) for _ in range(RECORD_FRAMES)]
    assert not check.frame(said[0]).any()
    check.record()
    assert not any(check.frame(frame).any() for frame in said)
    assert (check.phase, check.recordings) == (Phase.PLAYING, 1)
    other = noise(-20)
    back = [check.frame(other) for _ in range(RECORD_FRAMES)]
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(said, back, strict=True))
    assert check.phase is Phase.LISTENING
    assert not check.frame(other).any()
    assert check._tape == []


def test_a_recording_can_be_begun_anew_and_not_before_there_is_a_connection() -> None:
    check = Check(T)
    with pytest.raises(PeerError) as refused:
        check.record()
    assert refused.value.code == "check.unready"
    check = connected()
    check.record()
    for _ in range(RECORD_FRAMES + 10):
        check.frame(noise(-20))
    assert check.phase is Phase.PLAYING
    check.record()
    assert (check.phase, check.progress()) == (Phase.RECORDING, 0)


def test_noise_is_what_is_left_when_nobody_speaks_and_the_level_is_that_of_the_recording() -> None:
    check = connected()
    for _ in range(100):
        check.frame(noise(-55))
    assert check.heard().level_db is None
    assert check.heard().noise_db == pytest.approx(-55, abs=1)
    check.record()
    for number in range(RECORD_FRAMES):
        check.frame(noise(-55 if number % 5 == 0 else -21))
    for _ in range(RECORD_FRAMES):
        check.frame(noise(-1))  # the loudspeaker, while it plays: counts for nothing
    heard = check.heard()
    assert heard.level_db == pytest.approx(-21, abs=0.5)
    assert heard.noise_db == pytest.approx(-55, abs=1)
    assert heard.clipped == 0


def test_a_voice_before_any_recording_is_measured_too() -> None:
    check = connected()
    for number in range(200):
        check.frame(noise(-60 if number % 2 else -25))
    assert check.heard().level_db == pytest.approx(-25, abs=0.5)


def test_digital_silence_is_no_voice_and_nothing_is_measured_before_the_first_packet() -> None:
    check = Check(T)
    check.connected()
    for _ in range(100):
        check.frame(noise(-10))
    assert check.heard().noise_db is None
    check.arrived(packet(0), T)
    check.record()
    for _ in range(RECORD_FRAMES):
        check.frame(np.zeros(FRAME_SAMPLES, np.float32))
    assert (check.heard().level_db, check.heard().noise_db, check.heard().clipped) == (None, -100, 0)


def test_what_is_cut_off_at_full_scale_is_counted_by_frames_of_voice() -> None:
    check = connected()
    check.record()
    loud = np.clip(2 * np.sin(np.arange(FRAME_SAMPLES) / 20), -1, 1).astype(np.float32)
    one_peak = noise(-20)
    one_peak[7] = 1.0
    for number in range(RECORD_FRAMES):
        check.frame(loud if number % 10 == 0 else one_peak if number % 2 else noise(-60))
    assert check.heard().clipped == pytest.approx(25 / 150, abs=0.01)


def test_it_ends_when_it_does_not_connect_and_after_its_time() -> None:
    check = Check(T)
    assert check.deadline() == (T + CONNECT_NS, "not_connected")
    check.connected()
    assert check.deadline() == (T + LENGTH_NS, "time_is_up")
    assert check.left_s(T + LENGTH_NS - SECOND_NS) == 1
    assert check.left_s(T + 2 * LENGTH_NS) == 0


@given(st.integers(0, 0xFFFF), st.sets(st.integers(1, 198)), st.randoms(use_true_random=False))
def test_loss_is_the_share_that_never_came_whatever_the_order(first: int, lost: set[int], chance: object) -> None:
    arrivals = Arrivals()
    numbers = [number for number in range(200) if number not in lost]
    for at in range(1, len(numbers) - 2, 3):
        numbers[at], numbers[at + 1] = numbers[at + 1], numbers[at]
    for number in numbers:
        arrivals.add(packet(first + number), T)
    assert arrivals.loss == pytest.approx(len(lost) / 200)


def test_another_stream_begins_another_count() -> None:
    arrivals = Arrivals()
    for number in (0, 50):
        arrivals.add(packet(number), T)
    assert arrivals.loss == pytest.approx(49 / 51)
    arrivals.add(packet(7000, ssrc=2), T)
    assert (arrivals.loss, arrivals.jitter_ms) == (0, 0)


def test_jitter_is_that_of_the_rfc() -> None:
    even, uneven = Arrivals(), Arrivals()
    for number in range(300):
        even.add(packet(number), T + number * FRAME_NS)
        uneven.add(packet(number), T + number * FRAME_NS + number % 2 * 40_000_000)
    assert even.jitter_ms == pytest.approx(0, abs=0.01)
    assert uneven.jitter_ms == pytest.approx(40, abs=1)
    assert Arrivals().jitter_ms is Arrivals().loss is None
