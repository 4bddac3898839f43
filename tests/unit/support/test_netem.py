"""The model of a bad network does what its words say, whatever the packets."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.netem import MS_NS, Bursts, Condition, Way

TICK_NS = 20 * MS_NS
SHARES = st.floats(0, 0.5)
CONDITIONS = st.builds(
    Condition,
    loss=SHARES,
    bursts=st.none() | st.builds(Bursts, SHARES, st.floats(1, 8)),
    rate_kbit_s=st.none() | st.floats(8, 2000),
    queue_ms=st.floats(0, 500),
    delay_ms=st.floats(0, 300),
    jitter_ms=st.floats(0, 100),
    ordered=st.booleans(),
    reorder=SHARES,
    reorder_ms=st.floats(0, 100),
    duplicate=SHARES,
    down=st.booleans(),
)


def sent(way: Way, packets: int, size_bytes: int = 120, every_ns: int = TICK_NS) -> list[tuple[int, ...]]:
    return [way.take(size_bytes, number * every_ns) for number in range(packets)]


@given(CONDITIONS, st.integers(0, 1 << 32))
def test_every_packet_is_lost_dropped_or_delivered_and_none_arrives_before_it_was_sent(
    condition: Condition, seed: int
) -> None:
    way = Way(seed, condition)
    arrivals = sent(way, 200)
    counts = way.counts
    assert counts.taken == 200 == counts.lost + counts.tail_dropped + counts.delivered - counts.doubled
    assert counts.delivered == sum(map(len, arrivals))
    assert all(at >= number * TICK_NS for number, times in enumerate(arrivals) for at in times)
    assert not (condition.down and counts.delivered)


@given(CONDITIONS, st.integers(0, 1 << 32))
def test_one_seed_makes_one_network(condition: Condition, seed: int) -> None:
    assert sent(Way(seed, condition), 100) == sent(Way(seed, condition), 100)


@given(CONDITIONS, st.integers(0, 1 << 32))
def test_what_is_ordered_arrives_in_order(condition: Condition, seed: int) -> None:
    way = Way(seed, replace(condition, ordered=True))
    arrivals = [at for times in sent(way, 200) for at in times]
    assert arrivals == sorted(arrivals)
    assert way.counts.overtaken == 0


@given(SHARES, SHARES, st.integers(0, 1 << 32))
def test_a_setting_does_not_change_what_another_decides(fewer: float, more: float, seed: int) -> None:
    fewer, more = sorted((fewer, more))
    few = sent(Way(seed, Condition(loss=fewer)), 300)
    many = sent(Way(seed, Condition(loss=more, delay_ms=40, jitter_ms=20, duplicate=0.1, rate_kbit_s=500)), 300)
    lost_few = {number for number, times in enumerate(few) if not times}
    lost_many = {number for number, times in enumerate(many) if not times}
    assert lost_few <= lost_many


@given(st.floats(0, 300), st.floats(0, 100), st.integers(0, 1 << 32))
def test_the_delay_stays_within_its_jitter(delay_ms: float, jitter_ms: float, seed: int) -> None:
    way = Way(seed, Condition(delay_ms=delay_ms, jitter_ms=jitter_ms))
    travels_ms = [(at - number * TICK_NS) / MS_NS for number, (at,) in enumerate(sent(way, 200))]
    assert min(travels_ms) >= max(0, delay_ms - jitter_ms) - 1e-3
    assert max(travels_ms) <= delay_ms + jitter_ms + 1e-3


@given(st.floats(8, 200), st.floats(0, 2000), st.integers(40, 1500), st.integers(0, 1 << 32))
def test_a_bottleneck_lets_no_more_through_than_its_rate_and_holds_no_more_than_its_queue(
    rate_kbit_s: float, queue_ms: float, size_bytes: int, seed: int
) -> None:
    way = Way(seed, Condition(rate_kbit_s=rate_kbit_s, queue_ms=queue_ms))
    arrivals = sent(way, 300, size_bytes)
    each_ms = size_bytes * 8 / rate_kbit_s
    times_ms = [times[0] / MS_NS for times in arrivals if times]
    assert all(after - before >= each_ms - 1e-3 for before, after in pairwise(times_ms))
    waits_ms = [(times[0] - number * TICK_NS) / MS_NS for number, times in enumerate(arrivals) if times]
    assert max(waits_ms) <= queue_ms + each_ms + 1e-3


@given(CONDITIONS, st.integers(0, 199), st.integers(0, 5_000), st.integers(0, 1 << 32))
def test_nothing_arrives_during_a_stall_but_what_was_on_its_way(
    condition: Condition, begins: int, stall_ms: int, seed: int
) -> None:
    way = Way(seed, condition)
    sent(way, begins)
    until_ns = begins * TICK_NS + stall_ms * MS_NS
    way.stall(until_ns)
    assert all(at >= until_ns for n in range(begins, 400) for at in way.take(100, n * TICK_NS))


@pytest.mark.parametrize(("share", "length"), [(0.01, 1), (0.1, 3), (0.2, 5), (0.4, 10)])
def test_bursts_lose_their_share_in_runs_of_their_length(share: float, length: float) -> None:
    gone = [not times for times in sent(Way(7, Condition(bursts=Bursts(share, length))), 100_000)]
    runs = sum(here and not before for before, here in pairwise([False, *gone]))
    assert sum(gone) / len(gone) == pytest.approx(share, rel=0.1)
    assert sum(gone) / runs == pytest.approx(length, rel=0.1)


def test_random_loss_and_duplicates_keep_their_share() -> None:
    way = Way(3, Condition(loss=0.05, duplicate=0.02))
    sent(way, 50_000)
    assert way.counts.lost / 50_000 == pytest.approx(0.05, rel=0.1)
    assert way.counts.doubled / 50_000 == pytest.approx(0.95 * 0.02, rel=0.15)


def test_reordered_packets_come_behind_their_successors() -> None:
    way = Way(5, Condition(reorder=0.1, reorder_ms=50))
    arrivals = [times[0] for times in sent(way, 2_000)]
    behind = sum(at > after for at, after in pairwise(arrivals))
    assert behind == pytest.approx(0.1 * 0.9 * 2_000, rel=0.2)


def test_bursts_that_cannot_be_are_refused() -> None:
    with pytest.raises(AssertionError, match="runs so short"):
        Bursts(0.8, 2)
