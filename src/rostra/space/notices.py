"""What listeners are told in-band: JSON in `emsg` boxes (version 1) of this scheme, between or inside fragments.

From the programme (timed, part of the log):
    {"type": "state", "state", "cause", "since", "starts_at", "resume_at"}     on each change, and every 8th fragment
    {"type": "speaking", "seat", "name"}                                       name "" when nobody is
From the worker (about this connection, never in the log):
    {"type": "count", "listeners"}
    {"type": "gap", "from", "to"}               fragments from..to-1 were skipped: the reader was too slow
    {"type": "cadence", "ms"}                   how far apart bursts will come
    {"type": "programme_lost"} / {"type": "programme_back"}
    {"type": "end", "state"}                    the last thing on this connection; the response then ends cleanly
"""

import json
from typing import Any, Final

from rostra.kernel.clock import to_rfc3339
from rostra.space.lifecycle import Life

SCHEME: Final = "urn:rostra:notice:1"


def encode(kind: str, **facts: object) -> bytes:
    """The JSON of a notice."""
    return json.dumps({"type": kind, **facts}, ensure_ascii=False, separators=(",", ":")).encode()


def state(life: Life) -> bytes:
    """The notice that tells the state of a Space."""
    return encode("state", **public(life))


def public(life: Life) -> dict[str, Any]:
    """What anyone may know of a life; also the heart of `state.json`."""
    resume = life.resume_at_ns
    return {
        "state": life.state,
        "cause": life.cause,
        "since": to_rfc3339(life.since_ns),
        "starts_at": to_rfc3339(life.starts_at_ns),
        "resume_at": None if resume is None else to_rfc3339(resume),
    }
