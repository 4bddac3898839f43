"""`state.json`: what anybody may know of a Space, built from what is on disk and what the programme answers.

The keeper writes it; a worker builds one for itself while the keeper is away.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.units import SECOND_NS
from rostra.media.codec import CODECS
from rostra.space import notices
from rostra.space.lifecycle import LIVE, Life, State
from rostra.space.spec import Spec

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a Space beside its life; None where nobody who knows could be asked."""

    listeners: int | None = None
    speaking: dict[str, str] | None = None
    fragment: int | None = None
    sounding: bool = False
    on_air_offset_ms: float | None = None
    replay_s: float | None = None


def document(spec: Spec, life: Life, facts: Facts, now_ns: int) -> dict[str, Any]:
    """The public state at `now_ns`. `replay` is offered only when the life allows it."""
    first = life.first_on_air_ns
    replay = None
    if life.state is State.REPLAY and facts.replay_s is not None:
        replay = {"url": f"/s/{spec.id}/recording.m4a", "duration_s": facts.replay_s}
    return {
        "v": VERSION,
        "id": spec.id,
        "title": spec.title,
        **notices.public(life),
        "doors_at": to_rfc3339(life.starts_at_ns - spec.doors_s * SECOND_NS),
        "first_on_air": None if first is None else to_rfc3339(first),
        "listeners": facts.listeners if life.state in LIVE else None,
        "speaking": facts.speaking if life.state in LIVE else None,
        "recording": spec.recording,
        "start": spec.start,
        "programme": {
            "live": facts.sounding and life.state in LIVE,
            "last_fragment": facts.fragment,
            "on_air_offset_ms": facts.on_air_offset_ms,
        },
        "renditions": [{"name": codec.name, "mime": codec.mime, "kbit_s": codec.kbit_s} for codec in CODECS],
        "replay": replay,
        "server_time": to_rfc3339(now_ns),
    }


def encode(public: dict[str, Any]) -> bytes:
    """The file."""
    return json.dumps(public, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def on_air_offset_ms(journal: bytes) -> float | None:
    """How far from the announced instant the talk went on air, as the programme noted it at the first ON_AIR."""
    for line in journal.splitlines():
        if b'"on_air_offset_ms"' in line:
            try:
                return float(json.loads(line)["on_air_offset_ms"])
            except (ValueError, KeyError, TypeError):
                continue
    return None
