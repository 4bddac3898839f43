"""When a certificate is ordered, and whose fault it is when none comes."""

from hypothesis import given
from hypothesis import strategies as st

from rostra.tls.renewal import PAUSES_S, Attempts, Certificate, Whose, order_at_s, refused

NAME = "live.example.org"
NINETY = Certificate(frozenset({NAME}), 0, 90 * 86_400)


def test_a_certificate_is_renewed_at_two_thirds_of_its_life() -> None:
    assert order_at_s(NINETY, [NAME], Attempts()) == 60 * 86_400
    assert order_at_s(Certificate(frozenset({NAME}), 100, 700), [NAME], Attempts()) == 500


def test_without_a_fitting_one_an_order_is_due_at_once() -> None:
    assert order_at_s(None, [NAME], Attempts()) == 0
    assert order_at_s(NINETY, ["other.example.org"], Attempts()) == 0
    assert order_at_s(NINETY, [NAME, "studio.example.org"], Attempts()) == 0


def test_a_star_stands_for_one_label() -> None:
    star = Certificate(frozenset({"*.example.org", "example.org"}), 0, 1)
    assert star.covers("Live.Example.org")
    assert star.covers("example.org")
    assert not star.covers("a.live.example.org")
    assert not star.covers("org")


def test_what_has_run_out_or_is_for_others_is_not_usable() -> None:
    assert NINETY.usable([NAME], NINETY.ends_s - 1)
    assert not NINETY.usable([NAME], NINETY.ends_s)
    assert not NINETY.usable([NAME, "b.example.org"], 1)


@given(st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=12))
def test_failures_are_followed_by_growing_pauses_and_never_by_a_hurry(retry_after: list[float | None]) -> None:
    attempts, now = Attempts(), 0.0
    for number, told in enumerate(retry_after):
        attempts = attempts.failed(now, told)
        pause = attempts.not_before_s - now
        assert pause > PAUSES_S[min(number, len(PAUSES_S) - 1)] - 1e-6
        assert told is None or pause > told - 1e-6
        assert order_at_s(None, [NAME], attempts) == attempts.not_before_s
        assert order_at_s(NINETY, [NAME], attempts) >= attempts.not_before_s
        now = attempts.not_before_s


def test_no_more_than_five_attempts_an_hour() -> None:
    attempts, now, at = Attempts(), 0.0, [0.0]
    for _ in range(20):
        attempts = attempts.failed(now)
        now = attempts.not_before_s
        at.append(now)
    assert max(sum(start <= one < start + 3600 for one in at) for start in at) <= 5


def test_a_refusal_says_whose_fault_it_is_and_what_to_do() -> None:
    for code, whose in (
        ("connection", Whose.OPERATOR),
        ("dns", Whose.OPERATOR),
        ("unauthorized", Whose.OPERATOR),
        ("caa", Whose.OPERATOR),
        ("rateLimited", Whose.AUTHORITY),
        ("serverInternal", Whose.AUTHORITY),
        ("somethingNew", Whose.AUTHORITY),
        ("", Whose.AUTHORITY),
    ):
        fault = refused(code, "the detail {of} it", NAME)
        assert fault.whose is whose
        assert NAME in fault.sentence
        assert "the detail {of} it" in fault.sentence
        assert fault.hint
        assert "{" not in fault.hint
