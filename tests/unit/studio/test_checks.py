"""The verdict: every row of the table, and what goes before it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.studio.checks import ADVICE, MICROPHONE, SCALES, Measured, Microphone, Verdict, Way, grades, judge

WELL = Measured(
    microphone=Microphone.OPEN,
    way=Way.UDP,
    echo_db=-100,
    rtt_ms=30,
    loss_in=0.0,
    loss_out=0.001,
    jitter_ms=3,
    level_db=-20,
    noise_db=-60,
    clipped=0.0,
)


def test_all_well_is_good_and_needs_no_advice() -> None:
    assert judge(WELL).verdict is Verdict.GOOD
    assert judge(WELL).advice == ()
    assert set(grades(WELL).values()) == {Verdict.GOOD}
    assert list(grades(WELL)) == [scale.advice for scale in SCALES]


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [
        ({"level_db": -34}, "usable", "level_low"),
        ({"level_db": -42, "noise_db": -90}, "poor", "level_low"),
        ({"level_db": -12}, "usable", "level_high"),
        ({"level_db": -6}, "poor", "level_high"),
        ({"clipped": 0.02}, "usable", "clipping"),
        ({"clipped": 0.2}, "poor", "clipping"),
        ({"noise_db": -40}, "usable", "noise"),
        ({"noise_db": -30}, "poor", "noise"),
        ({"echo_db": -60}, "usable", "echo"),
        ({"echo_db": -45}, "poor", "echo"),
        ({"loss_in": 0.02}, "usable", "loss"),
        ({"loss_out": 0.08}, "poor", "loss"),
        ({"rtt_ms": 250}, "usable", "delay"),
        ({"rtt_ms": 600}, "poor", "delay"),
        ({"jitter_ms": 30}, "usable", "jitter"),
        ({"jitter_ms": 80}, "poor", "jitter"),
        ({"way": Way.RELAY}, "usable", "relay_only"),
        ({"relay": False}, "good", "relay_unreachable"),
        ({"relay": True}, "good", None),
        ({"way": Way.NONE}, "failed", "connection_none"),
        ({"way": None}, "failed", "connection_none"),
        ({"level_db": None, "noise_db": None}, "failed", "nothing_heard"),
        *(({"microphone": why}, "failed", code) for why, code in MICROPHONE.items()),
    ],
)
def test_each_thing_that_is_wrong_has_its_word(change: dict[str, Any], verdict: str, code: str | None) -> None:
    judged = judge(replace(WELL, **change))
    assert (judged.verdict, judged.advice) == (verdict, () if code is None else (code,))


def test_the_worst_comes_first_and_decides() -> None:
    judged = judge(replace(WELL, level_db=-35, noise_db=-70, loss_in=0.3, relay=False))
    assert judged.verdict is Verdict.POOR
    assert judged.advice == ("loss", "level_low", "relay_unreachable")


def test_without_a_microphone_nothing_else_is_worth_a_word() -> None:
    judged = judge(Measured(microphone=Microphone.DENIED))
    assert judged.advice == ("microphone_denied",)


measurements = st.builds(
    Measured,
    st.sampled_from(Microphone),
    st.none() | st.sampled_from(Way),
    st.none() | st.booleans(),
    st.none() | st.floats(-100, 0),
    st.none() | st.floats(0, 5000),
    *(st.none() | st.floats(0, 1) for _ in range(2)),
    st.none() | st.floats(0, 500),
    *(st.none() | st.floats(-100, 0) for _ in range(2)),
    st.none() | st.floats(0, 1),
)


def test_the_host_s_page_has_the_table_s_figures() -> None:
    page = (Path(__file__).parents[3] / "docs" / "2-host" / "test-your-guests.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([-\d]+) [^|]+ \| ([-\d]+) [^|]+ \|", page, re.MULTILINE)
    shares = {"clipping", "loss"}
    figures = [(scale.usable, scale.poor, 100 if scale.advice in shares else 1) for scale in SCALES]
    told = [(abs(float(usable)), abs(float(poor))) for usable, poor in rows]
    assert told == [(abs(usable) * unit, abs(poor) * unit) for usable, poor, unit in figures]


@given(measurements)
def test_whatever_is_measured_the_verdict_and_its_advice_go_together(measured: Measured) -> None:
    judged = judge(measured)
    assert set(judged.advice) <= set(ADVICE)
    assert len(set(judged.advice)) == len(judged.advice)
    assert (judged.verdict is Verdict.GOOD) == (set(judged.advice) <= {"relay_unreachable"})
    assert judged.verdict is not Verdict.FAILED or len(judged.advice) == 1


@given(measurements, st.sampled_from(SCALES), st.floats(0, 2))
def test_worse_is_never_judged_better(measured: Measured, scale: Any, more: float) -> None:
    """Along each scale that rises with one field alone."""
    field = {"clipping": "clipped", "delay": "rtt_ms", "jitter": "jitter_ms"}.get(scale.advice)
    if field is None or getattr(measured, field) is None:
        return
    worse = replace(measured, **{field: getattr(measured, field) * (1 + more)})
    order = list(Verdict)
    assert order.index(judge(worse).verdict) >= order.index(judge(measured).verdict)
