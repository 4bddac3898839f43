"""Packets onto the grid: what the encoders give becomes fragments, with what is to be said in each.

The tick announces every frame before it is encoded (`frame`, `notice`), and hands in every packet that comes out
(`packet`). Encoders run behind by their look-ahead, each by its own, so announcements wait here until every rendition
has passed them. Nothing here knows the time: a fragment is due when its last packet is there.

After a crash the renditions may have stopped apart (one was written, the other not yet). Mixing begins again at the
lowest missing fragment, `first_frame`, for all of them; what a rendition already has is swallowed, so that its numbers
go on where they stopped and no fragment is ever written twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rostra.kernel.shared.index import Flag
from rostra.kernel.units import FRAGMENT_FRAMES, FRAME_SAMPLES
from rostra.log.index import Sealed
from rostra.media.codec import CODECS, Codec
from rostra.media.fragment import emsg, fragment
from rostra.space.notices import SCHEME

_NOTICES_BITS = 6
"""Notices of one fragment are told apart by this many bits of their id: 64 in 0.64 s; the number has the rest."""


@dataclass(slots=True)
class _Plan:
    """What was announced of a fragment."""

    wall_ns: int
    flags: Flag


@dataclass(slots=True)
class _Track:
    """A rendition: the first fragment it lacks, the one its next packet belongs to, and the packets of that so far."""

    codec: Codec
    due: int
    number: int
    packets: list[bytes]


class Packager:
    """Groups packets of every rendition into fragments. `due` names the first fragment each rendition lacks.

    `first_frame` is the timeline frame to mix first. It begins a fragment, so packets of both codecs begin there too.
    """

    def __init__(self, due: Mapping[str, int], codecs: Sequence[Codec] = CODECS) -> None:
        first = min(due[codec.name] for codec in codecs)
        self.first_frame = first * FRAGMENT_FRAMES
        self._next_frame = self.first_frame
        self._tracks = {codec.name: _Track(codec, due[codec.name], first, []) for codec in codecs}
        self._plans: dict[int, _Plan] = {}
        self._emsgs: dict[int, list[bytes]] = {}
        self._oldest = first

    def frame(self, frame: int, flags: Flag, wall_ns: int) -> None:
        """Announce the next frame: what it holds, and when it was (or should have been) mixed.

        A fragment carries the flags of all its frames, and the time of its first.
        """
        assert frame == self._next_frame, f"frame {frame} announced where {self._next_frame} was due"
        self._next_frame += 1
        plan = self._plans.get(frame // FRAGMENT_FRAMES)
        if plan is None:
            self._plans[frame // FRAGMENT_FRAMES] = _Plan(wall_ns, flags)
        else:
            plan.flags |= flags

    def notice(self, frame: int, data: bytes) -> None:
        """Say `data` (`rostra.space.notices`) at the start of `frame`, in every rendition.

        It goes into the fragment in which the frame falls. If a rendition has sealed that one, it goes into the next
        that all of them can still carry, with its own time: late, but told.
        """
        number = max(frame // FRAGMENT_FRAMES, *(track.number for track in self._tracks.values()))
        emsgs = self._emsgs.setdefault(number, [])
        emsgs.append(emsg(frame * FRAME_SAMPLES, number << _NOTICES_BITS | len(emsgs), SCHEME, data))

    def packet(self, rendition: str, data: bytes) -> Sealed | None:
        """Take the next packet of `rendition`, in order from `first_frame` on; return the fragment that it completes.

        The first packet must decode to the samples that begin at `first_frame`: priming is dropped before.
        """
        track = self._tracks[rendition]
        track.packets.append(data)
        if len(track.packets) < track.codec.packets_per_fragment:
            return None
        sealed = self._seal(track)
        track.number += 1
        track.packets = []
        self._forget()
        return sealed

    def _seal(self, track: _Track) -> Sealed | None:
        if track.number < track.due:
            return None
        plan = self._plans[track.number]
        data = fragment(track.codec, track.number, track.packets, plan.wall_ns, self._emsgs.get(track.number, ()))
        return Sealed(track.codec.name, track.number, plan.flags, plan.wall_ns, data)

    def _forget(self) -> None:
        """Drop the announcements that every rendition has passed."""
        passed = min(track.number for track in self._tracks.values())
        while self._oldest < passed:
            del self._plans[self._oldest]
            self._emsgs.pop(self._oldest, None)
            self._oldest += 1

    def frames_left(self, frame: int) -> int:
        """How many frames, from `frame` on, complete the fragment that is being mixed; 0 when `frame` begins one."""
        return -frame % FRAGMENT_FRAMES
