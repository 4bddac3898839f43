"""What the listener's page decides, run as the browser runs it: `pace.js` knows no clock and no page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page, sync_playwright

import rostra
from support.browsers import chromium

PACE: Final = Path(rostra.__file__).parent / "web" / "listener" / "pace.js"

SIMULATION: Final = """
// Plays a script of arrivals in steps of 50 ms, as a player with an endless buffer would: [[at_s, end_s], ...].
(pace, {arrivals, until_s, start_s}) => {
  const judge = new pace.Pace();
  let [position, dry, rates, jumps, next] = [start_s, 0, [], [], 0];
  const ranges = [];
  for (let now = arrivals[0][0]; now < until_s; now += 0.05) {
    while (next < arrivals.length && arrivals[next][0] <= now) {
      const [at, end] = arrivals[next];
      judge.arrived(at, end, next === 0);
      const last = ranges.at(-1);
      if (last && Math.abs(last[1] - (end - pace.FRAGMENT_S)) < 0.001) last[1] = end;
      else ranges.push([end - pace.FRAGMENT_S, end]);
      next += 1;
    }
    const {seek_s, rate} = judge.decide(now, position, ranges);
    if (seek_s !== null) { jumps.push([position, seek_s]); position = seek_s; }
    const here = ranges.find(([start, end]) => position >= start - 0.02 && position < end);
    const step = 0.05 * rate;
    if (now < arrivals[0][0] + pace.START_S) continue;
    if (here) position = Math.min(position + step, here[1]); else dry += 1;
    rates.push(rate);
  }
  return {lag_s: until_s - position, dry_s: dry * 0.05, rates, jumps, target_s: judge.target_s(until_s)};
}
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as driver, chromium(driver) as browser:
        page = browser.new_page()
        source = json.dumps(PACE.read_text())
        page.evaluate(
            f"import(URL.createObjectURL(new Blob([{source}], {{type: 'text/javascript'}}))).then(m => window.pace = m)"
        )
        yield page


def play(page: Page, arrivals: list[tuple[float, float]], until_s: float, start_s: float = 0.0) -> dict[str, Any]:
    given = {"arrivals": arrivals, "until_s": until_s, "start_s": start_s}
    found: dict[str, Any] = page.evaluate(f"given => ({SIMULATION})(window.pace, given)", given)
    return found


def bursts(cadence_s: float, first_s: float, last_s: float) -> list[tuple[float, float]]:
    """Fragments that come together every `cadence_s`, each as soon as a burst follows its end."""
    together = round(cadence_s / 0.64)
    return [(first_s + -(-n // together) * cadence_s, round(n * 0.64, 2)) for n in range(1, int(last_s / 0.64))]


@pytest.mark.browser
def test_a_steady_arrival_is_played_as_it_is(page: Page) -> None:
    heard = play(page, bursts(0.64, 0, 40), 38)
    assert set(heard["rates"]) == {1}
    assert heard["dry_s"] < 0.1
    assert heard["lag_s"] < 1.4


@pytest.mark.browser
@pytest.mark.parametrize("cadence_s", [1.92, 5.12, 14.72])
def test_bursts_stall_once_and_then_never_again(page: Page, cadence_s: float) -> None:
    steady, slow = bursts(0.64, 0, 20), bursts(cadence_s, 0, 220)
    arrivals = steady + [(max(at, steady[-1][0]), end) for at, end in slow if end > steady[-1][1]]
    early = play(page, arrivals, 20 + 3 * cadence_s)
    late = play(page, arrivals, 20 + 12 * cadence_s)
    assert late["dry_s"] == pytest.approx(early["dry_s"], abs=0.11), "it learned from the first"
    assert late["dry_s"] <= cadence_s + 1.5
    assert late["lag_s"] <= cadence_s + 2


@pytest.mark.browser
def test_a_hiccup_is_caught_up_gently_after_a_while(page: Page) -> None:
    """Nothing arrives for 3 s, then all of it at once, then as before."""
    arrivals = [(max(at, 13.0) if 10 < at < 13 else at, end) for at, end in bursts(0.64, 0, 120)]
    soon, later = play(page, arrivals, 20), play(page, arrivals, 110)
    assert soon["lag_s"] > 2.5, "not before it is safe"
    assert later["lag_s"] < 1.5
    assert max(later["rates"]) <= 1.08
    assert later["dry_s"] == pytest.approx(soon["dry_s"], abs=0.11)


@pytest.mark.browser
def test_far_behind_is_left_by_a_jump(page: Page) -> None:
    arrivals = [(max(at, 42.0) if 10 < at < 42 else at, end) for at, end in bursts(0.64, 0, 400)]
    heard = play(page, arrivals, 390)
    assert len(heard["jumps"]) == 1
    assert heard["lag_s"] < 2


@pytest.mark.browser
def test_holes_are_jumped_over(page: Page) -> None:
    arrivals = [(at, end) for at, end in bursts(0.64, 0, 40) if not 10 < end < 12]
    heard = play(page, arrivals, 38)
    assert [round(to, 1) for _, to in heard["jumps"]] == [11.5]
    assert heard["lag_s"] < 3


@pytest.mark.browser
def test_joining_in_the_middle_begins_where_the_buffer_does(page: Page) -> None:
    arrivals = [(at - 1000, end) for at, end in bursts(0.64, 0, 1040) if end > 1000]
    heard = play(page, arrivals, 30, start_s=0.0)
    assert heard["jumps"][0][1] > 999
    assert heard["lag_s"] + 1000 < 1002


@pytest.mark.browser
def test_a_player_that_stands_close_to_a_hole_is_taken_over_it(page: Page) -> None:
    """Browsers stop up to a quarter of a second before the end of what is buffered."""
    decide = "([still]) => new window.pace.Pace().decide(50, 9.8, [[0, 10], [12, 20]], still).seek_s"
    assert page.evaluate(decide, [0.0]) is None
    assert page.evaluate(decide, [0.5]) == pytest.approx(12, abs=0.01)
    assert page.evaluate("() => new window.pace.Pace().decide(50, 9.8, [[0, 10]], 5).seek_s") is None


@pytest.mark.browser
def test_returning_listeners_spread_out_and_a_busy_edge_is_not_taken_for_dead(page: Page) -> None:
    waits = page.evaluate(
        "() => [1, 2, 5, 30].map(n => [window.pace.backoff_s(n, 0), window.pace.backoff_s(n, 0.999)])"
    )
    assert waits[0] == pytest.approx([0.2, 2], abs=0.01)
    assert all(least == pytest.approx(0.2) and most <= 15 for least, most in waits)
    assert [most for _, most in waits] == sorted(most for _, most in waits)
    assert page.evaluate("() => window.pace.patience_s(15.2, false)") == pytest.approx(38)
    assert page.evaluate("() => window.pace.patience_s(null, false)") >= 15


@pytest.mark.browser
def test_pages_without_sound_ask_seldom_and_apart(page: Page) -> None:
    def ask(state: str, until_doors_s: float = -600, since_s: float = 0, chance: float = 0.5) -> float:
        given = [state, until_doors_s, since_s, chance]
        return float(page.evaluate("given => window.pace.poll_s(...given)", given))

    assert ask("scheduled", 3600) > 40
    for chance in (0.0, 0.5, 0.99):
        assert 30.4 < ask("scheduled", 30, chance=chance) < 34, "just after the doors"
        assert ask("on_air", chance=chance) >= 20
    assert ask("ended", since_s=10) == pytest.approx(30)
    assert ask("ended", since_s=3600) == pytest.approx(900)


@pytest.mark.browser
@pytest.mark.parametrize(("age_s", "skipped_s"), [(-3, 0), (0.1, 0), (0.5, 0.3), (0.64, 0.44), (2, 0)])
def test_what_is_old_of_the_greeting_fragment_is_passed_over_if_the_clock_can_be_believed(
    page: Page, age_s: float, skipped_s: float
) -> None:
    assert page.evaluate("age => window.pace.skip_s(age)", age_s) == pytest.approx(skipped_s)
