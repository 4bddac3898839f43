"""Which state of a Space is made public, and when it is written again."""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from rostra.kernel.errors import OperatorError
from rostra.kernel.units import SECOND_NS
from rostra.space import lifecycle
from rostra.space.lifecycle import LIVE, Life
from rostra.space.state import Facts

REWRITE_LIVE_S: Final = 1
REWRITE_S: Final = 30
"""An unchanged state is written again after this, so that a reader can tell a quiet Space from a keeper gone."""

FRESH_S: Final = 3
"""The programme sounds while its last fragment is younger: it is 0.64 s long, and sealed when it is over."""


def heard(reply: dict[str, Any]) -> tuple[Life, dict[str, str] | None]:
    """What the programme answered to `status`: the life, and who is speaking.

    Raises OperatorError `journal.unreadable` when a programme of another version answered.
    """
    life = lifecycle.decode(json.dumps({"v": lifecycle.VERSION} | reply).encode())
    speaking = reply.get("speaking")
    if not isinstance(speaking, dict) or not speaking.get("seat"):
        return life, None
    return life, {"seat": str(speaking["seat"]), "name": str(speaking.get("name", ""))}


def sounding(facts: Facts, last: int, last_wall_ns: int, now_ns: int) -> Facts:
    """`facts`, with the last fragment, mixed from `last_wall_ns` on, and whether it is fresh."""
    return replace(facts, fragment=last, sounding=now_ns - last_wall_ns < FRESH_S * SECOND_NS)


def replay_s(recording: bytes) -> float:
    """The duration in `recording.json`. Raises OperatorError `recording.unreadable`."""
    try:
        return float(json.loads(recording)["duration_s"])
    except (ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            "recording.unreadable",
            f"A recording.json cannot be read ({error}).",
            "The sound is still in the log beside it.",
        ) from None


@dataclass(frozen=True, slots=True)
class Written:
    """The document written last, without its time, and when (wall-clock ns)."""

    document: dict[str, Any]
    at_ns: int


def write_again(before: Written | None, document: dict[str, Any], now_ns: int) -> Written | None:
    """What to remember when `document` is to be written now, or None when the file says it all."""
    facts = {name: value for name, value in document.items() if name != "server_time"}
    every_s = REWRITE_LIVE_S if document["state"] in LIVE else REWRITE_S
    due = before is None or before.document != facts or not 0 <= now_ns - before.at_ns < every_s * SECOND_NS
    return Written(facts, now_ns) if due else None
