"""The rules of WHIP (RFC 9725) as the studio keeps them, and who may do what to a seat. No SDP is interpreted here.

The studio checks that a body is what it says and small enough; the stage, in a process of its own, is the one that
negotiates. Trickle ICE (RFC 8840) is supported, ICE restarts are not: a client that lost its path makes a new offer,
and finds its seat again by its key.
"""

import hashlib
import re
from typing import Final

from rostra.kernel.errors import PeerError
from rostra.kernel.ids import make_id
from rostra.kernel.limits import NAME_CHARS_MAX, SDP_BYTES_MAX
from rostra.space.grants import Verb
from rostra.studio.api import SeatChange

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
FRAGMENT_BYTES_MAX: Final = 16 * 1024
"""All candidates of a machine with many interfaces at once; usually a few hundred bytes."""

SEAT_KEY_CHARS_MAX: Final = 64
SEAT_ID_CHARS: Final = 12
"""60 bits: no two of a Space's seats meet, and the id fits the ring's 16 bytes."""

_LINE: Final = re.compile(r"[a-z]=.*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def seat_id(link: str, key: str) -> str:
    """The seat of whoever holds `link` and chose `key`: the same after a reload, and nobody else can name the key."""
    return make_id(hashlib.sha256(f"{link}/{key}".encode()).digest())[:SEAT_ID_CHARS]


def seat_name(asked: str, fallback: str) -> str:
    """A name as listeners may see it: one line, no control or direction characters, `NAME_CHARS_MAX` at most."""
    return _CONTROL.sub(" ", asked).strip()[:NAME_CHARS_MAX].strip() or fallback


def check_type(given: str | None, wanted: str) -> None:
    """Raises PeerError `request.type` (415)."""
    if (given or "").partition(";")[0].strip().lower() != wanted:
        raise PeerError("request.type", f"This is not {wanted}.", f"Send Content-Type: {wanted}.")


def offer(body: bytes) -> str:
    """An SDP offer that the stage may be asked to answer.

    Raises PeerError `request.too_large` (413), `sdp.malformed` (400), `sdp.unfit` (422) when it offers no sound.
    """
    lines = _lines(body, SDP_BYTES_MAX)
    if lines[0] != "v=0":
        raise _malformed("it does not begin with v=0")
    media = [line.split(" ", 1)[0] for line in lines if line.startswith("m=")]
    if media.count("m=audio") != 1 or len(media) != 1:
        raise PeerError("sdp.unfit", "The offer is not for exactly one audio track.", "Offer sound, and nothing else.")
    if not {"a=sendrecv", "a=sendonly"} & set(lines) and {"a=recvonly", "a=inactive"} & set(lines):
        raise PeerError("sdp.unfit", "The offer sends nothing.", "Offer sendrecv or sendonly.")
    for needed in ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"):
        if not any(line.startswith(needed) for line in lines):
            raise PeerError("sdp.unfit", f"The offer has no {needed[2:-1]}.", "Use WebRTC: ICE with DTLS-SRTP.")
    return "\r\n".join(lines) + "\r\n"


def fragment(body: bytes) -> str:
    """A trickle-ICE fragment. Raises PeerError `request.too_large`, `sdp.malformed`."""
    lines = _lines(body, FRAGMENT_BYTES_MAX)
    if not any(line.startswith(("a=candidate:", "a=end-of-candidates", "a=ice-ufrag:")) for line in lines):
        raise _malformed("it holds no candidates")
    return "\r\n".join(lines) + "\r\n"


def _lines(body: bytes, bytes_max: int) -> list[str]:
    if len(body) > bytes_max:
        raise PeerError("request.too_large", f"This is longer than {bytes_max} bytes.", "Send less.")
    try:
        lines = body.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not _LINE.fullmatch(line):
            raise _malformed(f"line {number} is not of the form x=…")
    return lines


def _malformed(why: str) -> PeerError:
    return PeerError("sdp.malformed", f"The SDP cannot be read: {why}.", "Send it as the browser made it (RFC 8866).")


def etag(session: str) -> str:
    """The entity tag of a session's ICE: there is one ICE session for as long as it lives."""
    return f'"{session}"'


def check_trickle(session: str, if_match: str | None) -> None:
    """Raises PeerError `precondition.missing` (428), `precondition.stale` (412), `sdp.restart` (422) (RFC 9725 4.3)."""
    if if_match is None:
        raise PeerError("precondition.missing", "A fragment must say which ICE session it is for.", "Send If-Match.")
    if if_match.strip() == "*":
        raise PeerError("sdp.restart", "ICE restarts are not supported.", "Make a new offer: your seat is kept.")
    if etag(session) not in {tag.strip() for tag in if_match.split(",")}:
        raise PeerError("precondition.stale", "The fragment is for another ICE session.", "Make a new offer.")


def seat_orders(change: SeatChange) -> list[str]:
    """The stage's verbs for a change, in order. Raises PeerError `seat.nothing` when it asks for nothing."""
    if change.removed:
        return ["remove"]
    orders = []
    if change.muted is not None:
        orders.append("mute" if change.muted else "unmute")
    if change.armed is not None:
        orders.append("arm" if change.armed else "disarm")
    if not orders:
        raise PeerError("seat.nothing", "This changes nothing.", "Send armed, muted or removed.")
    return orders


def right_for(order: str, *, own: bool) -> Verb:
    """What it takes to give `order` to a seat: everyone minds their own microphone, few decide who reaches air.

    Raises PeerError `seat.consent` (403): a microphone is opened by whoever sits before it, and by nobody else.
    """
    if order == "unmute" and not own:
        raise PeerError(
            "seat.consent",
            "Nobody can turn on another’s microphone.",
            "Ask them to unmute themselves; you can mute them.",
        )
    if own and order != "arm":
        return Verb.SPEAK
    return Verb.ARM if order in ("arm", "disarm") else Verb.MODERATE
