"""What was announced about a Space: the part of its row that processes without a database need.

The studio writes it to `<data>/spaces/<id>/space.json` whenever the row changes, so that an event that was scheduled
happens on time with no database in sight.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rostra.kernel.clock import from_iso8601, to_rfc3339
from rostra.kernel.errors import OperatorError, PeerError
from rostra.kernel.limits import START_AHEAD_DAYS_MAX, TITLE_CHARS_MAX
from rostra.kernel.units import SECOND_NS

VERSION: Final = 1


class Start(StrEnum):
    """How a Space goes on air: at the announced instant, or when the host says GO."""

    AUTOMATIC = "automatic"
    ON_GO = "on_go"


class Recording(StrEnum):
    """What becomes of the programme after the end (DESIGN 7)."""

    OFF = "off"
    PRIVATE = "private"
    AFTER_APPROVAL = "after_approval"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Spec:
    """An announced Space. `time_zone` is the IANA zone the host planned in; the start itself is an instant."""

    id: str
    title: str
    starts_at_ns: int
    doors_s: int = 1800
    start: Start = Start.AUTOMATIC
    recording: Recording = Recording.AFTER_APPROVAL
    time_zone: str = "UTC"
    planned_s: int = 4 * 3600
    auto_end_s: int = 1800

    @property
    def doors_at_ns(self) -> int:
        return self.starts_at_ns - self.doors_s * SECOND_NS


def check(spec: Spec, now_ns: int) -> None:
    """Raises PeerError when `spec` cannot be held: no title, a start in the past or absurdly far away."""
    if not spec.title.strip() or len(spec.title) > TITLE_CHARS_MAX:
        raise PeerError("space.title", "A Space needs a title.", f"Use between 1 and {TITLE_CHARS_MAX} characters.")
    check_start(spec.starts_at_ns, now_ns)
    if not 0 <= spec.doors_s <= 24 * 3600:
        raise PeerError("space.doors", "The doors cannot open then.", "Use between 0 and 24 hours before the start.")


def check_start(starts_at_ns: int, now_ns: int) -> None:
    """Raises PeerError `space.past` or `space.far` when nothing can start at `starts_at_ns`."""
    if starts_at_ns <= now_ns:
        raise PeerError(
            "space.past",
            f"The start, {to_rfc3339(starts_at_ns)}, is in the past: it is {to_rfc3339(now_ns)} now.",
            "Choose a later start, and check the offset from UTC.",
        )
    if starts_at_ns > now_ns + START_AHEAD_DAYS_MAX * 86_400 * SECOND_NS:
        raise PeerError(
            "space.far",
            f"The start, {to_rfc3339(starts_at_ns)}, is more than a year away.",
            "Check the year.",
        )


def encode(spec: Spec) -> bytes:
    """`space.json`."""
    document: dict[str, Any] = {
        "v": VERSION,
        "id": spec.id,
        "title": spec.title,
        "starts_at": to_rfc3339(spec.starts_at_ns),
        "doors_s": spec.doors_s,
        "start": spec.start,
        "recording": spec.recording,
        "time_zone": spec.time_zone,
        "planned_s": spec.planned_s,
        "auto_end_s": spec.auto_end_s,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def decode(data: bytes) -> Spec:
    """Raises OperatorError `space.unreadable` when `data` is not a `space.json` of this version."""
    try:
        document = json.loads(data)
        if document["v"] != VERSION:
            raise ValueError(f"version {document['v']}")
        return Spec(
            id=document["id"],
            title=document["title"],
            starts_at_ns=from_iso8601(document["starts_at"]),
            doors_s=int(document["doors_s"]),
            start=Start(document["start"]),
            recording=Recording(document["recording"]),
            time_zone=document["time_zone"],
            planned_s=int(document["planned_s"]),
            auto_end_s=int(document["auto_end_s"]),
        )
    except (ValueError, KeyError, TypeError, PeerError) as error:
        raise OperatorError(
            "space.unreadable",
            f"A space.json cannot be read ({error}).",
            "Restore it from a backup, or remove the Space's folder.",
        ) from None
