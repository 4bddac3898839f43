"""Offers of real clients are cut down and answered; everything else is refused in a sentence, or survives as it is."""

import asyncio
import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import PeerError
from rostra.kernel.limits import SDP_BYTES_MAX
from rostra.space.grants import Role
from rostra.stage.io.session import Session
from rostra.stage.negotiation import (
    CANDIDATES_MAX,
    OPUS_PARAMETERS,
    SECTIONS_MAX,
    finish_answer,
    read_fragment,
    read_offer,
)

FOLDER = Path(__file__).parent / "offers"
OFFERS = {path.stem: path.read_bytes().decode() for path in sorted(FOLDER.glob("*.sdp"))}
CHROMIUM = OFFERS["chromium"]
HOST = "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host generation 0"
ANSWER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 50001 UDP/TLS/RTP/SAVPF {0}\r\nc=IN IP4 192.0.2.1\r\na=mid:0\r\n"
    "a=rtpmap:{0} opus/48000/2\r\na=sendrecv\r\n"
)


def refusal(offer: str) -> str:
    with pytest.raises(PeerError) as refused:
        read_offer(offer)
    assert refused.value.sentence
    assert refused.value.hint
    return refused.value.code


@pytest.mark.parametrize(
    ("client", "payload_type", "hears"),
    [
        ("chromium", 111, True),
        ("firefox", 109, True),
        ("chromium-everything", 111, True),
        ("ffmpeg", 111, False),
        ("gstreamer-like", 96, False),
    ],
)
def test_an_offer_is_cut_down_to_one_audio_section_with_opus(client: str, payload_type: int, hears: bool) -> None:
    offer = read_offer(OFFERS[client])
    assert (offer.payload_type, offer.hears) == (payload_type, hears)
    assert f"a=mid:{offer.mid}\r\n" in OFFERS[client]
    assert f"a=ice-ufrag:{offer.ufrag}" in offer.sdp
    assert offer.sdp.count("\r\nm=") == 1
    assert offer.sdp.count("a=rtpmap:") == 1
    assert f"m=audio 9 UDP/TLS/RTP/SAVPF {payload_type}\r\n" in offer.sdp
    assert f"a=group:BUNDLE {offer.mid}\r\n" in offer.sdp
    assert "a=end-of-candidates" not in offer.sdp
    again = read_offer(offer.sdp)
    assert again.sdp == offer.sdp


def test_the_answer_asks_for_fec_and_mono_and_refuses_what_was_put_aside() -> None:
    offer = read_offer(OFFERS["chromium-everything"])
    assert [(at, media[:7], mid) for at, media, mid in offer.refused] == [(1, "m=video", "1"), (2, "m=appli", "2")]
    answer = finish_answer(ANSWER.format(111), offer)
    sections = [line for line in answer.split("\r\n") if line.startswith("m=")]
    assert [section.split(" ")[:2] for section in sections] == [
        ["m=audio", "50001"],
        ["m=video", "0"],
        ["m=application", "0"],
    ]
    assert f"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 {OPUS_PARAMETERS}\r\n" in answer
    assert answer.endswith("a=inactive\r\na=mid:2\r\n")
    assert answer.count("a=group:BUNDLE 0\r\n") == 1


def test_sections_keep_their_order_when_video_comes_first() -> None:
    head, audio, *others = CHROMIUM.partition("m=audio")
    video = OFFERS["chromium-everything"].partition("m=video")
    body = "m=video" + video[2].partition("m=application")[0]
    offer = read_offer(head + body + audio + "".join(others).replace("a=mid:0", "a=mid:9"))
    assert offer.mid == "9"
    lines = finish_answer(ANSWER.format(111), offer).split("\r\n")
    assert [line.split(" ")[0] for line in lines if line.startswith("m=")] == ["m=video", "m=audio"]


def answered(offer: str) -> str:
    async def scene() -> str:
        session = Session("s", "seat", "Ann", Role.SPEAKER, read_offer(offer), lambda _: None)
        answer = await session.answer()
        await session.close()
        return answer

    return asyncio.run(scene())


@pytest.mark.parametrize(("offered", "answer"), [("actpass", "active"), ("passive", "active"), ("active", "passive")])
@pytest.mark.parametrize("client", ["ffmpeg", "gstreamer-like"])
def test_who_only_sends_is_answered_in_the_role_that_they_leave_to_us(client: str, offered: str, answer: str) -> None:
    """`a=setup:passive` waits for our ClientHello (RFC 8842 section 5.3)."""
    given = re.sub("a=setup:[a-z]+", f"a=setup:{offered}", OFFERS[client])
    made = answered(given)
    assert f"a=setup:{answer}\r\n" in made
    assert "a=recvonly\r\n" in made
    assert OPUS_PARAMETERS in made
    assert "a=candidate:" in made


def test_one_who_only_sends_hears_nothing() -> None:
    assert not read_offer(CHROMIUM.replace("a=sendrecv", "a=sendonly")).hears


@pytest.mark.parametrize(
    ("code", "offer"),
    [
        ("sdp.malformed", ""),
        ("sdp.malformed", "hello"),
        ("sdp.malformed", "v=0"[::-1]),
        ("sdp.malformed", CHROMIUM.replace("v=0", "v=1")),
        ("sdp.malformed", CHROMIUM.replace("m=audio 9", "m=audio nine")),
        ("sdp.malformed", CHROMIUM.replace("a=mid:0\r\n", "")),
        ("sdp.malformed", CHROMIUM.replace("a=rtcp-mux\r\n", "")),
        ("sdp.malformed", CHROMIUM.replace("a=ice-pwd", "a=nice-pwd")),
        ("sdp.malformed", CHROMIUM.replace("a=setup:actpass", "a=setup:holdconn")),
        ("sdp.malformed", CHROMIUM.replace("s=-", "s=\x00")),
        ("sdp.insecure", CHROMIUM.replace("a=fingerprint", "a=footprint")),
        ("sdp.no_opus", CHROMIUM.replace("opus/48000/2", "ilbc/8000")),
        ("sdp.no_opus", CHROMIUM.replace("SAVPF 111", "SAVPF")),
        ("sdp.no_audio", CHROMIUM.partition("m=audio")[0]),
        ("sdp.no_audio", CHROMIUM.replace("a=sendrecv", "a=recvonly")),
        ("sdp.no_audio", CHROMIUM.replace("a=sendrecv", "a=inactive")),
        ("sdp.no_audio", CHROMIUM.replace("m=audio 9", "m=audio 0")),
        ("sdp.no_audio", CHROMIUM.replace("m=audio", "m=video")),
        ("sdp.too_large", CHROMIUM + "a=x\r\n" * SDP_BYTES_MAX),
        ("sdp.too_large", CHROMIUM + "a=x\r\n" * 3000),
        ("sdp.too_large", CHROMIUM + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * SECTIONS_MAX),
    ],
)
def test_what_a_stage_cannot_use_is_refused_by_name(code: str, offer: str) -> None:
    assert refusal(offer) == code


@given(st.data())
def test_a_mangled_offer_is_refused_or_read_never_more(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(list(OFFERS.values()))).split("\r\n")
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["drop", "double", "cut", "mix"]))
        if change == "drop" and len(lines) > 1:
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        elif change == "cut":
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
        else:
            lines[at] = lines[at] + data.draw(st.text(max_size=5))
    try:
        offer = read_offer("\r\n".join(lines))
    except PeerError:
        return
    assert offer.sdp.count("\r\nm=") == 1


@given(st.text(max_size=300))
def test_no_text_at_all_upsets_it(text: str) -> None:
    for read in (read_offer, lambda fragment: read_fragment(fragment, read_offer(CHROMIUM))):
        with contextlib.suppress(PeerError):
            read(text)


def test_candidates_are_kept_as_far_as_a_server_should_use_them() -> None:
    lines = "".join(f"a={HOST.replace('50000', str(50_000 + n))}\r\n" for n in range(40))
    offer = read_offer(CHROMIUM + f"a={HOST.replace('192.0.2.7', 'a1b2.local')}\r\n" + lines)
    assert offer.sdp.count("a=candidate:") == CANDIDATES_MAX
    assert ".local" not in offer.sdp


@pytest.mark.parametrize(("loopback", "kept"), [(True, 2), (False, 1)])
def test_only_a_stage_on_loopback_sends_there(loopback: bool, kept: int) -> None:
    lines = f"a={HOST}\r\na={HOST.replace('192.0.2.7', '127.0.0.1')}\r\n"
    offer = read_offer(CHROMIUM + lines, loopback=loopback)
    assert offer.sdp.count("a=candidate:") == kept
    assert len(read_fragment(lines, offer)) == kept


def test_a_public_address_is_offered_before_the_private_one_it_stands_for() -> None:
    offer = read_offer(CHROMIUM)
    local = [
        f"a=candidate:{'a' * 32} 1 udp 2130706431 10.0.0.5 50001 typ host",
        "a=candidate:bbb 1 udp 2130706431 172.17.0.1 50001 typ host",
        "a=end-of-candidates",
    ]
    told = finish_answer(
        ANSWER.format(111) + "".join(f"{line}\r\n" for line in local), offer, {"10.0.0.5": "203.0.113.7"}
    )
    candidates = [line for line in told.split("\r\n") if line.startswith(("a=cand", "a=end"))]
    assert candidates == [f"a=candidate:{'a' * 31}p 1 udp 2130706175 203.0.113.7 50001 typ host", *local]
    assert int(candidates[0].split(" ")[3]) < int(local[0].split(" ")[3]), "a LAN's speakers take the short way"


@pytest.mark.parametrize("published", [{}, {"10.9.9.9": "203.0.113.7"}, {"192.0.2.1": "203.0.113.7"}])
def test_without_an_address_to_stand_for_nothing_is_added(published: dict[str, str]) -> None:
    offer = read_offer(CHROMIUM)
    whole = ANSWER.format(111) + "a=candidate:aaa 1 udp 1 10.0.0.5 50001 typ host\r\n"
    assert finish_answer(whole, offer, published) == finish_answer(whole, offer)


def test_a_fragment_brings_candidates_of_the_same_connection() -> None:
    offer = read_offer(CHROMIUM)
    fragment = f"a=ice-ufrag:{offer.ufrag}\r\na=ice-pwd:x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na={HOST}\r\n"
    assert read_fragment(fragment + "a=end-of-candidates\r\n", offer) == (HOST.removeprefix("candidate:"),)
    assert read_fragment(f"a={HOST}", offer) == (HOST.removeprefix("candidate:"),)
    with pytest.raises(PeerError, match="cannot restart ICE"):
        read_fragment(fragment.replace(offer.ufrag, "else"), offer)
