"""The API from outside: who may do what, and how a refusal looks."""

import asyncio
import itertools
from typing import Any

import httpx
import pytest

from rostra.kernel.errors import PeerError
from rostra.space.grants import TABLE, Role, Verb
from rostra.space.lifecycle import State
from rostra.studio.io import asgi, frame
from rostra.studio.io.asgi import PUBLIC, calls, make_app
from rostra.studio.io.desk import Created, Desk
from rostra.studio.links import issue
from support.studio import Client, Process

SPACES = "/api/v1/spaces"
SECURITY = ("content-security-policy", "x-content-type-options", "referrer-policy", "permissions-policy")


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that `response` must be."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:rostra:problem:{code}"
    assert body["detail"]
    assert all(name in response.headers for name in SECURITY)
    return body


def concrete(path: str, space: str) -> str:
    return path.format(space=space, seat_id="seat", link="link", session="session")


def call_of(link_role: Role, desk: Desk, space: str, stranger: Client) -> Client:
    url = desk.owner_link() if link_role is Role.OWNER else desk.give(space, link_role).url
    return stranger.as_link(url)


BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("/api/v1/spaces", "POST"): {"json": {"title": "x", "starts_at": "2027-01-15T08:00:00Z"}},
    ("/api/v1/spaces/{space}", "PATCH"): {"json": {"title": "x"}, "headers": {"if-match": "*"}},
    ("/api/v1/spaces/{space}/commands", "POST"): {"json": {"verb": "postpone"}},
    ("/api/v1/spaces/{space}/seats/{seat_id}", "POST"): {"json": {"muted": True}},
    ("/api/v1/spaces/{space}/links", "POST"): {"json": {"role": "speaker"}},
    ("/api/v1/spaces/{space}/checks", "POST"): {"json": {"microphone": "open", "way": "udp"}},
}
GUARDED = [(path, method, verbs) for path, method, verbs in calls() if (path, method) not in PUBLIC]
ANSWERED = [call for call in GUARDED if not call[0].endswith("/events")]
"""The events have no end: test_events reads them from a real server."""


def test_every_call_asks_for_a_right_or_is_on_the_list_of_public_ones() -> None:
    assert {(path, method) for path, method, verbs in calls() if not verbs} == PUBLIC
    assert len(GUARDED) > 15


def test_nothing_is_served_beside_the_calls(desk: Desk) -> None:
    """Static files and the description apart, the application has no route that `calls` does not walk."""
    kinds = [type(route).__name__ for route in make_app(desk).routes]
    assert kinds.count("Route") == kinds.count("Mount") == 1
    assert kinds.count("_IncludedRouter") + 2 == len(kinds)


@pytest.mark.parametrize(("path", "method", "verbs"), GUARDED)
def test_without_a_link_nothing_is_allowed(
    path: str, method: str, verbs: list[Verb], stranger: Client, created: Created
) -> None:
    response = stranger(method, concrete(path, created.space.id), **BODIES.get((path, method), {}))
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        problem(response, 401, "link.missing")


@pytest.mark.parametrize(("path", "method", "verbs"), [call for call in GUARDED if "{space}" in call[0]])
def test_a_link_of_another_space_is_worth_nothing(
    path: str, method: str, verbs: list[Verb], desk: Desk, stranger: Client, created: Created, clock: Any
) -> None:
    other = stranger.as_link(desk.create("Other", clock.after(60)).links["host"])
    response = other(method, concrete(path, created.space.id), **BODIES.get((path, method), {}))
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("role", "call"),
    list(itertools.product(Role, ANSWERED)),
    ids=lambda value: value[:2] if isinstance(value, tuple) else "",
)
def test_each_role_may_do_what_the_table_says(
    role: Role, call: tuple[str, str, list[Verb]], desk: Desk, stranger: Client, created: Created
) -> None:
    """Whatever else a call may be refused for, a role that lacks its verb is refused with 403 and no other is."""
    path, method, verbs = call
    client = call_of(role, desk, created.space.id, stranger)
    response = client(method, concrete(path, created.space.id), **BODIES.get((path, method), {}))
    needed = set(verbs)
    if path.endswith("/commands"):
        needed.add(Verb.DIRECT)
    if path.endswith("/seats/{seat_id}"):
        needed.add(Verb.MODERATE)
    assert (response.status_code == 403) == (not needed <= TABLE[role]), response.text
    assert response.status_code not in (401, 500)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("verb", ["approve", "withdraw"])
def test_approving_is_for_those_who_may(role: Role, verb: str, desk: Desk, stranger: Client, created: Created) -> None:
    client = call_of(role, desk, created.space.id, stranger)
    response = client("POST", f"{SPACES}/{created.space.id}/commands", json={"verb": verb})
    assert response.status_code == (409 if Verb.APPROVE in TABLE[role] else 403)


def test_forged_expired_and_revoked_links_are_told_apart(
    desk: Desk, stranger: Client, created: Created, clock: Any
) -> None:
    grant = desk.admit(created.links["host"].partition("#")[2])
    forged = Client(stranger._app, issue(bytes(32), grant))
    expiring = stranger.as_link(desk.give(created.space.id, "host", expires_at=clock.after(5)).url)
    host = stranger.as_link(created.links["host"])
    assert host("GET", "/api/v1/me").status_code == expiring("GET", "/api/v1/me").status_code == 200
    clock.forward(6)
    problem(forged("GET", "/api/v1/me"), 401, "link.forged")
    problem(expiring("GET", "/api/v1/me"), 401, "link.expired")
    problem(Client(stranger._app, "rubbish")("GET", "/api/v1/me"), 401, "link.malformed")
    desk.revoke(created.space.id, grant.link)
    problem(host("GET", "/api/v1/me"), 401, "link.revoked")


def test_reading_consumes_nothing(stranger: Client, created: Created) -> None:
    host = stranger.as_link(created.links["host"])
    answers = [host("GET", f"{SPACES}/{created.space.id}") for _ in range(5)]
    assert len({(answer.text, answer.headers["etag"]) for answer in answers}) == 1


def test_an_owner_announces_a_space_and_its_host_reads_it(owner: Client, clock: Any) -> None:
    made = owner("POST", SPACES, json={"title": "A talk", "starts_at": clock.after(3600), "doors_s": 60})
    assert made.status_code == 201
    assert made.headers["location"] == f"{SPACES}/{made.json()['id']}"
    host = owner.as_link(made.json()["links"]["host"])
    seen = host("GET", made.headers["location"])
    assert seen.headers["etag"] == made.headers["etag"]
    assert seen.json() == {name: value for name, value in made.json().items() if name != "links"}
    assert host("GET", "/api/v1/me").json() == {
        "role": "host",
        "space": made.json()["id"],
        "owner": False,
        "name": "",
        "audience_base": "https://live.example:8001",
    }
    assert owner("GET", SPACES).json()["spaces"] == [seen.json()]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"starts_at": "2020-01-01T00:00:00Z"}, 422, "space.past"),
        ({"starts_at": "2027-01-15T08:00:00"}, 422, "time.no_zone"),
        ({"starts_at": "soon"}, 422, "time.unreadable"),
        ({"title": ""}, 422, "request.invalid"),
        ({"title": "x" * 201}, 422, "request.invalid"),
        ({"doors_s": -1}, 422, "request.invalid"),
        ({"start": "whenever"}, 422, "request.invalid"),
        ({"tittle": "x"}, 422, "request.invalid"),
        ({"time_zone": "Atlantis"}, 422, "time.zone"),
    ],
)
def test_announcements_that_cannot_be_held_are_problems(
    owner: Client, change: dict[str, Any], status: int, code: str
) -> None:
    body = {"title": "A talk", "starts_at": "2027-01-15T08:00:00Z", **change}
    problem(owner("POST", SPACES, json=body), status, code)
    assert owner("GET", SPACES).json() == {"spaces": []}


def test_a_change_needs_the_tag_of_what_it_changes(stranger: Client, created: Created) -> None:
    host, path = stranger.as_link(created.links["host"]), f"{SPACES}/{created.space.id}"
    tag = host("GET", path).headers["etag"]
    problem(host("PATCH", path, json={"title": "B"}), 428, "precondition.missing")
    changed = host("PATCH", path, json={"title": "B"}, headers={"if-match": tag})
    assert (changed.status_code, changed.json()["title"]) == (200, "B")
    assert changed.headers["etag"] == host("GET", path).headers["etag"] != tag
    problem(host("PATCH", path, json={"title": "C"}, headers={"if-match": tag}), 412, "precondition.stale")
    assert host("GET", path).json()["title"] == "B"


def test_a_command_answers_with_the_space_after_it(stranger: Client, created: Created, clock: Any) -> None:
    host, path = stranger.as_link(created.links["host"]), f"{SPACES}/{created.space.id}"
    assert host("POST", f"{path}/commands", json={"verb": "postpone"}).json()["state"] == "postponed"
    body = {"verb": "reschedule", "starts_at": clock.after(9000)}
    assert host("POST", f"{path}/commands", json=body).json()["starts_at"] == clock.after(9000)
    problem(host("POST", f"{path}/commands", json={"verb": "go"}), 409, "space.state")
    problem(host("POST", f"{path}/commands", json={"verb": "explode"}), 422, "request.invalid")
    problem(host("POST", f"{path}/commands", json={"verb": "hold", "minutes": 0}), 422, "request.invalid")


def test_a_space_that_is_not_there_is_404_for_the_owner(owner: Client) -> None:
    for space in ("abcdefgh", "..", "%2e%2e%2fkeys", "UPPER"):
        response = owner("GET", f"{SPACES}/{space}")
        assert response.status_code == 404, space
        assert response.headers["content-type"] == "application/problem+json"


def test_links_are_given_listed_and_taken_back(stranger: Client, created: Created, clock: Any) -> None:
    host, path = stranger.as_link(created.links["host"]), f"{SPACES}/{created.space.id}/links"
    given = host("POST", path, json={"role": "cohost", "label": "Ada", "expires_at": clock.after(60)})
    assert given.status_code == 201
    cohost = stranger.as_link(given.json()["url"])
    assert cohost("GET", "/api/v1/me").json()["name"] == "Ada"
    listed = host("GET", path).json()["links"]
    assert [link["role"] for link in listed] == ["host", "speaker", "cohost"]
    assert "token" not in host("GET", path).text
    assert host("DELETE", f"{path}/{given.json()['id']}").json()["revoked"]
    problem(cohost("GET", "/api/v1/me"), 401, "link.revoked")
    problem(host("DELETE", f"{path}/nothing"), 404, "link.unknown")
    problem(host("POST", path, json={"role": "owner"}), 422, "request.invalid")


def test_the_stage_that_is_away_is_told_from_memory(stranger: Client, created: Created) -> None:
    speaker = stranger.as_link(created.links["speaker"])
    assert speaker("GET", f"{SPACES}/{created.space.id}/stage").json() == {
        "seats": [],
        "on_air": False,
        "connected": False,
    }
    problem(speaker("POST", f"{SPACES}/{created.space.id}/seats/abc", json={"muted": True}), 403, "grant.denied")
    host = stranger.as_link(created.links["host"])
    away = host("POST", f"{SPACES}/{created.space.id}/seats/abc", json={"muted": True})
    problem(away, 503, "process.away")
    assert away.headers["retry-after"] == "1"


def test_wrong_methods_paths_and_bodies_are_problems(stranger: Client, owner: Client) -> None:
    problem(stranger("GET", "/nothing"), 404, "http.not_found")
    refused = stranger("PUT", "/api/v1/me")
    problem(refused, 405, "http.method")
    assert "GET" in refused.headers["allow"]
    json_type = {"content-type": "application/json"}
    problem(owner("POST", SPACES, content=b"{", headers=json_type), 400, "request.malformed")
    problem(owner("POST", SPACES, content=b"\xff", headers=json_type), 400, "request.malformed")
    problem(owner("POST", SPACES, content=b"[]", headers=json_type), 422, "request.invalid")


def test_a_body_is_refused_before_it_is_read(stranger: Client) -> None:
    """Nobody is asked who they are first: what is too large is too large from everybody."""
    problem(stranger("POST", SPACES, content=b" " * (frame.BODY_BYTES_MAX + 1)), 413, "request.too_large")

    async def endless() -> Any:
        while True:
            yield b" " * 8192

    problem(stranger("POST", SPACES, content=endless()), 413, "request.too_large")


def test_a_body_that_trickles_in_is_given_up(stranger: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "BODY_WAIT_S", 0.05)

    async def slow() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    problem(stranger("POST", SPACES, content=slow()), 408, "request.slow")


def test_what_nobody_expected_is_a_500_without_details(
    owner: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("the secret of /etc/shadow")

    monkeypatch.setattr(desk, "list", broken)
    body = problem(owner("GET", SPACES), 500, "internal")
    assert "secret" not in str(body)


def test_an_operator_s_error_keeps_its_details_for_the_operator(
    owner: Client, desk: Desk, created: Created, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.folder(created.space.id).journal.write_bytes(b"rubbish\n")
    body = problem(owner("GET", f"{SPACES}/{created.space.id}"), 500, "journal.unreadable")
    assert "rubbish" not in str(body)
    assert "journal.unreadable" in capsys.readouterr().out


def test_the_recording_is_heard_in_ranges_by_those_who_may(desk: Desk, stranger: Client, created: Created) -> None:
    path = f"{SPACES}/{created.space.id}/recording.m4a"
    host = stranger.as_link(created.links["host"])
    problem(host("GET", path), 404, "recording.none")
    folder = desk.folder(created.space.id).programmes / "floor" / "aac"
    folder.mkdir(parents=True)
    head, body = b"H" * 1000, bytes(range(256)) * 1000
    (folder / "recording.head").write_bytes(head)
    (folder / "fragments.m4s").write_bytes(body)
    (folder / "recording.json").write_text('{"v":1,"head_bytes":1000,"start":512,"end":200000,"duration_s":1}')
    whole = head + body[512:200_000]
    heard = host("GET", path)
    assert (heard.status_code, heard.content, heard.headers["content-type"]) == (200, whole, "audio/mp4")
    part = host("GET", path, headers={"range": "bytes=990-1009"})
    assert (part.status_code, part.content) == (206, whole[990:1010])
    assert part.headers["content-range"] == f"bytes 990-1009/{len(whole)}"
    told = host("HEAD", path)
    assert (told.content, told.headers["content-length"]) == (b"", str(len(whole)))
    assert told.headers["etag"] == heard.headers["etag"]
    problem(host("GET", path, headers={"range": "bytes=999999-"}), 416, "range.unsatisfiable")
    token = created.links["host"].partition("#")[2]
    assert stranger("GET", f"{path}?token={token}").content == whole
    problem(stranger("GET", f"{SPACES}/{created.space.id}?token={token}"), 401, "link.missing")
    problem(stranger.as_link(created.links["speaker"])("GET", path), 403, "grant.denied")


def test_revoking_a_link_takes_its_seats_off_the_stage(
    desk: Desk, stranger: Client, created: Created, processes: Any
) -> None:
    given = desk.give(created.space.id, "speaker")
    desk.note(given.id, "join", created.space.id, subject="seat1")
    desk.note("somebody", "join", created.space.id, subject="seat2")
    stage: Process = processes(desk.folder(created.space.id).stage_sock, lambda request: {})
    host = stranger.as_link(created.links["host"])
    assert host("DELETE", f"{SPACES}/{created.space.id}/links/{given.id}").status_code == 200
    assert stage.asked == [("remove", {"seat": "seat1"})]


def test_health_is_told_to_everyone(stranger: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stranger("GET", "/healthz").text == stranger("GET", "/readyz").text == "ok"
    assert stranger("HEAD", "/healthz").status_code == 200

    def broken() -> None:
        raise PeerError("space.unknown", "x")

    monkeypatch.setattr(desk.store, "check", broken)
    assert stranger("GET", "/readyz").status_code >= 400


def test_the_pages_are_served_with_their_headers(stranger: Client) -> None:
    page = stranger("GET", "/")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    script = stranger("GET", "/static/shared/page.js")
    assert (script.status_code, script.headers["cache-control"]) == (200, "public, max-age=300")
    assert "javascript" in script.headers["content-type"]
    assert (
        stranger("GET", "/static/shared/page.js", headers={"if-none-match": script.headers["etag"]}).status_code == 304
    )
    for path in ("/static/../ops/cli.py", "/static/%2e%2e/ops/cli.py", "/static/nothing.js", "/static/"):
        problem(stranger("GET", path), 404, "http.not_found")


def test_the_api_has_no_cross_origin_headers(owner: Client) -> None:
    for path in ("/api/v1/me", SPACES, "/"):
        answer = owner("GET", path, headers={"origin": "https://elsewhere.example"})
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_description_tells_what_needs_a_link(stranger: Client) -> None:
    document = stranger("GET", "/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {
        (path, method.upper()): call for path, methods in document["paths"].items() for method, call in methods.items()
    }
    for path, method, verbs in GUARDED:
        if method != "HEAD":
            assert described[path, method]["security"] == [{"link": []}], verbs
    assert "security" not in described["/whip/{space}", "OPTIONS"]
    assert "HTTPValidationError" not in str(document)
    assert {"Problem", "Space", "Stage", "CreatedSpace"} <= set(document["components"]["schemas"])


def test_a_call_without_a_right_keeps_the_application_from_starting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "PUBLIC", frozenset())
    with pytest.raises(AssertionError, match="without a right"):
        make_app(desk)


def test_states_that_pages_show_are_those_of_the_lifecycle(stranger: Client) -> None:
    schemas = stranger("GET", "/api/v1/openapi.json").json()["components"]["schemas"]
    assert schemas["State"]["enum"] == [state.value for state in State]
