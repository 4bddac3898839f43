"""The studio over HTTP: the API, WHIP, the host's app. Every call is authorised in one place, `Needs`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from rostra.kernel.errors import OperatorError, PeerError, RostraError
from rostra.kernel.limits import NAME_CHARS_MAX
from rostra.space.grants import Grant, Role, Verb, allows
from rostra.studio import api, ice, recording, schedule, signalling
from rostra.studio.ice import Servers
from rostra.studio.io.checks import Checks
from rostra.studio.io.desk import Desk
from rostra.studio.io.frame import Frame
from rostra.studio.io.openapi import describe
from rostra.studio.io.switchboard import Switchboard
from rostra.studio.io.watch import Watches

BEAT_S: Final = 0.25
BLOCK_BYTES: Final = 64 * 1024

PUBLIC: Final = frozenset(
    {
        ("/", "GET"),
        ("/", "HEAD"),
        ("/healthz", "GET"),
        ("/healthz", "HEAD"),
        ("/readyz", "GET"),
        ("/readyz", "HEAD"),
        ("/whip/{space}", "OPTIONS"),
        ("/whip/{space}/check", "OPTIONS"),
        ("/whip/{space}/check/{session}", "OPTIONS"),
        ("/whip/{space}/{session}", "OPTIONS"),
    }
)
"""What needs no link, beside static files and the API's description. Every other call has a `Needs`."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, checked: a grant that held a moment ago, and the Space the call is about."""

    grant: Grant
    space: str
    token: str

    def must(self, verb: Verb) -> None:
        """Raises PeerError `grant.denied`: the only place that compares a grant with a verb."""
        if not allows(self.grant, verb, self.space):
            raise PeerError(
                "grant.denied",
                f"A {self.grant.role}’s link does not allow this here.",
                "Ask the host, or use a link that does.",
            )


class Needs:
    """The dependency of every route that is not public: a valid Bearer token whose link allows `verb`.

    `of_link`: the call is about the link's own Space. `in_query`: the token may stand in `?token=`.
    """

    def __init__(self, verb: Verb, *, of_link: bool = False, in_query: bool = False) -> None:
        self.verb = verb
        self._of_link = of_link
        self._in_query = in_query

    def __call__(self, request: Request) -> Caller:
        token = self._token(request)
        desk: Desk = request.app.state.desk
        grant = desk.admit(token)
        space = grant.space if self._of_link else request.path_params.get("space", "")
        caller = Caller(grant, space, token)
        caller.must(self.verb)
        return caller

    def _token(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        if self._in_query and request.query_params.get("token"):
            return request.query_params["token"]
        raise PeerError("link.missing", "This needs a link’s token.", "Open the link you were sent.")


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _switchboard(request: Request) -> Switchboard:
    switchboard: Switchboard = request.app.state.switchboard
    return switchboard


def _checks(request: Request) -> Checks:
    checks: Checks = request.app.state.checks
    return checks


def _relays(request: Request) -> Servers:
    servers: Servers = request.app.state.relays
    return servers


AtDesk = Annotated[Desk, Depends(_desk)]
Relays = Annotated[Servers, Depends(_relays)]
OnStage = Annotated[Switchboard, Depends(_switchboard)]
AtCheck = Annotated[Checks, Depends(_checks)]
Reader = Annotated[Caller, Depends(Needs(Verb.READ_SPACE))]
Editor = Annotated[Caller, Depends(Needs(Verb.EDIT_SPACE))]
Sharer = Annotated[Caller, Depends(Needs(Verb.SHARE))]
Speaker = Annotated[Caller, Depends(Needs(Verb.SPEAK))]
Creator = Annotated[Caller, Depends(Needs(Verb.CREATE_SPACE))]
_HEARER: Final = Depends(Needs(Verb.HEAR_RECORDING, in_query=True))
Bearer = Annotated[Caller, Depends(Needs(Verb.READ_SPACE, of_link=True))]

SeatKey = Annotated[
    str, Query(max_length=signalling.SEAT_KEY_CHARS_MAX, description="the seat key that this page chose, if any")
]
IfMatch = Annotated[str | None, Header(description="the ETag that was last seen")]

spaces = APIRouter(prefix="/api/v1", tags=["spaces"])
stage = APIRouter(prefix="/api/v1/spaces/{space}", tags=["stage"])
sharing = APIRouter(prefix="/api/v1/spaces/{space}", tags=["links"])
checking = APIRouter(tags=["checks"])
whip = APIRouter(prefix="/whip", tags=["whip"])
pages = APIRouter(include_in_schema=False)


# Spaces


@spaces.get("/me")
def me(caller: Bearer, desk: AtDesk) -> api.Me:
    """What the link behind the token gives."""
    link = desk.store.link(caller.grant.link)
    owner = caller.grant.role is Role.OWNER
    name = link.label if link else ""
    return api.Me(
        role=caller.grant.role, space=caller.grant.space, owner=owner, name=name, audience_base=desk.bases.audience
    )


@spaces.get("/spaces", dependencies=[Depends(Needs(Verb.LIST_SPACES))])
def list_spaces(desk: AtDesk) -> api.Spaces:
    """Every Space, the latest start first."""
    return api.Spaces(spaces=desk.list())


@spaces.post("/spaces", status_code=201)
def create_space(asked: api.NewSpace, caller: Creator, desk: AtDesk, response: Response) -> api.CreatedSpace:
    """Announce a Space; the answer holds the first host's and speaker's link."""
    created = desk.create(**asked.model_dump(), actor=caller.grant.link)
    response.headers["Location"] = f"/api/v1/spaces/{created.space.id}"
    return api.CreatedSpace(**_tagged(created.space, response).model_dump(), links=created.links)


@spaces.get("/spaces/{space}", dependencies=[Depends(Needs(Verb.READ_SPACE))])
def show_space(space: str, desk: AtDesk, response: Response) -> api.Space:
    """A Space, with the ETag that a change of it needs."""
    return _tagged(desk.show(space), response)


@spaces.patch("/spaces/{space}")
def edit_space(
    space: str,
    change: api.SpaceChange,
    caller: Editor,
    desk: AtDesk,
    response: Response,
    if_match: IfMatch = None,
) -> api.Space:
    """Change the announcement; a new start is told to everyone."""
    return _tagged(desk.edit(space, change, if_match=if_match, actor=caller.grant.link), response)


@spaces.post("/spaces/{space}/commands")
def command(space: str, asked: api.Command, caller: Reader, desk: AtDesk, response: Response) -> api.Space:
    """GO, HOLD, MUSIC, RESUME, END and the rest. Answers with the Space after it."""
    caller.must(schedule.verb_for(asked.event))
    after = desk.command(space, asked.verb, minutes=asked.minutes, starts_at=asked.starts_at, actor=caller.grant.link)
    return _tagged(after, response)


def _tagged(space: api.Space, response: Response) -> api.Space:
    response.headers["ETag"] = api.etag(space)
    return space


# the stage


@stage.get("/stage")
def show_stage(space: str, caller: Reader, switchboard: OnStage, seat: SeatKey = "") -> api.Stage:
    """Who sits where, and how loud."""
    return switchboard.stage(space, signalling.seat_id(caller.grant.link, seat))


@stage.get("/ice")
def ice_servers(space: str, caller: Speaker, desk: AtDesk, relays: Relays) -> api.IceServers:
    """The STUN and TURN servers that a connection to the stage may need, with a credential of the caller's own."""
    desk.show(space)
    return ice.offered(relays, caller.grant.link, desk.now_ns())


@stage.post("/seats/{seat_id}")
def change_seat(
    space: str, seat_id: str, change: api.SeatChange, caller: Speaker, switchboard: OnStage, seat: SeatKey = ""
) -> api.Stage:
    """Arm, mute or remove a seat; one's own microphone is everyone's own business, and only its owner unmutes it."""
    you = signalling.seat_id(caller.grant.link, seat)
    for order in signalling.seat_orders(change):
        caller.must(signalling.right_for(order, own=seat_id == you))
    return switchboard.change(space, seat_id, change, actor=caller.grant.link, you=you)


@stage.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(space: str, caller: Reader, request: Request, seat: SeatKey = "") -> StreamingResponse:
    """`{"space", "stage", "server_time"}` every 250 ms or sooner, as server-sent events."""
    watches: Watches = request.app.state.watches
    desk = _desk(request)
    await run_in_threadpool(desk.show, space)
    you = signalling.seat_id(caller.grant.link, seat)
    stream = watches.events(space, you, lambda: desk.admit(caller.token))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@stage.head("/recording.m4a", include_in_schema=False, dependencies=[_HEARER])
@stage.get(
    "/recording.m4a",
    dependencies=[_HEARER],
    response_class=StreamingResponse,
    responses={200: {"content": {recording.MIME: {}}}, 206: {"description": "a range of it"}},
)
def hear_recording(
    space: str,
    desk: AtDesk,
    request: Request,
    range_: Annotated[str | None, Header(alias="range")] = None,
) -> Response:
    """The recording, approved or not, for those who decide about it. Takes the token in `?token=` too."""
    folder = desk.folder(space).programmes
    try:
        found = recording.decode((folder / recording.DESCRIPTION).read_bytes())
    except FileNotFoundError:
        raise PeerError("recording.none", "There is no recording yet.", "It appears shortly after the end.") from None
    headers = {"Accept-Ranges": "bytes", "ETag": found.etag, "Cache-Control": "private, no-store"}
    headers["Content-Disposition"] = f'inline; filename="{space}.m4a"'
    part = recording.parse_range(range_, found.size)
    first, last = part or (0, found.size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{found.size}"
    status = 206 if part else 200
    if request.method == "HEAD":
        return Response(None, status, headers, recording.MIME)
    return StreamingResponse(_bytes_of(folder, found.pieces(first, last)), status, headers, recording.MIME)


def _bytes_of(folder: Path, pieces: list[tuple[str, int, int]]) -> Iterator[bytes]:
    for name, offset, length in pieces:
        with (folder / name).open("rb") as file:
            file.seek(offset)
            while length > 0 and (block := file.read(min(BLOCK_BYTES, length))):
                length -= len(block)
                yield block


# links


@sharing.get("/links", dependencies=[Depends(Needs(Verb.SHARE))])
def list_links(space: str, desk: AtDesk) -> api.Links:
    """The links that were given out, oldest first, revoked ones too. Tokens are not told again."""
    return api.Links(links=list(desk.links(space)))


@sharing.post("/links", status_code=201)
def give_link(space: str, asked: api.NewLink, caller: Sharer, desk: AtDesk) -> api.GivenLink:
    """Make a link."""
    desk.show(space)
    return desk.give(space, asked.role, label=asked.label, expires_at=asked.expires_at, actor=caller.grant.link)


@sharing.delete("/links/{link}")
def revoke_link(space: str, link: str, caller: Sharer, desk: AtDesk, switchboard: OnStage) -> api.Link:
    """Take a link back; whoever came by it leaves the stage."""
    revoked = desk.revoke(space, link, actor=caller.grant.link)
    switchboard.expel(space, link)
    return revoked


# WHIP (RFC 9725)

_ALLOW_SPACE: Final = {"Access-Control-Allow-Methods": "POST, OPTIONS", "Accept-Post": signalling.SDP}
_ALLOW_SESSION: Final = {
    "Access-Control-Allow-Methods": "PATCH, DELETE, OPTIONS",
    "Accept-Patch": signalling.FRAGMENT,
}
_ALLOW_HEADERS: Final = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "86400",
}


@whip.options("/{space}", status_code=204)
def whip_options(request: Request, desk: AtDesk, relays: Relays) -> Response:
    """What a client of another origin may do here; who shows a token is told of the TURN servers too."""
    try:
        told = ice.offered(relays, Needs(Verb.SPEAK)(request).grant.link, desk.now_ns())
    except PeerError:  # a browser's preflight carries no token
        told = ice.offered(Servers(relays.stun), "", 0)
    return _linked(Response(None, 204, {**_ALLOW_SPACE, **_ALLOW_HEADERS}), told)


@whip.options("/{space}/{session}", status_code=204)
def whip_session_options() -> Response:
    """What a client of another origin may do with its session."""
    return Response(None, 204, {**_ALLOW_SESSION, **_ALLOW_HEADERS})


@whip.post(
    "/{space}",
    status_code=201,
    response_class=Response,
    responses={201: {"content": {signalling.SDP: {}}}},
    openapi_extra={"requestBody": {"content": {signalling.SDP: {"schema": {"type": "string"}}}, "required": True}},
)
async def whip_offer(
    space: str,
    caller: Speaker,
    switchboard: OnStage,
    desk: AtDesk,
    relays: Relays,
    request: Request,
    seat: SeatKey = "",
    name: Annotated[str, Query(max_length=4 * NAME_CHARS_MAX)] = "",
) -> Response:
    """Take a seat on the stage, unarmed, with an SDP offer; a reconnection with the same seat key keeps the seat."""
    signalling.check_type(request.headers.get("content-type"), signalling.SDP)
    sdp = signalling.offer(await request.body())
    answer = await run_in_threadpool(switchboard.offer, space, caller.grant, seat, name, sdp)
    headers = {
        "Location": f"/whip/{space}/{answer.session}",
        "ETag": signalling.etag(answer.session),
        "Accept-Patch": signalling.FRAGMENT,
    }
    told = ice.offered(relays, caller.grant.link, desk.now_ns())
    return _linked(Response(answer.sdp, 201, headers, signalling.SDP), told)


def _linked(response: Response, told: api.IceServers) -> Response:
    for link in ice.links(told):
        response.headers.append("Link", link)
    return response


@whip.patch(
    "/{space}/{session}",
    status_code=204,
    response_class=Response,
    dependencies=[Depends(Needs(Verb.SPEAK))],
    openapi_extra={"requestBody": {"content": {signalling.FRAGMENT: {"schema": {"type": "string"}}}, "required": True}},
)
async def whip_trickle(
    space: str, session: str, switchboard: OnStage, request: Request, if_match: IfMatch = None
) -> Response:
    """More candidates for a session."""
    signalling.check_type(request.headers.get("content-type"), signalling.FRAGMENT)
    signalling.check_trickle(session, if_match)
    fragment = signalling.fragment(await request.body())
    await run_in_threadpool(switchboard.trickle, space, session, fragment)
    return Response(None, 204)


@whip.delete("/{space}/{session}", response_class=Response, dependencies=[Depends(Needs(Verb.SPEAK))])
def whip_close(space: str, session: str, switchboard: OnStage) -> Response:
    """Leave the stage; the seat stays, should its owner come back."""
    switchboard.close(space, session)
    return Response(None, 200)


# guests' tests: WHIP again, to the check instead of a stage


@checking.options("/whip/{space}/check", status_code=204)
def check_options() -> Response:
    """What a client of another origin may do here."""
    return Response(None, 204, {**_ALLOW_SPACE, **_ALLOW_HEADERS})


@checking.options("/whip/{space}/check/{session}", status_code=204)
def check_session_options() -> Response:
    """What a client of another origin may do with its test."""
    return Response(None, 204, {**_ALLOW_SESSION, **_ALLOW_HEADERS})


@checking.post(
    "/whip/{space}/check",
    status_code=201,
    response_class=Response,
    responses={201: {"content": {signalling.SDP: {}}}},
    openapi_extra={"requestBody": {"content": {signalling.SDP: {"schema": {"type": "string"}}}, "required": True}},
)
async def check_offer(space: str, caller: Speaker, checks: AtCheck, request: Request, seat: SeatKey = "") -> Response:
    """Begin a test: an SDP offer as to the stage, answered by whoever listens to guests at any time. 90 s at most."""
    signalling.check_type(request.headers.get("content-type"), signalling.SDP)
    sdp = signalling.offer(await request.body())
    answer = await run_in_threadpool(checks.offer, space, caller.grant, seat, sdp)
    headers = {
        "Location": f"/whip/{space}/check/{answer.session}",
        "ETag": signalling.etag(answer.session),
        "Accept-Patch": signalling.FRAGMENT,
    }
    return Response(answer.sdp, 201, headers, signalling.SDP)


@checking.patch(
    "/whip/{space}/check/{session}",
    status_code=204,
    response_class=Response,
    openapi_extra={"requestBody": {"content": {signalling.FRAGMENT: {"schema": {"type": "string"}}}, "required": True}},
)
async def check_trickle(
    space: str,  # noqa: ARG001 — of the address: the link is what counts
    session: str,
    caller: Speaker,
    checks: AtCheck,
    request: Request,
    if_match: IfMatch = None,
) -> Response:
    """More candidates for a test."""
    signalling.check_type(request.headers.get("content-type"), signalling.FRAGMENT)
    signalling.check_trickle(session, if_match)
    fragment = signalling.fragment(await request.body())
    await run_in_threadpool(checks.trickle, caller.grant, session, fragment)
    return Response(None, 204)


@checking.delete("/whip/{space}/check/{session}", response_class=Response)
def check_close(space: str, session: str, caller: Speaker, checks: AtCheck) -> Response:  # noqa: ARG001
    """End a test; what was recorded is gone."""
    checks.close(caller.grant, session)
    return Response(None, 200)


@checking.get("/api/v1/spaces/{space}/check/{session}")
def check_measure(space: str, session: str, caller: Speaker, checks: AtCheck) -> api.CheckSession:  # noqa: ARG001
    """How a test stands, and what the server has heard so far."""
    return checks.measure(caller.grant, session)


@checking.post("/api/v1/spaces/{space}/check/{session}/record")
def check_record(space: str, session: str, caller: Speaker, checks: AtCheck) -> api.CheckSession:  # noqa: ARG001
    """Record five seconds of what arrives, then send them back over the same connection. Nothing is kept."""
    return checks.record(caller.grant, session)


@checking.post("/api/v1/spaces/{space}/checks", status_code=201)
def conclude_check(
    space: str, report: api.CheckReport, caller: Speaker, checks: AtCheck, seat: SeatKey = ""
) -> api.Check:
    """Judge a test. The host sees the result: the latest one of each guest."""
    return checks.conclude(space, caller.grant, seat, report)


@checking.get("/api/v1/spaces/{space}/checks", dependencies=[Depends(Needs(Verb.MODERATE))])
def list_checks(space: str, checks: AtCheck) -> api.Checks:
    """How the guests' tests went, for those who look after the stage."""
    return api.Checks(checks=checks.list(space))


# pages


@pages.api_route("/", methods=["GET", "HEAD"])
def index() -> FileResponse:
    path = _web() / "studio" / "index.html"
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path)


@pages.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> PlainTextResponse:
    """The event loop turns."""
    return PlainTextResponse("ok")


@pages.api_route("/readyz", methods=["GET", "HEAD"])
def readyz(desk: AtDesk) -> PlainTextResponse:
    """Calls would be answered: the store does."""
    desk.store.check()
    return PlainTextResponse("ok")


def _web() -> Path:
    return Path(str(files("rostra").joinpath("web")))


ROUTERS: Final = (spaces, stage, sharing, checking, whip, pages)


def calls() -> Iterator[tuple[str, str, list[Verb]]]:
    """Every path and method of the application, with the verbs that its dependencies ask for; none: it is public."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            verbs = [each.call.verb for each in route.dependant.dependencies if isinstance(each.call, Needs)]
            for method in sorted(route.methods or ()):
                yield route.path_format, method, verbs


# errors


def _respond(found: api.Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    more = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(found.status, {})
    body = found.model_dump(exclude_none=True)
    return JSONResponse(body, found.status, {**more, **(headers or {})}, api.PROBLEM_TYPE)


async def _on_rostra_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RostraError)
    if isinstance(error, OperatorError):
        _log.error("studio.refused", code=error.code, sentence=error.sentence, hint=error.hint)
    return _respond(api.problem_of(error))


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [{"at": list(map(str, each["loc"])), "what": each["msg"]} for each in error.errors()]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return _respond(api.problem(400, "request.malformed", "The body is not JSON.", "", found))
    first = f"{'.'.join(found[0]['at'])}: {found[0]['what']}" if found else ""
    return _respond(api.problem(422, "request.invalid", f"The request does not fit. {first}", "", found))


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, detail = {
        400: ("request.malformed", "The request cannot be read."),
        404: ("http.not_found", "There is nothing here."),
        405: ("http.method", "This cannot be done here."),
    }.get(error.status_code, ("http.refused", "The request cannot be answered."))
    return _respond(api.problem(error.status_code, code, detail), dict(error.headers or {}))


# the application


def make_app(
    desk: Desk,
    *,
    relays: Servers = Servers(),  # noqa: B008 — frozen
    beat: Callable[[], None] = lambda: None,
    closing: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The studio over `desk`.

    `beat` is called every `BEAT_S` on the event loop, so that a loop that hangs is noticed. `closing` tells whether
    the server is on its way out; endless responses then end.
    """
    switchboard = Switchboard(desk)
    watches = Watches(desk, switchboard, closing)
    assert {(path, method) for path, method, verbs in calls() if not verbs} == PUBLIC, "a call without a right"

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        heart = asyncio.create_task(_beat(beat))
        yield
        watches.stop()
        heart.cancel()
        with suppress(asyncio.CancelledError):
            await heart

    app = FastAPI(
        title="Rostra studio",
        version=version("rostra"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.state.desk, app.state.switchboard, app.state.watches = desk, switchboard, watches
    app.state.checks = Checks(desk)
    app.state.relays = relays
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_web(), check_dir=False), name="static")
    app.add_middleware(Frame)
    app.add_exception_handler(RostraError, _on_rostra_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    describe(app, {(path, method) for path, method, verbs in calls() if not verbs})
    return app


async def _beat(beat: Callable[[], None]) -> None:
    while True:
        beat()
        await asyncio.sleep(BEAT_S)
