"""WHIP's rules: bodies that are what they say, and no larger; who may do what to a seat."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import PeerError
from rostra.kernel.limits import NAME_CHARS_MAX, SDP_BYTES_MAX
from rostra.space.grants import Verb
from rostra.studio import signalling
from rostra.studio.api import SeatChange

OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789012345678901",
        "a=fingerprint:sha-256 00:11",
        "a=setup:actpass",
        "a=mid:0",
        "a=sendrecv",
        "a=rtpmap:111 opus/48000/2",
        "",
    ]
)
FRAGMENT = "a=ice-ufrag:abcd\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\n"


def code_of(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(PeerError) as caught:
        call(*arguments)
    return caught.value.code


def test_a_fit_offer_passes_unchanged_whatever_its_line_ends() -> None:
    assert signalling.offer(OFFER.encode()) == OFFER
    assert signalling.offer(OFFER.replace("\r\n", "\n").encode()) == OFFER


def test_the_offers_of_tools_that_only_send_pass() -> None:
    for client in ("ffmpeg", "gstreamer-like"):
        signalling.offer((Path(__file__).parents[1] / f"stage/offers/{client}.sdp").read_bytes())


@pytest.mark.parametrize("direction", ["a=sendonly", "a=mid:1"])
def test_an_offer_may_only_send_or_leave_the_direction_out(direction: str) -> None:
    signalling.offer(OFFER.replace("a=sendrecv", direction).encode())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "sdp.malformed"),
        (b"hello", "sdp.malformed"),
        (b'{"sdp": "v=0"}', "sdp.malformed"),
        (b"\xff\xfe", "sdp.malformed"),
        (OFFER.replace("v=0", "v=1").encode(), "sdp.malformed"),
        (OFFER.replace("s=-", "s=-\r\n\r\n").encode(), "sdp.malformed"),
        (OFFER.replace("m=audio", "m=video").encode(), "sdp.unfit"),
        ((OFFER + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n").encode(), "sdp.unfit"),
        ((OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n").encode(), "sdp.unfit"),
        (OFFER.replace("sendrecv", "recvonly").encode(), "sdp.unfit"),
        (OFFER.replace("sendrecv", "inactive").encode(), "sdp.unfit"),
        (OFFER.replace("a=fingerprint", "a=finger").encode(), "sdp.unfit"),
        (OFFER.replace("a=ice-pwd", "a=pwd").encode(), "sdp.unfit"),
        (b"v=0\r\n" + b"a=x\r\n" * SDP_BYTES_MAX, "request.too_large"),
    ],
)
def test_an_unfit_offer_is_refused(body: bytes, code: str) -> None:
    assert code_of(signalling.offer, body) == code


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_body_does_more_than_be_refused(body: bytes) -> None:
    for read in (signalling.offer, signalling.fragment):
        try:
            read(body)
        except PeerError:
            continue


def test_a_fragment_holds_candidates() -> None:
    assert signalling.fragment(FRAGMENT.encode()) == FRAGMENT
    signalling.fragment(b"a=end-of-candidates\r\n")
    assert code_of(signalling.fragment, b"a=mid:0\r\n") == "sdp.malformed"
    assert code_of(signalling.fragment, b"a=candidate:x\r\n" * 2000) == "request.too_large"


def test_types_are_compared_without_parameters_and_case() -> None:
    signalling.check_type("Application/SDP; charset=utf-8", signalling.SDP)
    assert code_of(signalling.check_type, "text/plain", signalling.SDP) == "request.type"
    assert code_of(signalling.check_type, None, signalling.SDP) == "request.type"


def test_trickle_names_its_session() -> None:
    signalling.check_trickle("s1", '"s1"')
    assert code_of(signalling.check_trickle, "s1", None) == "precondition.missing"
    assert code_of(signalling.check_trickle, "s1", '"s2"') == "precondition.stale"
    assert code_of(signalling.check_trickle, "s1", "*") == "sdp.restart"


@given(st.text(max_size=40), st.text(max_size=64))
def test_a_seat_s_id_fits_the_ring_and_stays(link: str, key: str) -> None:
    seat = signalling.seat_id(link, key)
    assert seat == signalling.seat_id(link, key)
    assert len(seat.encode()) == signalling.SEAT_ID_CHARS <= 16
    assert seat != signalling.seat_id(link, key + "x")


@given(st.text(max_size=300))
def test_a_seat_s_name_is_one_short_line(asked: str) -> None:
    name = signalling.seat_name(asked, "Speaker")
    assert 0 < len(name) <= NAME_CHARS_MAX
    assert len(name.splitlines()) == 1
    assert not set(name) & set("\x00\n\r\u202e\u2066")


@pytest.mark.parametrize(
    ("change", "orders"),
    [
        (SeatChange(removed=True, armed=True), ["remove"]),
        (SeatChange(armed=True, muted=False), ["unmute", "arm"]),
        (SeatChange(armed=False), ["disarm"]),
        (SeatChange(muted=True, removed=False), ["mute"]),
    ],
)
def test_changes_become_orders(change: SeatChange, orders: list[str]) -> None:
    assert signalling.seat_orders(change) == orders


def test_a_change_that_changes_nothing_is_refused() -> None:
    assert code_of(signalling.seat_orders, SeatChange()) == "seat.nothing"


@pytest.mark.parametrize(
    ("order", "own", "verb"),
    [
        ("mute", True, Verb.SPEAK),
        ("unmute", True, Verb.SPEAK),
        ("disarm", True, Verb.SPEAK),
        ("remove", True, Verb.SPEAK),
        ("arm", True, Verb.ARM),
        ("arm", False, Verb.ARM),
        ("disarm", False, Verb.ARM),
        ("mute", False, Verb.MODERATE),
        ("remove", False, Verb.MODERATE),
    ],
)
def test_who_may_do_what_to_a_seat(order: str, own: bool, verb: Verb) -> None:
    assert signalling.right_for(order, own=own) is verb


def test_nobody_unmutes_another() -> None:
    with pytest.raises(PeerError) as refused:
        signalling.right_for("unmute", own=False)
    assert refused.value.code == "seat.consent"
    assert refused.value.hint
