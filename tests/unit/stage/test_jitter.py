"""The jitter buffer, under every order of arrival: in order, nothing twice, no later than it must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, MS_NS, SAMPLE_RATE
from rostra.stage.jitter import (
    CEILING,
    DEPTH_MAX,
    FAR,
    FLOOR,
    HELD_MAX,
    PACKET_BYTES_MAX,
    PACKET_SAMPLES_MAX,
    SLACK,
    START,
    STEP,
    Action,
    Jitter,
    Kind,
    Packet,
    packet_samples,
)
from rostra.stage.stretch import PERIOD_MAX
from unit.stage.traces.model import Arrival, Trace, trace
from unit.stage.traces.replay import CELT_20_MS, Tick, replay


def packet(number: int, *, ssrc: int = 1, sequence: int | None = None, origin: int = 0) -> Packet:
    timestamp = (origin + number * FRAME_SAMPLES) & 0xFFFF_FFFF
    counted = number if sequence is None else sequence
    return Packet(ssrc, counted & 0xFFFF, timestamp, CELT_20_MS + number.to_bytes(4, "big"))


def number_of(action: Action) -> int:
    return int.from_bytes(action.payload[1:], "big")


def decoded(ticks: list[Tick]) -> list[int]:
    return [number_of(a) for tick in ticks for a in tick.actions if a.kind is Kind.DECODE]


def delayed(delays_ms: list[float]) -> Trace:
    """Packets of 20 ms that take so long, each."""
    return trace("", np.array(delays_ms, np.float64), fifo=False)


def steady(count: int, *, lost: tuple[int, ...] = ()) -> Trace:
    return trace("", np.full(count, 10.0), np.isin(np.arange(count), lost))


def run(arriving: Trace, tail_ms: float = 500.0, origin: tuple[int, int] = (0, 0)) -> tuple[list[Tick], Jitter]:
    jitter = Jitter()
    return list(replay(arriving, jitter, tail_ms, origin)), jitter


@st.composite
def networks(draw: st.DrawFn) -> Trace:
    """Any delays, losses and copies."""
    fates = draw(
        st.lists(st.tuples(st.floats(0, 150), st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 0])), min_size=1, max_size=120)
    )
    arrivals = [
        Arrival(number, number * FRAME_SAMPLES, number * 20 + delay_ms + 3 * copy)
        for number, (delay_ms, copies) in enumerate(fates)
        for copy in range(copies)
    ]
    return Trace("", tuple(sorted(arrivals, key=lambda arrival: arrival.at_ms)), len(fates))


@given(networks(), st.sampled_from([(0, 0), (65_500, 0xFFFF_FFFF - 20_000), (9, 123_456_789)]))
def test_whatever_the_network_does_nothing_sounds_twice_or_out_of_order(
    network: Trace, origin: tuple[int, int]
) -> None:
    ticks, _ = run(network, origin=origin)
    numbers = decoded(ticks)
    assert numbers == sorted(set(numbers))


@given(networks())
def test_every_pull_yields_a_frame_and_little_more(network: Trace) -> None:
    for tick in run(network)[0]:
        made = tick.ahead + sum(action.samples for action in tick.actions)
        assert tick.want <= made <= tick.want + PERIOD_MAX + FRAME_SAMPLES
        assert all(action.samples > 0 for action in tick.actions)


@given(networks())
def test_rebuilt_and_decoded_stretches_never_overlap(network: Trace) -> None:
    end = 0
    for tick in run(network)[0]:
        for action in tick.actions:
            if action.kind in (Kind.DECODE, Kind.RECOVER):
                assert action.at >= end
                end = action.at + action.samples


@given(networks())
def test_the_decoder_is_only_asked_for_lengths_that_opus_has(network: Trace) -> None:
    for tick in run(network)[0]:
        assert all(a.samples % STEP == 0 for a in tick.actions if a.kind in (Kind.CONCEAL, Kind.RECOVER))


@given(networks(), st.integers(0, 0xFFFF), st.integers(0, 0x5555_5555))
def test_where_a_sender_begins_to_count_changes_nothing(network: Trace, sequence: int, timestamp: int) -> None:
    """So wrapping changes nothing either, wherever it happens. Three samples are a whole number of nanoseconds."""

    def doings(origin: tuple[int, int]) -> list[list[tuple[Kind, int]]]:
        return [[(action.kind, action.samples) for action in tick.actions] for tick in run(network, origin=origin)[0]]

    assert doings((0, 0)) == doings((sequence, 3 * timestamp))


@given(st.lists(st.floats(0, 19), min_size=100, max_size=100))
def test_what_is_not_a_frame_late_always_sounds_in_time(delays: list[float]) -> None:
    ticks, jitter = run(delayed(delays))
    assert decoded(ticks) == list(range(100))
    assert jitter.tally.lost == jitter.tally.concealed == 0


@given(st.integers(0, 45), st.integers(60, 200))
def test_after_a_burst_the_delay_returns_to_its_target_within_5_s_of_speech(frames: int, at: int) -> None:
    """Three seconds of them it waits whether the network does it again, the rest it quickens."""
    delays = np.full(at + 500, 10.0)
    delays[at : at + frames] += 20.0 * np.arange(frames, 0, -1)
    ticks, jitter = run(trace("", delays), 0)
    late = [tick.late_ms for tick in ticks if tick.now_ms > (at + frames + 250) * 20 + 300]
    assert late
    assert all(ms is not None and ms <= 10 + (FLOOR + SLACK) * 1000 / SAMPLE_RATE + 1 for ms in late)
    assert jitter.target == FLOOR
    assert decoded(ticks)[-100:] == list(range(decoded(ticks)[-1] - 99, decoded(ticks)[-1] + 1))


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.binary(max_size=6)),
        max_size=200,
    ),
    st.lists(st.tuples(st.integers(0, 1919), st.integers(958, 962)), min_size=1, max_size=20),
)
def test_under_any_input_memory_and_work_are_bounded(
    packets: list[tuple[int, int, int, bytes]], asked: list[tuple[int, int]]
) -> None:
    jitter = Jitter()
    for at, fields in enumerate(packets):
        jitter.put(Packet(*fields), at * 5 * MS_NS)
        if at % 4 == 0:
            ahead, want = asked[at % len(asked)]
            actions = jitter.pull(at * 5 * MS_NS, ahead, want)
            made = sum(action.samples for action in actions)
            assert want - ahead <= made <= max(0, want + PERIOD_MAX - ahead) + PACKET_SAMPLES_MAX
            assert len(actions) <= 32
        assert len(jitter._held) <= HELD_MAX
        assert len(jitter._seams) <= 2
        assert jitter.depth <= DEPTH_MAX + PACKET_SAMPLES_MAX
        assert abs(jitter.ratio - 1) <= 1e-3


@given(st.lists(st.integers(-2000, 2000), min_size=60, max_size=120))
def test_whatever_clocks_say_delays_stay_numbers(jumps_ms: list[int]) -> None:
    """A machine that was suspended, a clock that was set: late or early by any time."""
    jitter = Jitter()
    for number, jump_ms in enumerate(jumps_ms):
        jitter.put(packet(number), max(0, number * 20 + jump_ms) * MS_NS)
        jitter.pull(number * FRAME_NS)
        assert jitter.target >= FLOOR
        assert jitter.wish == 0 or abs(jitter.wish) > SLACK


def test_a_steady_speaker_is_heard_60_ms_later_at_first_and_whole() -> None:
    ticks, _ = run(steady(200), 0)
    assert decoded(ticks) == list(range(decoded(ticks)[-1] + 1))
    first_ms = next(tick.now_ms for tick in ticks if tick.actions[0].kind is Kind.DECODE)
    assert 10 + START * 1000 / SAMPLE_RATE <= first_ms + 1 <= 10 + START * 1000 / SAMPLE_RATE + 20


def test_a_good_network_needs_no_more_than_the_floor() -> None:
    _, jitter = run(steady(500), 0)
    assert jitter.target == FLOOR
    assert jitter.delay is not None
    assert FLOOR <= jitter.delay <= FLOOR + SLACK
    assert jitter.tally.concealed == jitter.tally.late == jitter.tally.stretched == 0


def test_a_lost_packet_is_rebuilt_from_the_next() -> None:
    ticks, jitter = run(steady(30, lost=(12,)))
    (rebuilt,) = [a for tick in ticks for a in tick.actions if a.kind is Kind.RECOVER]
    assert (number_of(rebuilt), rebuilt.samples, rebuilt.at) == (13, 960, 12 * 960)
    assert (jitter.tally.lost, jitter.tally.recovered, jitter.tally.concealed) == (1, 1, 0)


def test_of_two_lost_packets_the_first_is_concealed_and_the_second_rebuilt() -> None:
    ticks, jitter = run(steady(30, lost=(12, 13)))
    filled = [(a.kind, a.at, a.samples) for tick in ticks[:30] for a in tick.actions if a.kind is not Kind.DECODE]
    concealed = [(at, samples) for kind, at, samples in filled if kind is Kind.CONCEAL]
    assert sum(samples for _, samples in concealed) == FRAME_SAMPLES
    assert concealed[0][0] == 12 * FRAME_SAMPLES
    assert filled[-1] == (Kind.RECOVER, 13 * FRAME_SAMPLES, FRAME_SAMPLES)
    assert (jitter.tally.lost, jitter.tally.recovered) == (2, 1)


def test_what_comes_after_it_was_rebuilt_is_too_late() -> None:
    ticks, jitter = run(delayed([115.0 if number == 12 else 10.0 for number in range(30)]))
    assert 12 not in decoded(ticks)
    assert jitter.tally.late == jitter.tally.recovered == 1


def test_while_packets_are_lost_the_one_behind_a_hole_is_waited_for() -> None:
    """It must be there when the hole sounds: a packet's length more than jitter alone asks for."""
    delays = np.tile([10.0, 12.0, 40.0, 15.0, 10.0], 100)
    _, jitter = run(trace("", delays), 0)
    _, lossy = run(trace("", delays, np.arange(500) % 25 == 7), 0)
    assert lossy.target == jitter.target + FRAME_SAMPLES
    assert lossy.tally.recovered >= 0.9 * lossy.tally.lost > 0


def test_a_pause_in_transmission_is_filled_by_time_and_is_no_loss() -> None:
    """Chromium with DTX: a packet each 400 ms, sequence numbers without a gap."""
    sends = [*range(10), 30, 50, *range(70, 100)]
    arrivals = tuple(Arrival(number, n * FRAME_SAMPLES, n * 20 + 10.0) for number, n in enumerate(sends))
    ticks, jitter = run(Trace("", arrivals, 100))
    assert decoded(ticks) == sends
    assert all(action.kind is not Kind.RECOVER for tick in ticks for action in tick.actions)
    assert jitter.tally.lost == jitter.tally.concealed == jitter.tally.restarts == jitter.tally.waited == 0


def test_a_pause_in_transmission_is_where_the_delay_shrinks_for_nothing() -> None:
    """A stall just before a long pause: what it left is not spoken faster, the pause is made shorter, at one blow."""
    sends = [n for n in range(600) if n < 230 or n % 20 == 0]
    delays = [10.0 + max(0, 300 - 20 * (n - 200)) if n >= 200 else 10.0 for n in range(600)]
    arrivals = tuple(Arrival(number, n * FRAME_SAMPLES, n * 20 + delays[n]) for number, n in enumerate(sends))
    ticks, jitter = run(Trace("", arrivals, 600), 0)
    assert decoded(ticks) == sends[: len(decoded(ticks))]
    assert jitter.delay is not None
    assert jitter.delay <= FLOOR + SLACK
    late = [tick.late_ms for tick in ticks if tick.late_ms is not None]
    assert min(np.diff(late)) < -150


def test_a_late_packet_behind_which_nothing_was_decoded_makes_the_delay_grow_at_once() -> None:
    ticks, jitter = run(delayed([10.0] * 20 + [110.0] * 40))
    assert decoded(ticks) == list(range(60))
    assert jitter.tally.waited >= 1
    assert jitter.tally.lost == 0
    assert jitter.tally.concealed <= 5


def test_packets_that_are_overtaken_make_the_delay_grow_without_concealment() -> None:
    """Speech is slowed down: the way for those who come late again and again, but never hold up the others."""
    ticks, jitter = run(delayed([70.0 if number % 10 == 9 else 10.0 for number in range(500)]), 0)
    assert jitter.tally.stretched_samples > 15 * SAMPLE_RATE // 1000
    assert decoded(ticks)[-300:] == list(range(decoded(ticks)[-1] - 299, decoded(ticks)[-1] + 1))


def test_delay_that_is_no_longer_needed_is_taken_away_in_small_pieces() -> None:
    ticks, jitter = run(trace("", np.array([110.0 if 20 <= n < 40 else 10.0 for n in range(600)])), 0)
    numbers = decoded(ticks)
    assert numbers == list(range(numbers[-1] + 1))
    assert jitter.tally.skipped == jitter.tally.lost == 0
    assert jitter.delay is not None
    assert jitter.delay <= FLOOR + SLACK


def test_after_a_jam_the_newest_matters() -> None:
    delays = [max(n * 20 + 10, 1010) - n * 20.0 if 10 <= n < 50 else 10.0 for n in range(100)]
    ticks, jitter = run(trace("", np.array(delays)), 0)
    numbers = decoded(ticks)
    assert numbers == sorted(set(numbers))
    assert numbers[:10] == list(range(10))
    assert jitter.tally.skipped > 0
    assert jitter.delay is not None
    assert jitter.delay <= CEILING + FRAME_SAMPLES
    skips = [action for tick in ticks for action in tick.actions if action.kind is Kind.SKIP]
    assert skips, "what does not join is faded over"


def test_a_jam_that_never_ends_is_lived_with_at_its_own_delay() -> None:
    """Every packet takes a second more, from one moment on: nothing would be won by quickening or dropping."""
    ticks, _ = run(trace("", np.array([10.0] * 200 + [900.0] * 2000)), 0)
    numbers = decoded(ticks)
    assert numbers[-1500:] == list(range(numbers[-1] - 1499, numbers[-1] + 1))
    late = ticks[-1].late_ms
    assert late is not None
    assert late <= 900 + (FLOOR + SLACK) * 1000 / SAMPLE_RATE + 1


def test_another_source_takes_over_and_the_first_never_comes_back() -> None:
    jitter = Jitter()
    for number in range(10):
        jitter.put(packet(number), number * FRAME_NS)
        jitter.pull(number * FRAME_NS)
    kinds = []
    for number in range(10, 30):
        jitter.put(packet(number, ssrc=2, origin=777_777), number * FRAME_NS)
        jitter.put(packet(number), number * FRAME_NS)
        kinds += [action.kind for action in jitter.pull(number * FRAME_NS)]
    assert kinds.count(Kind.RESET) == 1
    assert kinds[-10:] == [Kind.DECODE] * 10
    assert jitter.tally.lost == 0


def test_a_sender_that_counts_anew_is_followed() -> None:
    jitter = Jitter()
    for number in range(20):
        jitter.put(packet(number), number * FRAME_NS)
        jitter.pull(number * FRAME_NS)
    heard = []
    for number in range(20, 40):
        jitter.put(packet(number, origin=3 * FAR), number * FRAME_NS)
        heard += [action for action in jitter.pull(number * FRAME_NS) if action.kind is Kind.DECODE]
    assert [number_of(action) for action in heard[-10:]] == list(
        range(number_of(heard[-1]) - 9, number_of(heard[-1]) + 1)
    )
    assert 20 in map(number_of, heard), "the packet that first looked odd is kept until a second one vouches for it"
    assert jitter.tally.restarts == 1


@given(st.integers(FAR + 1000, 0xFFFF_FFFF - FAR - 100_000), st.integers(5, 50))
def test_one_odd_timestamp_disturbs_nothing(offset: int, at: int) -> None:
    jitter = Jitter()
    numbers = []
    for number in range(100):
        if number == at:
            jitter.put(packet(number, origin=offset), number * FRAME_NS)
        jitter.put(packet(number), number * FRAME_NS)
        numbers += [number_of(a) for a in jitter.pull(number * FRAME_NS) if a.kind is Kind.DECODE]
    assert numbers == list(range(numbers[-1] + 1))
    assert (jitter.tally.restarts, jitter.tally.stray) == (0, 1)


def test_a_sender_that_goes_back_a_little_is_heard_again_after_a_second() -> None:
    """By less than what is plainly another line: its packets would all be too late for ever so long."""
    jitter = Jitter()
    heard = []
    for tick in range(300):
        number = tick if tick < 150 else tick - 140
        jitter.put(packet(number, sequence=tick), tick * FRAME_NS)
        heard += [number_of(action) for action in jitter.pull(tick * FRAME_NS) if action.kind is Kind.DECODE]
    assert heard[-50:] == list(range(heard[-1] - 49, heard[-1] + 1))
    assert heard[-1] >= 155
    assert jitter.tally.restarts == 1


def test_a_sender_that_leaps_ahead_a_little_is_followed_at_once() -> None:
    jitter = Jitter()
    heard = []
    for tick in range(300):
        number = tick if tick < 150 else tick + 200
        jitter.put(packet(number, sequence=tick), tick * FRAME_NS)
        heard += [number_of(action) for action in jitter.pull(tick * FRAME_NS) if action.kind is Kind.DECODE]
    assert heard == sorted(set(heard))
    assert len(heard) > 290
    assert jitter.delay is not None
    assert jitter.delay <= FLOOR + SLACK


def test_who_is_not_listened_to_for_a_while_is_then_heard_at_once_and_not_from_long_ago() -> None:
    """A connection whose seat is not taken yet is not pulled, for as long as that takes."""
    jitter = Jitter()
    heard = []
    for tick in range(1000):
        jitter.put(packet(tick), tick * FRAME_NS)
        if tick >= 700:
            heard += [number_of(action) for action in jitter.pull(tick * FRAME_NS) if action.kind is Kind.DECODE]
    assert heard[0] >= 700 - DEPTH_MAX // FRAME_SAMPLES - 1
    assert heard == list(range(heard[0], heard[-1] + 1))
    assert jitter.delay is not None
    assert jitter.delay <= FLOOR + SLACK
    assert jitter.tally.concealed == jitter.tally.duplicate == 0


def test_who_says_nothing_for_a_second_begins_anew() -> None:
    sends = [*range(10), *range(200, 220)]
    arrivals = tuple(Arrival(n, n * FRAME_SAMPLES, n * 20 + 10.0) for n in sends)
    ticks, jitter = run(Trace("", arrivals, 220))
    assert any(tick.actions[0].kind is Kind.SILENCE for tick in ticks[80:100])
    assert decoded(ticks) == sends
    assert jitter.tally.late == 0


@pytest.mark.parametrize(
    ("toc", "samples"), [(bytes([30 << 3]), 480), (bytes([11 << 3]), 2880), (bytes([16 << 3]), 120)]
)
def test_packets_of_any_length_make_frames(toc: bytes, samples: int) -> None:
    """2.5, 10 and 60 ms packets: what is decoded beyond a frame is left for the next one."""
    jitter = Jitter()
    made = due = ahead = 0
    for tick in range(100):
        while due * 1000 <= tick * 20 * 48 * 1000:
            jitter.put(Packet(1, due // samples, due, toc), tick * FRAME_NS)
            due += samples
        actions = jitter.pull(tick * FRAME_NS, ahead)
        made += sum(action.samples for action in actions)
        ahead = made - (tick + 1) * FRAME_SAMPLES
        assert ahead >= 0
    assert jitter.tally.lost == jitter.tally.late == 0
    assert actions == [] or actions[-1].kind is Kind.DECODE


@pytest.mark.parametrize(
    ("payload", "samples"),
    [
        (b"", 0),
        (bytes([0]), 480),
        (bytes([3 << 3]), 2880),
        (bytes([12 << 3]), 480),
        (bytes([15 << 3 | 1]), 1920),
        (bytes([16 << 3]), 120),
        (bytes([31 << 3 | 2]), 1920),
        (bytes([31 << 3 | 3]), 0),
        (bytes([31 << 3 | 3, 3]), 2880),
        (bytes([31 << 3 | 3, 48]), 0),
        (bytes([31 << 3]) + bytes(PACKET_BYTES_MAX), 0),
    ],
)
def test_the_length_of_a_packet_is_read_from_its_first_bytes(payload: bytes, samples: int) -> None:
    assert packet_samples(payload) == samples
