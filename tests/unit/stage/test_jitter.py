"""The jitter buffer, under every order of arrival: in order, nothing twice, never far behind."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, MS_NS, SAMPLE_RATE
from rostra.stage.jitter import (
    DEPTH_MAX,
    FAR,
    HELD_MAX,
    PACKET_SAMPLES_MAX,
    TARGET,
    Action,
    Jitter,
    Kind,
    Packet,
    packet_samples,
)

CELT_20_MS = bytes([31 << 3])
"""The TOC of one 20 ms CELT frame (RFC 6716 table 2)."""


@dataclass(frozen=True)
class Arrival:
    """Packet number `number` of a sender that packs 20 ms each, at `at_ms` (counted from the first one's sending)."""

    number: int
    at_ms: float


def packet(number: int, *, ssrc: int = 1, sequence: int | None = None, origin: int = 0) -> Packet:
    timestamp = (origin + number * FRAME_SAMPLES) & 0xFFFF_FFFF
    counted = number if sequence is None else sequence
    return Packet(ssrc, counted & 0xFFFF, timestamp, CELT_20_MS + number.to_bytes(4, "big"))


def number_of(action: Action) -> int:
    return int.from_bytes(action.payload[1:], "big")


def play(jitter: Jitter, arrivals: list[Arrival], ticks: int, origin: int = 0) -> list[tuple[float, list[Action]]]:
    """(time in ms, what was to be done) for every tick, packets being put as they arrive."""
    waiting = sorted(arrivals, key=lambda arrival: arrival.at_ms)
    played = []
    for tick in range(ticks):
        now_ms = tick * 20 + 7.0
        while waiting and waiting[0].at_ms <= now_ms:
            arrival = waiting.pop(0)
            jitter.put(packet(arrival.number, origin=origin), round(arrival.at_ms * MS_NS))
        played.append((now_ms, jitter.pull(round(now_ms * MS_NS))))
    return played


def decoded(played: list[tuple[float, list[Action]]]) -> list[int]:
    return [number_of(a) for _, actions in played for a in actions if a.kind in (Kind.DECODE, Kind.FOLD)]


def steady(count: int, delay_ms: float = 10) -> list[Arrival]:
    return [Arrival(number, number * 20 + delay_ms) for number in range(count)]


lossy = st.lists(
    st.tuples(
        st.floats(0, 150), st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 2])
    ),  # delay, copies beyond the first (2: lost)
    min_size=1,
    max_size=120,
)


@given(lossy, st.sampled_from([0, 0xFFFF_FFFF - 20_000, 123_456_789]))
def test_whatever_the_network_does_nothing_sounds_twice_or_out_of_order(
    fates: list[tuple[float, int]], origin: int
) -> None:
    arrivals = []
    for number, (delay_ms, fate) in enumerate(fates):
        copies = (1, 2, 0)[fate]
        arrivals += [Arrival(number, number * 20 + delay_ms + 3 * copy) for copy in range(copies)]
    jitter = Jitter()
    played = play(jitter, arrivals, len(fates) + 30, origin)

    numbers = decoded(played)
    assert numbers == sorted(set(numbers))
    made = sum(action.samples for _, actions in played for action in actions)
    assert made == len(played) * FRAME_SAMPLES
    for now_ms, actions in played:
        for action in actions:
            if action.kind in (Kind.DECODE, Kind.FOLD):
                behind_ms = now_ms - number_of(action) * 20
                assert behind_ms <= 150 + (DEPTH_MAX + TARGET) * 1000 / SAMPLE_RATE + 20


@given(lossy)
def test_rebuilt_and_decoded_stretches_never_overlap(fates: list[tuple[float, int]]) -> None:
    arrivals = [Arrival(n, n * 20 + delay) for n, (delay, fate) in enumerate(fates) if fate != 2]
    end = 0
    for _, actions in play(Jitter(), arrivals, len(fates) + 30):
        for action in actions:
            if action.kind in (Kind.DECODE, Kind.FOLD, Kind.RECOVER):
                assert action.at >= end
                end = action.at + (FRAME_SAMPLES if action.kind is not Kind.RECOVER else action.samples)


@given(st.lists(st.floats(0, 40), min_size=100, max_size=100))
def test_what_comes_within_the_target_all_sounds(delays: list[float]) -> None:
    arrivals = [Arrival(number, number * 20 + delay) for number, delay in enumerate(delays)]
    jitter = Jitter()
    assert decoded(play(jitter, arrivals, 120)) == list(range(100))
    assert jitter.tally.lost == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.binary(max_size=6)),
        max_size=200,
    )
)
def test_no_packet_whatsoever_upsets_it(packets: list[tuple[int, int, int, bytes]]) -> None:
    jitter = Jitter()
    for at, fields in enumerate(packets):
        jitter.put(Packet(*fields), at * 5 * MS_NS)
        if at % 4 == 0:
            actions = jitter.pull(at * 5 * MS_NS)
            assert all(action.samples >= 0 for action in actions)
            assert sum(action.samples for action in actions) <= FRAME_SAMPLES + PACKET_SAMPLES_MAX
            assert len(actions) <= 16
        assert len(jitter._held) <= HELD_MAX
        assert jitter.depth <= max(DEPTH_MAX, PACKET_SAMPLES_MAX)


def test_a_steady_speaker_is_heard_60_ms_later_and_whole() -> None:
    played = play(Jitter(), steady(200), 200)
    assert decoded(played)[:190] == list(range(190))
    first_ms = next(now for now, actions in played if actions[0].kind is Kind.DECODE)
    assert 10 + 60 <= first_ms + 1 <= 10 + 60 + 20
    assert all(len(actions) == 1 for _, actions in played[10:])


def test_a_lost_packet_is_rebuilt_from_the_next() -> None:
    jitter = Jitter()
    played = play(jitter, [a for a in steady(30) if a.number != 12], 40)
    (rebuilt,) = [a for _, actions in played for a in actions if a.kind is Kind.RECOVER]
    assert (number_of(rebuilt), rebuilt.samples, rebuilt.at) == (13, 960, 12 * 960)
    assert (jitter.tally.lost, jitter.tally.recovered) == (1, 1)


def test_of_two_lost_packets_the_first_is_concealed_and_the_second_rebuilt() -> None:
    jitter = Jitter()
    played = play(jitter, [a for a in steady(30) if a.number not in (12, 13)], 33)
    kinds = [a.kind for _, actions in played for a in actions if a.kind is not Kind.SILENCE]
    assert kinds[11:15] == [Kind.DECODE, Kind.CONCEAL, Kind.RECOVER, Kind.DECODE]
    assert (jitter.tally.lost, jitter.tally.recovered, jitter.tally.concealed) == (2, 1, 1)


def test_what_comes_after_it_was_rebuilt_is_too_late() -> None:
    jitter = Jitter()
    arrivals = [a for a in steady(30) if a.number != 12] + [Arrival(12, 12 * 20 + 95)]
    assert 12 not in decoded(play(jitter, arrivals, 40))
    assert jitter.tally.late == 1


def test_a_pause_in_transmission_is_filled_by_time_and_is_no_loss() -> None:
    """Chromium with DTX: a packet each 400 ms, sequence numbers without a gap."""
    jitter = Jitter()
    sends = [*range(10), 30, 50, *range(70, 100)]
    for sequence, number in enumerate(sends):
        now_ns = (number * 20 + 10) * MS_NS
        jitter.put(packet(number, sequence=sequence), now_ns)
        until = sends[sequence + 1] if sequence + 1 < len(sends) else number + 1
        for tick in range(number, until):
            actions = jitter.pull((tick * 20 + 17) * MS_NS)
            assert sum(action.samples for action in actions) == FRAME_SAMPLES
            assert all(action.kind is not Kind.RECOVER for action in actions)
    assert jitter.tally.lost == jitter.tally.concealed == jitter.tally.restarts == 0
    assert TARGET - 2 * FRAME_SAMPLES <= jitter.depth <= TARGET


def test_a_late_packet_behind_which_nothing_was_decoded_makes_the_delay_grow() -> None:
    jitter = Jitter()
    arrivals = [Arrival(n, n * 20 + (10 if n < 20 else 110)) for n in range(60)]
    played = play(jitter, arrivals, 70)
    assert decoded(played) == list(range(60))
    assert jitter.tally.stretched >= 1
    assert jitter.tally.lost == 0


def test_delay_that_is_no_longer_needed_is_taken_away_a_frame_at_a_time() -> None:
    jitter = Jitter()
    arrivals = [Arrival(n, n * 20 + (110 if 20 <= n < 40 else 10)) for n in range(600)]
    numbers = decoded(play(jitter, arrivals, 600))
    assert numbers == list(range(numbers[-1] + 1))
    assert jitter.tally.folded == 2
    assert jitter.depth <= TARGET


@pytest.mark.parametrize("drift", [1.0005, 0.9995])
def test_a_clock_that_runs_apart_is_followed_without_loss(drift: float) -> None:
    """500 parts in a million: ten times what sound cards do."""
    jitter = Jitter()
    arrivals = [Arrival(n, n * 20 * drift + 10 + (n * 7 % 5)) for n in range(6000)]
    numbers = decoded(play(jitter, arrivals, 6000))
    assert numbers == list(range(numbers[-1] + 1))
    assert jitter.tally.lost == jitter.tally.late == 0
    assert jitter.depth <= TARGET + 2 * FRAME_SAMPLES
    assert jitter.tally.folded + jitter.tally.stretched <= 30


def test_after_a_jam_the_newest_matters() -> None:
    jitter = Jitter()
    jammed = [Arrival(n, max(n * 20 + 10, 1010) if 10 <= n < 50 else n * 20 + 10) for n in range(100)]
    numbers = decoded(play(jitter, jammed, 100))
    assert numbers == sorted(set(numbers))
    assert numbers[:10] == list(range(10))
    assert jitter.tally.skipped > 0
    assert numbers[-1] >= 100 - DEPTH_MAX // FRAME_SAMPLES - 1


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
    kinds = []
    for number in range(20, 40):
        jitter.put(packet(number, origin=3 * FAR), number * FRAME_NS)
        kinds += [action.kind for action in jitter.pull(number * FRAME_NS)]
    assert kinds[-10:] == [Kind.DECODE] * 10
    assert jitter.tally.restarts == 1


def test_who_says_nothing_for_a_second_begins_anew() -> None:
    jitter = Jitter()
    played = play(jitter, [*steady(10), *(Arrival(n, n * 20 + 10) for n in range(200, 220))], 230)
    silent = [tick for tick, (_, actions) in enumerate(played) if actions[0].kind is Kind.SILENCE]
    assert 100 in silent
    assert decoded(played) == [*range(10), *range(200, 220)]
    assert jitter.tally.late == 0


def test_packets_of_any_length_make_frames() -> None:
    """10 ms and 60 ms packets: what is decoded beyond a frame is left for the next one."""
    for toc, samples in ((bytes([30 << 3]), 480), (bytes([11 << 3]), 2880)):
        jitter = Jitter()
        made = due = 0
        for tick in range(100):
            while due * 1000 <= tick * 20 * 48 * 1000:
                jitter.put(Packet(1, due // samples, due, toc), tick * FRAME_NS)
                due += samples
            actions = jitter.pull(tick * FRAME_NS)
            made += sum(action.samples for action in actions)
            assert made >= (tick + 1) * FRAME_SAMPLES
        assert jitter.tally.lost == 0
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
    ],
)
def test_the_length_of_a_packet_is_read_from_its_first_bytes(payload: bytes, samples: int) -> None:
    assert packet_samples(payload) == samples
