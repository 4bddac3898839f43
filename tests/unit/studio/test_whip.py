"""WHIP from outside, against something that answers like a stage."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from rostra.kernel.errors import PeerError
from rostra.kernel.limits import SDP_BYTES_MAX
from rostra.space.commands import Request
from rostra.space.io.folder import Journal
from rostra.space.lifecycle import State
from rostra.studio.io.desk import Created, Desk
from rostra.studio.signalling import seat_id
from support.studio import Client, Process

OFFER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00:11\r\na=sendrecv\r\n"
)
FRAGMENT = "a=ice-ufrag:abcd\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\n"
SDP = {"content-type": "application/sdp"}
TRICKLE = {"content-type": "application/trickle-ice-sdpfrag", "if-match": '"s1"'}


def answer(request: Request) -> dict[str, Any]:
    match request.verb:
        case "offer":
            return {"session": "s1", "sdp": "v=0\r\nanswer\r\n"}
        case "trickle" | "close" if request.args["session"] != "s1":
            raise PeerError("session.unknown", "That connection does not exist any more.")
        case "roster":
            seat = {
                "id": "seat1",
                "name": "Ada",
                "role": "speaker",
                "armed": True,
                "connected": True,
                "level_db": -20.5,
            }
            return {"seats": [seat], "on_air": True}
        case _:
            return {}


@pytest.fixture
def stage(desk: Desk, created: Created, processes: Any) -> Process:
    process: Process = processes(desk.folder(created.space.id).stage_sock, answer)
    return process


@pytest.fixture
def speaker(stranger: Client, created: Created) -> Client:
    return stranger.as_link(created.links["speaker"])


def is_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == "*"


def test_an_offer_is_answered_with_a_session(desk: Desk, created: Created, stage: Process, speaker: Client) -> None:
    path = f"/whip/{created.space.id}"
    made = speaker("POST", f"{path}?seat=k1&name=Ada", content=OFFER, headers=SDP)
    assert (made.status_code, made.text) == (201, "v=0\r\nanswer\r\n")
    assert made.headers["content-type"].partition(";")[0] == "application/sdp"
    assert made.headers["location"] == f"{path}/s1"
    assert made.headers["etag"] == '"s1"'
    assert made.headers["access-control-allow-origin"] == "*"
    link = desk.links(created.space.id)[1].id
    seat = {"seat": seat_id(link, "k1"), "name": "Ada", "role": "speaker", "sdp": OFFER}
    assert stage.asked == [("offer", seat)]


def test_who_gives_no_name_is_called_by_the_link_s_label_or_role(
    desk: Desk, created: Created, stage: Process, stranger: Client, speaker: Client
) -> None:
    path = f"/whip/{created.space.id}"
    named = stranger.as_link(desk.give(created.space.id, "cohost", label="Grace").url)
    for client in (speaker, named):
        assert client("POST", path, content=OFFER, headers=SDP).status_code == 201
    assert [args["name"] for _, args in stage.asked] == ["Speaker", "Grace"]


def test_a_reconnection_keeps_the_seat_and_is_noted_once(
    desk: Desk, created: Created, stage: Process, speaker: Client
) -> None:
    for _ in range(3):
        speaker("POST", f"/whip/{created.space.id}?seat=k1", content=OFFER, headers=SDP)
    assert len({args["seat"] for _, args in stage.asked}) == 1
    assert len(desk.store.acts(created.space.id, verb="join")) == 1


def test_candidates_trickle_and_the_session_ends(created: Created, stage: Process, speaker: Client) -> None:
    session = f"/whip/{created.space.id}/s1"
    assert speaker("PATCH", session, content=FRAGMENT, headers=TRICKLE).status_code == 204
    assert speaker("DELETE", session).status_code == 200
    assert stage.asked == [("trickle", {"session": "s1", "fragment": FRAGMENT}), ("close", {"session": "s1"})]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (OFFER, {}, 415, "request.type"),
        (OFFER, {"content-type": "text/plain"}, 415, "request.type"),
        ("hello", SDP, 400, "sdp.malformed"),
        ("", SDP, 400, "sdp.malformed"),
        (b"\xff\xff", SDP, 400, "sdp.malformed"),
        (OFFER.replace("m=audio", "m=video"), SDP, 422, "sdp.unfit"),
        (OFFER + "a=x\r\n" * SDP_BYTES_MAX, SDP, 413, "request.too_large"),
    ],
)
def test_unfit_offers_never_reach_the_stage(
    content: str | bytes,
    headers: dict[str, str],
    status: int,
    code: str,
    created: Created,
    stage: Process,
    speaker: Client,
) -> None:
    is_problem(speaker("POST", f"/whip/{created.space.id}", content=content, headers=headers), status, code)
    assert stage.asked == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"if-match": ""}, 412, "precondition.stale"),
        ({"if-match": '"s2"'}, 412, "precondition.stale"),
        ({"if-match": "*"}, 422, "sdp.restart"),
        ({"content-type": "application/sdp"}, 415, "request.type"),
    ],
)
def test_unfit_fragments_never_reach_the_stage(
    change: dict[str, str], status: int, code: str, created: Created, stage: Process, speaker: Client
) -> None:
    session = f"/whip/{created.space.id}/s1"
    is_problem(speaker("PATCH", session, content=FRAGMENT, headers=TRICKLE | change), status, code)
    assert stage.asked == []


def test_a_fragment_without_if_match_is_asked_for_one(created: Created, stage: Process, speaker: Client) -> None:
    headers = {"content-type": TRICKLE["content-type"]}
    session = f"/whip/{created.space.id}/s1"
    is_problem(speaker("PATCH", session, content=FRAGMENT, headers=headers), 428, "precondition.missing")


def test_what_the_stage_refuses_is_told(created: Created, stage: Process, speaker: Client) -> None:
    is_problem(speaker("DELETE", f"/whip/{created.space.id}/s2"), 404, "session.unknown")


def test_a_stage_that_is_away_is_worth_another_try(created: Created, speaker: Client) -> None:
    away = speaker("POST", f"/whip/{created.space.id}", content=OFFER, headers=SDP)
    is_problem(away, 503, "process.away")
    assert away.headers["retry-after"] == "1"


def test_nobody_joins_after_the_end(desk: Desk, created: Created, stage: Process, speaker: Client) -> None:
    pen = Journal(desk.folder(created.space.id))
    pen.append(replace(desk.life(created.space.id), state=State.ENDED), None)
    pen.close()
    is_problem(speaker("POST", f"/whip/{created.space.id}", content=OFFER, headers=SDP), 409, "space.state")
    assert stage.asked == []


def test_any_origin_may_ask_what_it_may_do(stranger: Client, created: Created) -> None:
    asked = stranger("OPTIONS", f"/whip/{created.space.id}")
    assert asked.status_code == 204
    assert asked.headers["accept-post"] == "application/sdp"
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    session = stranger("OPTIONS", f"/whip/{created.space.id}/s1")
    assert "PATCH" in session.headers["access-control-allow-methods"]


def test_the_stage_is_shown_and_one_s_own_seat_is_one_s_own(
    desk: Desk, created: Created, processes: Any, speaker: Client, stranger: Client
) -> None:
    space = created.space.id
    own = seat_id(desk.links(space)[1].id, "k1")

    def roster(request: Request) -> dict[str, Any]:
        network = {
            "rtt_ms": 31.5,
            "loss_in": 0.0,
            "loss_out": None,
            "jitter_ms": 2.0,
            "delay_ms": None,
            "quality": "good",
        }
        seats = [{"id": seat, "name": seat, "role": "speaker", "network": network} for seat in (own, "other")]
        return {"seats": seats, "on_air": False} if request.verb == "roster" else {}

    stage: Process = processes(desk.folder(space).stage_sock, roster)
    shown = speaker("GET", f"/api/v1/spaces/{space}/stage?seat=k1").json()
    assert [(seat["id"], seat["you"]) for seat in shown["seats"]] == [(own, True), ("other", False)]
    assert {(seat["network"]["rtt_ms"], seat["network"]["quality"]) for seat in shown["seats"]} == {(31.5, "good")}
    seats = f"/api/v1/spaces/{space}/seats"
    assert speaker("POST", f"{seats}/{own}?seat=k1", json={"muted": True}).json() == shown
    assert speaker("POST", f"{seats}/{own}?seat=k1", json={"armed": False}).status_code == 200
    assert speaker("POST", f"{seats}/{own}?seat=k1", json={"armed": True}).status_code == 403
    assert speaker("POST", f"{seats}/{own}?seat=wrong", json={"muted": True}).status_code == 403
    assert speaker("POST", f"{seats}/other?seat=k1", json={"removed": True}).status_code == 403
    host = stranger.as_link(created.links["host"])
    assert host("POST", f"{seats}/other", json={"armed": True, "muted": True}).status_code == 200
    refused = host("POST", f"{seats}/other", json={"armed": False, "muted": False})
    assert (refused.status_code, refused.json()["code"]) == (403, "seat.consent"), "and nothing of it was done"
    orders = [(verb, args["seat"]) for verb, args in stage.asked if verb != "roster"]
    assert orders == [("mute", own), ("disarm", own), ("mute", "other"), ("arm", "other")]
