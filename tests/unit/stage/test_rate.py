"""Reports in, plans out: worse news at once, better news when it has lasted, and never anything but a plan."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import SECOND_NS
from rostra.stage.io.opus import Decoder, Encoder
from rostra.stage.network import Report
from rostra.stage.rate import CONGESTED, STEPS, Plan, Rate, Reason
from unit.stage.test_opus import speech

PLANS = [step.plan for step in STEPS]


def told(*reports: tuple[float, float, float | None]) -> list[Plan]:
    """The plan after each (second, loss, round trip in ms)."""
    rate = Rate()
    return [rate.report(Report(loss, rtt), round(at * SECOND_NS)) for at, loss, rtt in reports]


def every_5_s(*news: tuple[float, float | None]) -> list[Plan]:
    return told(*((5.0 * at, loss, rtt) for at, (loss, rtt) in enumerate(news)))


def test_without_loss_nothing_changes() -> None:
    assert every_5_s(*[(0.0, 30.0)] * 20) == [PLANS[0]] * 20


def test_loss_is_prepared_for_at_once_and_given_up_step_by_step() -> None:
    plans = every_5_s((0.0, 30.0), (0.10, 30.0), *[(0.0, 30.0)] * 7)
    assert plans[1] == PLANS[2]
    assert plans[2:4] == [PLANS[2]] * 2, "one good report says little"
    assert plans[4:] == [PLANS[1], *[PLANS[0]] * 4]


def test_loss_about_a_limit_does_not_make_the_plan_waver() -> None:
    losses = [0.019, 0.021] * 20
    plans = every_5_s(*((loss, 40.0) for loss in losses))
    assert len(set(plans[2:])) == 1


def test_heavy_loss_alone_is_answered_with_fec_and_not_with_fewer_bits() -> None:
    assert every_5_s((0.0, 50.0), (0.3, 55.0))[-1] == PLANS[3]


def test_loss_with_a_growing_round_trip_is_a_queue_and_takes_bits_away_until_it_has_gone() -> None:
    plans = every_5_s((0.0, 50.0), (0.0, 260.0), (0.05, 260.0), (0.0, 240.0), *[(0.0, 60.0)] * 4)
    assert [plan.reason for plan in plans[:3]] == [Reason.CLEAR, Reason.CLEAR, Reason.CONGESTION]
    assert plans[3:6] == [CONGESTED] * 3
    assert plans[-1].reason is not Reason.CONGESTION


def test_a_long_way_is_no_queue() -> None:
    assert CONGESTED not in every_5_s(*[(0.03, 700.0)] * 10)


def test_a_peer_that_reports_without_end_costs_no_memory_and_gets_its_plan() -> None:
    plans = told(*((at / 1000, 0.5, 10.0) for at in range(2000)))
    assert set(plans) == {PLANS[3]}


@given(
    st.lists(
        st.tuples(st.floats(0, 8), st.floats(0, 1), st.none() | st.floats(0, 5000)),
        max_size=60,
    )
)
def test_whatever_is_reported_the_plan_is_one_of_few_and_calm(news: list[tuple[float, float, float | None]]) -> None:
    rate, now_ns, before = Rate(), 0, Rate().plan
    for pause, loss, rtt in news:
        now_ns += round(pause * SECOND_NS)
        plan = rate.report(Report(loss, rtt), now_ns)
        assert plan in (*PLANS, CONGESTED)
        if plan in PLANS and before in PLANS and PLANS.index(plan) < PLANS.index(before):
            assert loss < STEPS[PLANS.index(before)].below
        before = plan


@pytest.mark.parametrize("plan", [*PLANS, CONGESTED])
def test_with_every_plan_lost_speech_is_rebuilt_better_than_it_is_guessed(plan: Plan) -> None:
    encoder = Encoder()
    encoder.set_rate(plan.kbit_s, plan.loss_percent)
    packets = [encoder.encode(frame) for frame in speech(100).reshape(-1, 960)]
    whole = Decoder()
    truth = [whole.decode(packet) for packet in packets]

    def error(*, fec: bool) -> float:
        decoder, wrong = Decoder(), []
        for at, packet in enumerate(packets):
            if at % 10 == 0 and at:
                heard = decoder.recover(packet, 960) if fec else decoder.conceal(960)
                wrong.append(np.sum((heard - truth[at - 1]) ** 2) / np.sum(truth[at - 1] ** 2))
            if at % 10 != 9:
                decoder.decode(packet)
        return float(np.median(wrong))

    assert error(fec=True) < 0.5 * error(fec=False)
    assert sum(map(len, packets)) * 8 / 2000 < 1.25 * plan.kbit_s


def test_changing_the_plan_in_mid_word_makes_no_click() -> None:
    encoder, decoder, pcm = Encoder(), Decoder(), speech(100).reshape(-1, 960)
    heard = []
    for at, frame in enumerate(pcm):
        if at % 10 == 5:
            plan = (*PLANS, CONGESTED)[at // 10 % 5]
            encoder.set_rate(plan.kbit_s, plan.loss_percent)
        heard.append(decoder.decode(encoder.encode(frame)))
    steps = np.abs(np.diff(np.concatenate(heard)))
    assert steps.max() < 1.5 * np.abs(np.diff(pcm.ravel())).max()
