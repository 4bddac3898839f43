"""A guest's test from outside, against something that answers like the check."""

from dataclasses import replace
from typing import Any

import pytest

from rostra.kernel.errors import PeerError, Unavailable
from rostra.space.commands import Request
from rostra.space.io.folder import Journal
from rostra.space.lifecycle import State
from rostra.studio.io.desk import Created, Desk
from rostra.studio.signalling import seat_id
from support.studio import Client, Process
from unit.studio.test_api import problem
from unit.studio.test_whip import FRAGMENT, OFFER, SDP

HEARD = {"level_db": -21.5, "noise_db": -60.0, "clipped": 0.0, "loss_in": 0.0, "jitter_ms": 2.0, "packets": 900}
REPORT = {"microphone": "open", "way": "udp", "relay": None, "echo_db": -100, "rtt_ms": 20, "loss_out": 0.0}


def view(**heard: Any) -> dict[str, Any]:
    return {"phase": "listening", "progress": 0.0, "recordings": 1, "left_s": 50.0, "heard": HEARD | heard}


def answer(request: Request) -> dict[str, Any]:
    match request.verb:
        case "offer":
            return {"session": "c1", "sdp": "v=0\r\nanswer\r\n"}
        case _ if request.args["session"] != "c1":
            raise PeerError("session.unknown", "That test is over.")
        case "record" | "measure":
            return view()
        case _:
            return {}


@pytest.fixture
def check(desk: Desk, processes: Any) -> Process:
    process: Process = processes(desk.check_sock, answer)
    return process


@pytest.fixture
def guest(stranger: Client, created: Created) -> Client:
    return stranger.as_link(created.links["speaker"])


@pytest.fixture
def host(stranger: Client, created: Created) -> Client:
    return stranger.as_link(created.links["host"])


@pytest.fixture
def api(created: Created) -> str:
    return f"/api/v1/spaces/{created.space.id}"


def speaker_link(desk: Desk, created: Created) -> str:
    return desk.links(created.space.id)[1].id


def test_whip_leads_to_the_check_before_there_is_a_stage(
    desk: Desk, created: Created, check: Process, guest: Client
) -> None:
    path = f"/whip/{created.space.id}/check"
    made = guest("POST", f"{path}?seat=k1", content=OFFER, headers=SDP)
    assert (made.status_code, made.text) == (201, "v=0\r\nanswer\r\n")
    assert made.headers["location"] == f"{path}/c1"
    assert made.headers["etag"] == '"c1"'
    trickle = {"content-type": "application/trickle-ice-sdpfrag", "if-match": '"c1"'}
    assert guest("PATCH", f"{path}/c1", content=FRAGMENT, headers=trickle).status_code == 204
    assert guest("PATCH", f"{path}/c1", content=FRAGMENT, headers=trickle | {"if-match": '"c2"'}).status_code == 412
    assert guest("DELETE", f"{path}/c1").status_code == 200
    link = speaker_link(desk, created)
    assert check.asked == [
        ("offer", {"link": link, "seat": seat_id(link, "k1"), "sdp": OFFER}),
        ("trickle", {"link": link, "session": "c1", "fragment": FRAGMENT}),
        ("close", {"link": link, "session": "c1"}),
    ]
    asked = guest("OPTIONS", path), guest("OPTIONS", f"{path}/c1")
    assert ["POST" in each.headers["access-control-allow-methods"] for each in asked] == [True, False]


def test_a_running_test_is_measured_and_graded(check: Process, guest: Client, api: str) -> None:
    for told in (guest("GET", f"{api}/check/c1"), guest("POST", f"{api}/check/c1/record")):
        assert told.status_code == 200
        assert told.json()["heard"] == HEARD
        assert told.json()["grades"]["level_low"] == told.json()["grades"]["noise"] == "good"
    problem(guest("GET", f"{api}/check/c9"), 404, "session.unknown")


def test_the_verdict_joins_what_browser_and_server_measured_and_the_host_sees_it(
    desk: Desk, created: Created, check: Process, guest: Client, host: Client, api: str, clock: Any
) -> None:
    report = REPORT | {"session": "c1", "name": " Grace\n", "loss_out": 0.05}
    made = guest("POST", f"{api}/checks?seat=k1", json=report)
    assert made.status_code == 201
    found = made.json()
    assert (found["verdict"], found["advice"], found["name"]) == ("usable", ["loss"], "Grace")
    assert found["measured"]["level_db"] == -21.5
    assert found["grades"]["loss"] == "usable"
    assert found["at"] == clock.after(0)
    assert host("GET", f"{api}/checks").json() == {"checks": [found]}
    clock.forward(60)
    guest("POST", f"{api}/checks?seat=k1", json=REPORT | {"session": "c1"})
    guest("POST", f"{api}/checks?seat=k2", json={"microphone": "denied"})
    listed = host("GET", f"{api}/checks").json()["checks"]
    assert sorted((each["verdict"], *each["advice"]) for each in listed) == [
        ("failed", "microphone_denied"),
        ("good",),
    ], "the latest of each guest"


def test_nobody_is_judged_by_half_of_a_test(check: Process, guest: Client, host: Client, api: str) -> None:
    problem(guest("POST", f"{api}/checks", json=REPORT | {"session": "gone"}), 404, "session.unknown")
    assert host("GET", f"{api}/checks").json() == {"checks": []}


@pytest.mark.parametrize(
    "change",
    [{"microphone": "broken"}, {"way": "pigeon"}, {"echo_db": 3}, {"loss_out": 2}, {"rtt_ms": -1}, {"device": "USB"}],
)
def test_what_cannot_have_been_measured_is_refused(guest: Client, api: str, change: dict[str, Any]) -> None:
    problem(guest("POST", f"{api}/checks", json=REPORT | change), 422, "request.invalid")


def test_a_guest_s_name_is_the_link_s_unless_they_gave_one(
    desk: Desk, created: Created, stranger: Client, host: Client, api: str
) -> None:
    grace = stranger.as_link(desk.give(created.space.id, "speaker", label="Grace").url)
    assert grace("POST", f"{api}/checks", json={"microphone": "none"}).json()["name"] == "Grace"
    link = desk.links(created.space.id)[2].id
    assert host("GET", f"{api}/checks").json()["checks"][0]["link"] == link
    host("DELETE", f"{api}/links/{link}")
    assert host("GET", f"{api}/checks").json()["checks"] == [], "whose link was taken back is no guest any more"


def test_a_check_that_is_away_or_full_says_so(
    guest: Client, created: Created, api: str, desk: Desk, processes: Any
) -> None:
    away = guest("POST", f"/whip/{created.space.id}/check", content=OFFER, headers=SDP)
    problem(away, 503, "check.away")
    assert away.headers["retry-after"] == "1"
    problem(guest("GET", f"{api}/check/c1"), 503, "check.away")

    def full(_request: Request) -> dict[str, Any]:
        raise Unavailable("check.busy", "Others are testing at the moment.", "Try again in a minute or two.")

    processes(desk.check_sock, full)
    busy = problem(guest("POST", f"/whip/{created.space.id}/check", content=OFFER, headers=SDP), 503, "check.busy")
    assert busy["hint"]


def test_after_the_end_there_is_nothing_to_test_for(
    desk: Desk, created: Created, check: Process, guest: Client
) -> None:
    pen = Journal(desk.folder(created.space.id))
    pen.append(replace(desk.life(created.space.id), state=State.ENDED), None)
    pen.close()
    problem(guest("POST", f"/whip/{created.space.id}/check", content=OFFER, headers=SDP), 409, "space.state")
    assert check.asked == []


def test_a_result_of_another_release_is_still_shown(desk: Desk, created: Created, guest: Client, host: Client) -> None:
    api = f"/api/v1/spaces/{created.space.id}"
    guest("POST", f"{api}/checks", json={"microphone": "none"})
    (kept,) = desk.store.checks(created.space.id)
    desk.store.keep_check(replace(kept, measured='{"microphone": "none", "of_tomorrow": 1}'))
    assert host("GET", f"{api}/checks").json()["checks"][0]["measured"]["microphone"] == "none"


def test_the_description_tells_of_the_tests(stranger: Client) -> None:
    document = stranger("GET", "/api/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"Check", "CheckReport", "CheckSession", "CheckMeasured", "Heard"} <= schemas.keys()
    assert schemas["Verdict"]["enum"] == ["good", "usable", "poor", "failed"]
    undescribed = [
        (path, method)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
        if "check" in path and not call.get("description")
    ]
    assert undescribed == []
