"""What the roster says of a seat's network: what is known of the last seconds, and the worst of it in a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import SECOND_NS
from rostra.stage.network import (
    FAIR_LOSS,
    FAIR_RTT_MS,
    REPORT_NS,
    WINDOW_NS,
    Count,
    Network,
    Observed,
    Quality,
    Report,
    quality,
)

HALF_NS = SECOND_NS // 2


def counted(*counts: Count) -> Observed:
    observed = Observed()
    for at, count in enumerate(counts):
        observed.count(count, at * HALF_NS)
    return observed


def test_nothing_is_known_of_who_has_just_come() -> None:
    assert Observed().view(0) == Network()
    assert counted(Count(0, 0)).view(0).loss_in is None


def test_loss_is_what_was_expected_and_did_not_come_or_came_too_late() -> None:
    observed = counted(Count(100, 100), Count(125, 120), Count(150, 145, late=3))
    view = observed.view(2 * HALF_NS, jitter_ms=4.0, delay_ms=60.0)
    assert view.loss_in == pytest.approx(8 / 50)
    assert (view.jitter_ms, view.delay_ms, view.quality) == (4.0, 60.0, Quality.POOR)


def test_what_is_long_past_is_forgotten() -> None:
    bad = [Count(25 * at, 20 * at) for at in range(4)]
    good = [Count(75 + 25 * at, 60 + 25 * at) for at in range(1, 12)]
    assert counted(*bad, *good).view(14 * HALF_NS).loss_in == 0
    observed = Observed()
    observed.report(Report(0.5, 80.0), 0)
    assert observed.view(REPORT_NS).loss_out == 0.5
    observed.report(Report(0.0), REPORT_NS)
    assert observed.view(REPORT_NS + 1) == Network(loss_out=0.0, quality=Quality.GOOD)
    assert observed.view(2 * REPORT_NS + 1) == Network()


def test_another_source_begins_another_past() -> None:
    assert counted(Count(500, 300), Count(25, 25), Count(50, 50)).view(WINDOW_NS).loss_in == 0


def test_packets_that_came_twice_are_no_negative_loss() -> None:
    assert counted(Count(100, 100), Count(125, 150)).view(HALF_NS).loss_in == 0


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((None, None, None, None), None),
        ((None, 0.0, None, None), Quality.GOOD),
        ((250.0, 0.02, 0.02, 30.0), Quality.GOOD),
        ((251.0, 0.0, 0.0, 0.0), Quality.FAIR),
        ((0.0, 0.021, 0.0, 0.0), Quality.FAIR),
        ((0.0, 0.0, 0.05, 0.0), Quality.FAIR),
        ((0.0, 0.0, 0.0, 31.0), Quality.FAIR),
        ((601.0, 0.0, 0.0, 0.0), Quality.POOR),
        ((0.0, 0.09, 0.0, None), Quality.POOR),
        ((None, None, 1.0, None), Quality.POOR),
        ((0.0, 0.0, 0.0, 81.0), Quality.POOR),
    ],
)
def test_the_worst_gives_the_word(values: tuple[float | None, ...], word: Quality | None) -> None:
    assert quality(*values) is word


@given(st.lists(st.one_of(st.none(), st.floats(0, 1000)), min_size=4, max_size=4), st.integers(0, 3))
def test_more_of_anything_is_never_better(values: list[float | None], at: int) -> None:
    order = [None, Quality.GOOD, Quality.FAIR, Quality.POOR]
    worse = [*values[:at], max(values[at] or 0.0, FAIR_LOSS, FAIR_RTT_MS) + 1, *values[at + 1 :]]
    assert order.index(quality(*worse)) >= order.index(quality(*values))
