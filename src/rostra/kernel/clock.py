"""Time as a value.

Two clocks are read together: the wall clock, which people announce events by and which may step, and the monotonic
clock, which never does. The programme's timeline hangs on the monotonic one; the wall clock only says where on the
timeline an announced instant lies (DESIGN 7, "The timeline never slips").
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from rostra.kernel.errors import PeerError
from rostra.kernel.units import FRAME_NS, SECOND_NS


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks, in nanoseconds; `boot_id` names the life of the monotonic one."""

    wall_ns: int
    mono_ns: int
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a Space's timeline has its zero, on both clocks. Fixed when its programme first starts."""

    wall_ns: int
    mono_ns: int
    boot_id: str = ""

    def elapsed_ns(self, now: Now) -> int:
        """How far the timeline has run. After a reboot the monotonic clock began anew, so the wall clock must do."""
        if now.boot_id == self.boot_id:
            return now.mono_ns - self.mono_ns
        return now.wall_ns - self.wall_ns

    def frames_due(self, now: Now) -> int:
        """How many frames should have been mixed by `now`: frame f is due at the instant it begins."""
        return max(0, self.elapsed_ns(now) // FRAME_NS + 1)

    def wall_of_frame(self, frame: int, now: Now) -> int:
        """The wall-clock time (ns) at which `frame` begins, by what the wall clock says at `now`."""
        return now.wall_ns + frame * FRAME_NS - self.elapsed_ns(now)


def grid_anchor(now: Now) -> Anchor:
    """An anchor at `now`, moved back to the machine's 20 ms grid, which stage and programme tick on together."""
    back = now.mono_ns % FRAME_NS
    return Anchor(now.wall_ns - back, now.mono_ns - back, now.boot_id)


def to_rfc3339(wall_ns: int) -> str:
    """`2026-08-12T20:00:00.000Z`: UTC, to the millisecond (RFC 3339)."""
    moment = datetime.fromtimestamp(wall_ns / SECOND_NS, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso8601(text: str) -> int:
    """Wall-clock nanoseconds of an ISO 8601 instant that names its offset from UTC.

    Raises:
        PeerError: `time.unreadable`, or `time.no_zone` for a local time, which would start at another hour for
            whoever reads it elsewhere.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PeerError(
            "time.unreadable",
            f"“{text}” is not a date and time.",
            "Write it as 2026-08-12T20:00:00-04:00 (ISO 8601, with the offset from UTC, or Z).",
        ) from None
    if moment.tzinfo is None:
        raise PeerError(
            "time.no_zone",
            f"“{text}” does not say which time zone it is in.",
            "Add the offset from UTC, as in 2026-08-12T20:00:00-04:00, or Z for UTC.",
        )
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * SECOND_NS + moment.microsecond * 1000
