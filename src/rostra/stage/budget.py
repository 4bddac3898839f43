"""What a connection lets in, before anything of it is parsed.

The socket of a connection is open to everyone who can send to it, and only ICE, DTLS and SRTP tell the peer from the
rest; each costs time and memory that a stranger must not be able to spend. So a datagram is judged by its first byte
(RFC 7983), its length and where it came from, in constant time:

- A source from which ICE has authenticated a check, or that ICE has chosen, is the *peer*; all others are *strangers*.
- A stranger may send checks (that is how a peer becomes known) and media (a peer whose address has just changed sends
  media first, and SRTP authenticates it), both within a small budget of their own; never DTLS, so that nobody can
  disturb a handshake, and never a stream (SSRC) that the peer has not begun.
- The peer has a budget that no encoder reaches, and may begin so many streams and no more: for each, libsrtp and
  aiortc keep something for as long as the connection lasts.

What is beyond is dropped and counted. A peer that goes on for `PATIENCE_S` seconds, with datagrams that SRTP says are
really its own, is expelled with a reason; what a stranger sends in its name expels nobody.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rostra.kernel.units import SECOND_NS

Source = tuple[str, int]

DATAGRAM_BYTES_MAX: Final = 1500
"""An Ethernet frame's; WebRTC keeps below 1200. libsrtp's buffer is 2048, and aiortc gives up beyond it."""

PEER_PER_S: Final = 500
"""Opus in its shortest packets (2.5 ms) is 400 a second, and browsers send 50 to 100."""

PEER_BURST: Final = 500
"""What a network that hung for five seconds lets go at once, twice."""

STRANGERS_PER_S: Final = 200
STREAMS_MAX: Final = 32
SOURCES_MAX: Final = 16
"""Addresses of one peer that are remembered: it has two or three, and gets another with every network."""

PATIENCE_S: Final = 5
SPOILT_PER_S: Final = 50
"""Authentic packets a second that cannot be parsed: more are no accident."""


class Kind(Enum):
    """RFC 7983 section 7, as far as a stage speaks it."""

    STUN = "stun"
    DTLS = "dtls"
    MEDIA = "media"
    NONE = "none"


@dataclass(slots=True)
class Dropped:
    """Datagrams that were not let in, or could not be read."""

    oversize: int = 0
    unknown: int = 0
    strangers: int = 0
    excess: int = 0
    streams: int = 0
    malformed: int = 0


def kind(data: bytes) -> Kind:
    first = data[0] if data else 255
    if first < 4:
        return Kind.STUN
    if 20 <= first < 64:
        return Kind.DTLS
    return Kind.MEDIA if 128 <= first < 192 else Kind.NONE


def stream(data: bytes) -> int:
    """The SSRC of RTP or RTCP (RFC 5761 section 4 tells them apart); -1 when it is too short to have one."""
    at = 4 if len(data) > 1 and 192 <= data[1] < 224 else 8
    return int.from_bytes(data[at : at + 4], "big") if len(data) >= at + 4 else -1


@dataclass(slots=True)
class Bucket:
    """Fills by `per_s` a second up to `burst`; `take` empties it by one. All in units of one datagram."""

    per_s: int
    burst: int
    filled_ns: int = 0
    level: float = -1.0

    def take(self, now_ns: int) -> bool:
        if self.level < 0:
            self.level, self.filled_ns = self.burst, now_ns
        self.level = min(self.burst, self.level + (now_ns - self.filled_ns) * self.per_s / SECOND_NS)
        self.filled_ns = now_ns
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Gate:
    """One connection's. `expelled` says why its peer has to go, once it has."""

    def __init__(self) -> None:
        self.dropped = Dropped()
        self.expelled = ""
        self._peer = Bucket(PEER_PER_S, PEER_BURST)
        self._strangers = Bucket(STRANGERS_PER_S, STRANGERS_PER_S)
        self._sources: OrderedDict[Source, None] = OrderedDict()
        self._streams: set[int] = set()
        self._second = 0
        self._over = 0  # what the peer sent too much, this second
        self._media = 0  # what was let in of its media, this second
        self._authentic = 0
        self._spoilt = 0
        self._bad_seconds = 0

    def know(self, source: Source) -> None:
        """ICE says that the peer is at `source`."""
        self._sources[source] = None
        self._sources.move_to_end(source)
        if len(self._sources) > SOURCES_MAX:
            self._sources.popitem(last=False)

    def knows(self, source: Source) -> bool:
        return source in self._sources

    def admits(self, data: bytes, source: Source, now_ns: int) -> bool:
        """Whether a datagram may be read."""
        self._turn(now_ns)
        if len(data) > DATAGRAM_BYTES_MAX:
            self.dropped.oversize += 1
            return False
        sort = kind(data)
        if sort is Kind.NONE:
            self.dropped.unknown += 1
            return False
        if source not in self._sources:
            return self._admits_stranger(data, sort, now_ns)
        if not self._peer.take(now_ns):
            self.dropped.excess += 1
            self._over += 1
            return False
        return sort is not Kind.MEDIA or self._admits_media(data)

    def _admits_stranger(self, data: bytes, sort: Kind, now_ns: int) -> bool:
        known = sort is Kind.STUN or (sort is Kind.MEDIA and stream(data) in self._streams)
        if known and self._strangers.take(now_ns):
            return True
        self.dropped.strangers += 1
        return False

    def _admits_media(self, data: bytes) -> bool:
        begun = stream(data)
        if begun not in self._streams:
            if begun < 0 or len(self._streams) >= STREAMS_MAX:
                self.dropped.streams += 1
                self._over += 1
                return False
            self._streams.add(begun)
        self._media += 1
        return True

    def authentic(self, now_ns: int) -> None:
        """SRTP says that a packet is the peer's."""
        self._turn(now_ns)
        self._authentic += 1

    def spoilt(self, now_ns: int, *, authentic: bool) -> None:
        """What was let in could not be parsed."""
        self._turn(now_ns)
        self.dropped.malformed += 1
        self._spoilt += authentic

    def _turn(self, now_ns: int) -> None:
        """Judge the second that is over."""
        second = now_ns // SECOND_NS
        if second == self._second:
            return
        flooding = self._over > 0 and 2 * self._authentic >= self._media > 0
        bad = (flooding or self._spoilt > SPOILT_PER_S) and second == self._second + 1
        self._bad_seconds = self._bad_seconds + 1 if bad else 0
        if self._bad_seconds >= PATIENCE_S:
            self.expelled = "malformed" if self._spoilt > SPOILT_PER_S else "flood"
        self._second, self._over, self._media, self._authentic, self._spoilt = second, 0, 0, 0, 0
