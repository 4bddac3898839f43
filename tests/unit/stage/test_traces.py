"""Minutes of networks, played into the machine alone: what each does to the delay, and what it may cost."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from rostra.kernel.units import SAMPLE_RATE
from rostra.stage.jitter import FLOOR, SLACK, START, Jitter, Kind, Tally
from unit.stage.traces import model, recorded
from unit.stage.traces.model import Trace, trace
from unit.stage.traces.replay import replay

FLOOR_MS, SLACK_MS = FLOOR * 1000 / SAMPLE_RATE, SLACK * 1000 / SAMPLE_RATE


@dataclass(frozen=True)
class Account:
    """What a trace came to. `late_ms`: how much later than the fastest packet allows each tick is; NaN: silent."""

    late_ms: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    tally: Tally
    ticks: int

    def at(self, share: float) -> float:
        return float(np.nanpercentile(self.late_ms, share))


def account(arriving: Trace) -> Account:
    fastest = min(arrival.at_ms - arriving.sent_ms(arrival.sample) for arrival in arriving.arrivals)
    jitter = Jitter()
    late = [np.nan if tick.late_ms is None else tick.late_ms for tick in replay(arriving, jitter, 0)]
    return Account(np.array(late) - fastest, jitter.tally, len(late))


Model = Callable[[np.random.Generator, int], Trace]


def minute(network: Model, seed: int = 7) -> Account:
    return account(network(np.random.default_rng(seed), 3000))


@pytest.mark.parametrize("network", model.MODELS, ids=lambda network: network.__name__)
def test_every_network_is_heard_through_in_order_and_within_a_second(network: Model) -> None:
    arriving = network(np.random.default_rng(8), 3000)
    jitter, end, played = Jitter(), -1, 0
    for tick in replay(arriving, jitter, 0):
        for action in tick.actions:
            if action.kind is Kind.DECODE:
                assert action.at >= end
                end, played = action.at + action.samples, played + 1
        assert tick.late_ms is None or tick.late_ms < 1000
    assert played >= 0.95 * len(arriving.arrivals)


@pytest.mark.parametrize(
    ("network", "p50_ms", "p95_ms", "concealed"),
    [
        (model.calm, FLOOR_MS + SLACK_MS, FLOOR_MS + SLACK_MS, 0),
        (model.wifi, 180, 190, 0.01),
        (model.bufferbloat, 350, 350, 0.01),
        (model.handover, 110, 370, 0.03),
        (model.loss, 65, 70, 0.005),
        (model.bursts, 65, 70, 0.25),
        (model.wild, 235, 245, 0.002),
        (model.waves, 235, 240, 0.005),
        (model.overtaking, 65, 70, 0.002),
        (model.stall, FLOOR_MS + SLACK_MS, 450, 0.02),
        (model.pauses, FLOOR_MS + SLACK_MS, FLOOR_MS + SLACK_MS, 0),
        (model.drifting, 75, 85, 0.005),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_network_costs_no_more_delay_and_concealment_than_it_must(
    network: Model, p50_ms: float, p95_ms: float, concealed: float
) -> None:
    minutes = minute(network)
    assert minutes.at(50) <= p50_ms + 1
    assert minutes.at(95) <= p95_ms + 1
    assert minutes.tally.concealed <= concealed * minutes.ticks


def test_random_loss_of_5_percent_is_mended_and_leaves_no_delay() -> None:
    minutes = minute(model.loss)
    assert minutes.tally.recovered >= 0.93 * minutes.tally.lost
    assert minutes.at(100) - np.nanmin(minutes.late_ms) < START * 1000 / SAMPLE_RATE


def test_five_seconds_after_a_jam_the_delay_is_back() -> None:
    minutes = minute(model.stall)
    end = 3000 // 2 + 40 + 250
    assert np.nanmax(minutes.late_ms[end:]) <= FLOOR_MS + SLACK_MS + 1


def test_delay_does_not_grow_where_jitter_only_comes_and_goes() -> None:
    """Ten seconds of 20 ms, ten of 200, six times: the last turn costs what the second cost."""
    late = minute(model.waves).late_ms
    assert np.nanmean(late[2500:3000]) <= np.nanmean(late[500:1000]) + 10


@pytest.mark.parametrize(("ppm", "minutes"), [(200, 60), (-200, 60), (300, 30), (-300, 30), (500, 10), (-20, 10)])
def test_an_hour_of_a_drifting_clock_neither_adds_delay_nor_costs_a_sample(ppm: int, minutes: int) -> None:
    """Three minutes to learn the clock; then nothing is concealed, stretched or folded, and the delay stands still."""
    slow = -ppm * 1e-6
    rng = np.random.default_rng(9)
    arriving = trace("", 20 + rng.gamma(1.2, 1.5, minutes * 3000), slow=slow)
    jitter, late, learnt = Jitter(), [], Tally()
    for number, tick in enumerate(replay(arriving, jitter, 0)):
        if number == 9000:
            learnt = Tally(*(getattr(jitter.tally, name) for name in Tally.__slots__))
        if number >= 9000:
            assert tick.late_ms is not None
            late.append(tick.late_ms)
    for name in ("lost", "late", "concealed", "waited", "stretched", "folded", "skipped", "restarts"):
        assert getattr(jitter.tally, name) == getattr(learnt, name), name
    assert max(late) - min(late) < 5
    assert abs(jitter.ratio - 1 + slow) < 20e-6


@pytest.mark.parametrize("name", recorded.NAMES)
def test_what_was_recorded_is_heard_through(name: str) -> None:
    arriving = recorded.load(name)
    heard = account(arriving)
    assert heard.tally.lost == heard.tally.late == heard.tally.skipped == 0
    assert heard.tally.concealed <= 0.01 * heard.ticks
    gaps = [later.at_ms - earlier.at_ms for earlier, later in pairwise(arriving.arrivals)]
    assert heard.at(95) <= FLOOR_MS + SLACK_MS + max(gaps)
