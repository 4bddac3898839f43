"""The shapes of the studio's API, and how an error becomes an HTTP problem (RFC 9457). OpenAPI is drawn from here."""

import hashlib
import json
from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from rostra.kernel.errors import OperatorError, PeerError, RostraError
from rostra.kernel.limits import NAME_CHARS_MAX, TITLE_CHARS_MAX
from rostra.space.grants import Role
from rostra.space.lifecycle import Cause, Event, State
from rostra.space.spec import Recording, Start
from rostra.studio.checks import Microphone, Verdict, Way

PROBLEM_TYPE: Final = "application/problem+json"

Title = Annotated[str, Field(min_length=1, max_length=TITLE_CHARS_MAX, examples=["An evening with two voices"])]
Instant = Annotated[
    str,
    Field(description="ISO 8601 with an offset from UTC", max_length=40, examples=["2026-08-12T20:00:00-04:00"]),
]
Doors = Annotated[int, Field(ge=0, le=86_400, description="how long before the start the doors open, in seconds")]
Zone = Annotated[str, Field(max_length=64, description="IANA name of the zone the host plans in")]


class _Given(BaseModel):
    """A body that somebody sends: unknown fields are refused, so that a mistyped one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class NewSpace(_Given):
    title: Title
    starts_at: Instant
    doors_s: Doors | None = None
    start: Start | None = None
    recording: Recording | None = None
    time_zone: Zone | None = None


class SpaceChange(_Given):
    """What is absent, or null, stays as it is."""

    title: Title | None = None
    starts_at: Instant | None = None
    doors_s: Doors | None = None
    start: Start | None = None
    recording: Recording | None = None
    time_zone: Zone | None = None


class Command(_Given):
    """`minutes` belongs to hold, `starts_at` to reschedule."""

    verb: Annotated[
        str, Field(examples=["go"], pattern="^(go|hold|music|resume|end|reschedule|postpone|cancel|approve|withdraw)$")
    ]
    minutes: Annotated[int, Field(ge=1, le=240)] | None = None
    starts_at: Instant | None = None

    @property
    def event(self) -> Event:
        return Event(self.verb)


class SeatChange(_Given):
    """What is absent, or null, stays as it is; `removed` goes before everything else.

    `muted: false` is for one's own seat only: others can be muted, and unmute themselves.
    """

    armed: bool | None = None
    muted: bool | None = None
    removed: bool | None = None


class NewLink(_Given):
    role: Annotated[str, Field(pattern="^(host|cohost|speaker)$")]
    label: Annotated[str, Field(max_length=NAME_CHARS_MAX)] = ""
    expires_at: Instant | None = None


class Space(BaseModel):
    """A Space as those who run it see it. Times are RFC 3339 in UTC; `starts_at` follows every move of the start."""

    id: str
    title: str
    starts_at: str
    doors_s: int
    start: Start
    recording: Recording
    time_zone: str
    state: State
    cause: Cause
    since: str
    resume_at: str | None
    audience_url: str
    studio_url: str
    recording_url: Annotated[str | None, Field(description="path on this server, once there is a recording")]
    listeners: int | None
    on_air_offset_ms: Annotated[float | None, Field(description="how late the talk was on air, negative if early")]


class Spaces(BaseModel):
    spaces: list[Space]


class Network(BaseModel):
    """How well a seat is connected, over the last seconds; null is unknown."""

    rtt_ms: Annotated[float | None, Field(description="round trip, by their receiver reports")] = None
    loss_in: Annotated[float | None, Field(description="of 1: their packets that the stage misses")] = None
    loss_out: Annotated[float | None, Field(description="of 1: the stage's packets that they miss")] = None
    jitter_ms: Annotated[float | None, Field(description="of what comes from them (RFC 3550)")] = None
    delay_ms: Annotated[float | None, Field(description="what the stage holds back against jitter")] = None
    quality: Annotated[str | None, Field(description="good, fair or poor: the worst of the above")] = None


class Seat(BaseModel):
    id: str
    name: str
    role: Role
    armed: bool = False
    muted: bool = False
    connected: bool = False
    level_db: float | None = None
    speaking: bool = False
    gain_db: Annotated[float, Field(description="what the automatic gain adds")] = 0.0
    network: Network = Network()
    you: bool = False


class Stage(BaseModel):
    """Who sits where; `connected` tells whether the stage itself answers."""

    seats: list[Seat]
    on_air: bool
    connected: bool


class IceServer(BaseModel):
    """As `RTCConfiguration.iceServers` takes it; STUN needs no name and no credential."""

    urls: Annotated[list[str], Field(examples=[["turns:turn.example.org:443?transport=tcp"]])]
    username: str = ""
    credential: str = ""


class IceServers(BaseModel):
    ice_servers: list[IceServer]
    expires_at: Annotated[str | None, Field(description="when the credentials end, where there are any")]


class Link(BaseModel):
    id: str
    role: Role
    label: str
    created_at: str
    expires_at: str | None
    revoked: bool


class Links(BaseModel):
    links: list[Link]


class GivenLink(Link):
    """A link that was just made; the one time that its token is told."""

    url: str
    token: str


class CreatedSpace(Space):
    links: Annotated[dict[str, str], Field(description="the first host's and speaker's link")]


Share = Annotated[float, Field(ge=0, le=1)]


class Heard(BaseModel):
    """What the server heard of a guest so far. Null is not known yet."""

    level_db: Annotated[float | None, Field(description="of the voice, dBFS (RMS): of the last recording, once made")]
    noise_db: Annotated[float | None, Field(description="what is heard when nobody speaks, dBFS (RMS)")]
    clipped: Annotated[
        float | None, Field(description="share of the recording's frames that are cut off at full scale")
    ]
    loss_in: Annotated[float | None, Field(description="share of the guest's packets that never came")]
    jitter_ms: Annotated[float | None, Field(description="how unevenly they came (RFC 3550 6.4.1)")]
    packets: Annotated[int, Field(description="how many came")]


class CheckSession(BaseModel):
    """A test that is running."""

    phase: Annotated[str, Field(examples=["listening"], pattern="^(connecting|listening|recording|playing)$")]
    progress: Annotated[float, Field(description="of the recording or its playback, 0 to 1")]
    recordings: Annotated[int, Field(description="how many were made so far")]
    left_s: Annotated[float, Field(description="until it ends by itself")]
    heard: Heard
    grades: Annotated[dict[str, Verdict], Field(description="of what was heard, by the code of its advice")] = {}


class CheckReport(_Given):
    """What the guest's browser measured. With `session` what the server heard is added; the session must still run."""

    session: Annotated[str, Field(max_length=32)] | None = None
    name: Annotated[
        str, Field(max_length=4 * NAME_CHARS_MAX, description="as the host reads it; the link’s if empty")
    ] = ""
    microphone: Annotated[Microphone, Field(description="what became of asking for one; never its name")]
    way: Annotated[Way | None, Field(description="how the connection was made; null if it was not tried")] = None
    relay: Annotated[
        bool | None, Field(description="whether the relay (TURN) was reached; null where there is none")
    ] = None
    echo_db: Annotated[
        float | None,
        Field(ge=-100, le=0, description="what the microphone returned of a chirp, dBFS; -100: not found"),
    ] = None
    rtt_ms: Annotated[float | None, Field(ge=0, le=60_000)] = None
    loss_out: Annotated[Share | None, Field(description="share of the server’s packets that never came")] = None


class CheckMeasured(BaseModel):
    """Everything the verdict was made of; see CheckReport and Heard."""

    microphone: Microphone
    way: Way | None
    relay: bool | None
    echo_db: float | None
    rtt_ms: float | None
    loss_in: float | None
    loss_out: float | None
    jitter_ms: float | None
    level_db: float | None
    noise_db: float | None
    clipped: float | None


class Check(BaseModel):
    """What came of a guest’s latest test. No address and no sound is kept."""

    link: str
    seat: str
    name: str
    at: str
    verdict: Verdict
    advice: Annotated[list[str], Field(description="what to do, worst first", examples=[["echo", "level_low"]])]
    grades: Annotated[
        dict[str, Verdict], Field(description="of each thing that was measured, by the code of its advice")
    ]
    measured: CheckMeasured


class Checks(BaseModel):
    checks: list[Check]


class Me(BaseModel):
    role: Role
    space: str
    owner: bool
    name: str
    audience_base: str


class Problem(BaseModel):
    """RFC 9457. `code` is stable, `detail` is for people, `hint` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    errors: list[dict[str, Any]] | None = None


_STATUS: Final[dict[str, int]] = {
    "link.missing": 401,
    "link.malformed": 401,
    "link.forged": 401,
    "link.expired": 401,
    "link.revoked": 401,
    "grant.denied": 403,
    "seat.consent": 403,
    "space.unknown": 404,
    "seat.unknown": 404,
    "link.unknown": 404,
    "session.unknown": 404,
    "recording.none": 404,
    "space.state": 409,
    "space.nobody_armed": 409,
    "stage.full": 409,
    "space.exists": 409,
    "precondition.missing": 428,
    "precondition.stale": 412,
    "space.changed": 412,
    "request.too_large": 413,
    "request.type": 415,
    "request.malformed": 400,
    "request.slow": 408,
    "sdp.malformed": 400,
    "range.unsatisfiable": 416,
}
"""Where the class of an error does not say enough."""


def status_of(error: RostraError) -> int:
    """PeerErrors are the sender's (422 unless the table knows better), OperatorErrors 500, Unavailable 503."""
    if isinstance(error, PeerError):
        return _STATUS.get(error.code, 422)
    return 500 if isinstance(error, OperatorError) else 503


def problem(status: int, code: str, detail: str, hint: str = "", errors: list[dict[str, Any]] | None = None) -> Problem:
    """A problem whose type is named after its code."""
    return Problem(
        type=f"urn:rostra:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        errors=errors,
    )


def problem_of(error: RostraError) -> Problem:
    """What may be told of `error`: an operator's errors name files and reasons, which are for the operator's eyes."""
    if isinstance(error, OperatorError):
        return problem(
            500, error.code, "Rostra cannot do this as it is set up.", "The operator finds more in the logs."
        )
    return problem(status_of(error), error.code, error.sentence, error.hint)


def etag(space: Space) -> str:
    """The entity tag of a Space: it changes with whatever can be edited or commanded, not with the listeners."""
    stable = space.model_dump(mode="json", exclude={"listeners", "on_air_offset_ms", "recording_url"})
    return '"' + hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:16] + '"'


def check_match(space: Space, if_match: str | None) -> None:
    """Raises PeerError `precondition.missing` (428) or `precondition.stale` (412) (RFC 9110 13.1.1, RFC 6585)."""
    if if_match is None:
        raise PeerError(
            "precondition.missing",
            "A change must say which version it changes.",
            "Send If-Match with the ETag of the Space you looked at.",
        )
    if if_match.strip() != "*" and etag(space) not in {tag.strip() for tag in if_match.split(",")}:
        raise PeerError(
            "precondition.stale", "The Space has changed since you looked at it.", "Look again, then repeat the change."
        )
