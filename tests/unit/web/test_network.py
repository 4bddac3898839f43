"""The connection in words, and which device is followed: the studio's pure modules."""

from itertools import pairwise
from typing import Any

import pytest

from support.scripts import call

GRADES = """
const steady = new module.Steady();
return raws.map(([at_ms, figures]) => {
  const shown = steady.judge(module.graded(figures, steady.shown.grade), at_ms);
  return [shown.grade, shown.why];
});
"""


def figures(mine: float | None = 0.0, theirs: float | None = 0.0, rtt_ms: float | None = 40.0) -> dict[str, Any]:
    return {"mine": mine, "theirs": theirs, "rtt_ms": rtt_ms}


def shown(*spans: tuple[float, dict[str, Any]], step_ms: int = 500) -> list[list[Any]]:
    """What is shown after each step of spans of (seconds, figures)."""
    raws: list[tuple[int, dict[str, Any]]] = []
    for seconds, each in spans:
        raws += [(step_ms * (len(raws) + i), each) for i in range(int(seconds * 1000 / step_ms))]
    found: list[list[Any]] = call("studio/network.js", GRADES, raws=raws)
    return found


@pytest.mark.parametrize(
    ("worst", "grade", "why"),
    [
        (figures(mine=0.05), "fair", "mine"),
        (figures(theirs=0.05), "fair", "theirs"),
        (figures(rtt_ms=600), "fair", "late"),
        (figures(mine=0.2, theirs=0.05), "poor", "mine"),
        (figures(mine=0.05, theirs=0.2), "poor", "theirs"),
        (figures(mine=0.01, theirs=0.01), "good", None),
        (figures(None, None, None), None, None),
    ],
)
def test_the_worst_of_three_is_named(worst: dict[str, Any], grade: str | None, why: str | None) -> None:
    assert call("studio/network.js", "return module.graded(worst)", worst=worst) == {"grade": grade, "why": why}


def test_what_is_known_is_said_at_once() -> None:
    assert shown((0.5, figures(None, None, None)), (0.5, figures()))[-1] == ["good", None]


def test_it_gets_worse_after_two_seconds_and_better_after_six() -> None:
    grades = [grade for grade, _ in shown((4, figures()), (10, figures(mine=0.2)), (12, figures()))]
    assert grades.index("poor") == pytest.approx(8 + 4, abs=1)
    assert grades[28:].index("good") == pytest.approx(12, abs=1)


def test_a_line_that_wavers_does_not_flicker() -> None:
    spans = [(1, figures(mine=0.05)), (1, figures())] * 20
    assert {grade for grade, _ in shown((2, figures()), *spans)} == {"good"}
    around = [(1, figures(mine=0.035)), (1, figures(mine=0.025))] * 20
    grades = [grade for grade, _ in shown((2, figures()), (4, figures(mine=0.05)), *around)]
    assert grades[-1] == "fair"
    assert len([1 for a, b in pairwise(grades) if a != b]) == 1


def test_it_takes_a_clear_improvement_to_take_a_sentence_back() -> None:
    spans = [(4, figures(mine=0.05)), (20, figures(mine=0.025)), (8, figures(mine=0.01))]
    grades = [grade for grade, _ in shown(*spans)]
    assert grades[47] == "fair"
    assert grades[-1] == "good"


def test_counters_become_shares_of_the_last_seconds() -> None:
    """Ten lost of fifty sent each second for ten seconds, then none: the share fades, and a new call begins anew."""
    body = """
    const report = (sent, lost) => new Map(Object.entries({
      a: { type: 'outbound-rtp', packetsSent: sent }, b: { type: 'remote-inbound-rtp', packetsLost: lost },
      c: { type: 'inbound-rtp', packetsReceived: sent, packetsLost: lost / 2 },
      d: { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.05 },
      e: { type: 'candidate-pair', nominated: false, currentRoundTripTime: 9 },
    }));
    const window = new module.Window();
    const at = (s, sent, lost) => window.add(module.counted(report(sent, lost), s * 1000));
    const found = [];
    for (let s = 0; s <= 10; s += 1) found.push(at(s, s * 50, s * 10));
    for (let s = 11; s <= 20; s += 1) found.push(at(s, s * 50, 100));
    found.push(at(21, 10, 0));
    return found;
    """
    found = call("studio/network.js", body)
    assert found[0] == {"rtt_ms": 50, "mine": None, "theirs": None}
    assert found[10]["mine"] == pytest.approx(0.2)
    assert found[10]["theirs"] == pytest.approx(5 / 55)
    assert found[20]["mine"] == found[20]["theirs"] == 0
    assert found[21]["mine"] is None


def test_browser_and_stage_are_believed_when_they_tell_of_worse() -> None:
    body = "return [module.joined(own, network), module.joined(own, null), module.joined(none, network)]"
    own = {"rtt_ms": 30, "mine": 0.01, "theirs": 0.2}
    network = {"rtt_ms": 90, "loss_in": 0.15, "loss_out": 0.02, "quality": "poor"}
    none = {"rtt_ms": None, "mine": None, "theirs": None}
    both, alone, told = call("studio/network.js", body, own=own, network=network, none=none)
    assert both == {"rtt_ms": 30, "mine": 0.15, "theirs": 0.2}
    assert alone == own
    assert told == {"rtt_ms": 90, "mine": 0.15, "theirs": 0.02}


A, B, DEFAULT = ({"id": name, "name": name.upper()} for name in ("a", "b", "default"))


@pytest.mark.parametrize(
    ("wanted", "using", "before", "after", "found"),
    [
        ("", "default", [DEFAULT, A], [DEFAULT, A], (None, None)),
        ("", "default", [DEFAULT, A], [DEFAULT, A, B], (None, "new")),
        ("", "default", [], [DEFAULT, A], (None, None)),  # the first list tells of nothing new
        ("b", "b", [DEFAULT, A, B], [DEFAULT, A], ("", "gone")),
        ("", "b", [DEFAULT, A, B], [DEFAULT, A], ("", "gone")),
        ("b", "default", [DEFAULT, A], [DEFAULT, A, B], ("b", "back")),
        ("b", "b", [DEFAULT, A, B], [DEFAULT, B], (None, None)),  # another left, which nobody used
        ("", "default", [DEFAULT, A], [A], ("", "gone")),
    ],
)
def test_devices_are_followed(
    wanted: str, using: str, before: list[Any], after: list[Any], found: tuple[str | None, str | None]
) -> None:
    change = {"wanted": wanted, "using": using, "before": before, "after": after}
    told = call("studio/devices.js", "return module.follow(change)", change=change)
    assert (told["use"], told["why"]) == found
