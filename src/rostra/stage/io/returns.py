"""What the speakers hear, encoded: once for all who hear the same (`rostra.stage.sharing` decides who that is)."""

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Final

from rostra.stage import sharing
from rostra.stage.io.opus import Encoder
from rostra.stage.io.session import Session
from rostra.stage.mix import Array
from rostra.stage.rate import Plan
from rostra.stage.sharing import Fresh, Sharing

PRIME_FRAMES: Final = 2
"""What a new encoder is fed before it takes over: what an Opus frame overlaps with and predicts from (RFC 6716)."""


class _Line:
    """One encoder, how it is set, and what it was fed last."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.plan: Plan | None = None
        self.fed: deque[Array] = deque(maxlen=PRIME_FRAMES)

    def encode(self, frame: Array, plan: Plan, *, independent: bool = False) -> bytes:
        if plan != self.plan:
            self.encoder.set_rate(plan.kbit_s, plan.loss_percent)
            self.plan = plan
        self.fed.append(frame)
        return self.encoder.encode(frame, independent=independent)


class Returns:
    """All lines of a stage."""

    def __init__(self) -> None:
        self._sharing = Sharing()
        self._lines: dict[int, _Line] = {}

    @property
    def encoders(self) -> int:
        return len(self._lines)

    def send(
        self, listeners: Mapping[str, tuple[int, Session]], heard: Array, before: Array, after: Array, number: int
    ) -> None:
        """Send each listener (by session: its row and itself) its row of `heard`, mixed by the gains given."""
        keys: dict[str, Hashable] = {
            name: (after[row].tobytes(), before[row].tobytes(), session.plan)
            for name, (row, session) in listeners.items()
        }
        now = self._sharing = sharing.arrange(self._sharing, keys)
        fresh = {each.group for each in now.fresh if each.old is not None}
        for each in now.fresh:
            self._lines[each.group] = self._begin(each, now, listeners)
        packets: dict[int, bytes] = {}
        for name, (row, session) in listeners.items():
            group = now.groups[name]
            if group not in packets:
                independent = group in fresh or group in now.joined
                packets[group] = self._lines[group].encode(heard[row], session.plan, independent=independent)
            session.send(packets[group], number)
        self._lines = {group: self._lines[group] for group in packets}

    def _begin(self, fresh: Fresh, now: Sharing, listeners: Mapping[str, tuple[int, Session]]) -> _Line:
        line = _Line()
        if fresh.old is not None:
            plan = next(listeners[name][1].plan for name, group in now.groups.items() if group == fresh.group)
            for frame in tuple(self._lines[fresh.old].fed):
                line.encode(frame, plan)
        return line
