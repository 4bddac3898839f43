"""Session descriptions (RFC 8866, RFC 9429), as far as a stage needs them: one audio section, Opus, both ways.

What a peer offers is cut down before aiortc sees it: the first usable audio section with Opus alone; video, data and
further audio are put aside and refused in the answer (port 0). Candidates that a server should not send packets to are
left out. The answer then gets the Opus parameters that aiortc does not write.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rostra.kernel.errors import PeerError
from rostra.kernel.limits import SDP_BYTES_MAX
from rostra.stage.reach import usable

LINES_MAX: Final = 2000
SECTIONS_MAX: Final = 16
"""Chromium's audio-only offer has one section; conferencing pages that offer everything have three."""

CANDIDATES_MAX: Final = 32
"""A laptop with two networks, IPv4 and IPv6, and a relay has some ten."""

FOUNDATION_CHARS_MAX: Final = 32
"""RFC 8839 section 5.1; aioice's have as many."""

OPUS_PARAMETERS: Final = "minptime=10;useinbandfec=1;stereo=0;sprop-stereo=0"
"""RFC 7587 section 6.1: send FEC (we decode it), send mono (the mix is mono), and mono is what comes back."""

_LINE: Final = re.compile(r"[a-z]=[^\x00-\x08\x0b\x0c\x0e-\x1f]*")
_MEDIA: Final = re.compile(r"m=([a-z]+) (\d{1,5})(?:/\d+)? ([A-Z/]+) (.+)")
_OPUS: Final = re.compile(r"a=rtpmap:(\d{1,3}) opus/48000/2", re.IGNORECASE)
_TRANSPORT: Final = ("a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:", "a=setup:")
_SESSION_KEPT: Final = (*_TRANSPORT, "v=", "o=", "s=", "t=", "a=ice-lite", "a=ice-options:", "a=msid-semantic")
_AUDIO_KEPT: Final = (
    *_TRANSPORT,
    "c=",
    "a=ice-options:",
    "a=mid:",
    "a=rtcp:",
    "a=rtcp-mux",
    "a=sendrecv",
    "a=sendonly",
    "a=extmap:",
    "a=msid:",
    "a=ssrc:",
)
_HINT: Final = "Send the offer as the browser's RTCPeerConnection made it."


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that a stage can take. `sdp` is for aiortc; `refused` are the other sections as (index, m-line, mid);
    `loopback`: its candidates may be there."""

    sdp: str
    payload_type: int
    mid: str
    ufrag: str
    hears: bool
    refused: tuple[tuple[int, str, str], ...]
    loopback: bool = False


def read_offer(text: str, *, loopback: bool = False) -> Offer:
    """Check an offer and cut it down. `loopback`: the stage listens there, and so may the peer.

    Raises:
        PeerError: `sdp.too_large`, `sdp.malformed`, `sdp.no_audio` (none, or none that is sent), `sdp.no_opus`,
            `sdp.insecure` (no DTLS fingerprint).
    """
    session, sections = _split(text)
    chosen = _choose(sections)
    audio = sections[chosen]
    payload_type = _opus(audio)
    _check_transport(session, audio)
    mid = _value(audio, "a=mid:")
    if not mid:
        raise _malformed("the audio section has no a=mid")
    if "a=rtcp-mux" not in audio:
        raise _malformed("RTCP is not multiplexed with RTP (a=rtcp-mux)")
    refused = tuple((at, section[0], _value(section, "a=mid:")) for at, section in enumerate(sections) if at != chosen)
    lines = [
        *(line for line in session if line.startswith(_SESSION_KEPT)),
        f"a=group:BUNDLE {mid}",
        f"m=audio 9 UDP/TLS/RTP/SAVPF {payload_type}",
        *_audio(audio, payload_type, loopback),
    ]
    return Offer(
        sdp="\r\n".join(lines) + "\r\n",
        payload_type=payload_type,
        mid=mid,
        ufrag=_value(audio, "a=ice-ufrag:") or _value(session, "a=ice-ufrag:"),
        hears="a=sendonly" not in audio,
        refused=refused,
        loopback=loopback,
    )


def finish_answer(answer: str, offer: Offer, published: Mapping[str, str] = MappingProxyType({})) -> str:
    """aiortc's answer to `offer.sdp`, with Opus parameters and a refusal of the other sections: what the peer gets.

    `published`: addresses of this machine that are known outside by another one, as `advertise` takes them.
    """
    session, sections = _split(answer)
    assert len(sections) == 1, "an offer was cut down to one section"
    mapped = f"a=rtpmap:{offer.payload_type} "
    audio: list[str] = []
    for line in sections[0]:
        audio.append(line)
        if line.startswith(mapped):
            audio.append(f"a=fmtp:{offer.payload_type} {OPUS_PARAMETERS}")
    whole = [advertise(audio, published)]
    for at, media, mid in offer.refused:
        whole.insert(at, _refusal(media, mid))
    lines = [*session, *(line for section in whole for line in section)]
    return "\r\n".join(lines) + "\r\n"


def read_fragment(text: str, offer: Offer) -> tuple[str, ...]:
    """The candidates in a trickle fragment (RFC 8840), without their `a=candidate:`; unusable ones are left out.

    Raises:
        PeerError: `sdp.too_large`, `sdp.malformed`, or `sdp.ice_restart` when the fragment belongs to other ICE
            credentials than the offer.
    """
    lines = _lines(text)
    ufrag = _value(lines, "a=ice-ufrag:")
    if ufrag and ufrag != offer.ufrag:
        raise PeerError("sdp.ice_restart", "A running connection cannot restart ICE.", "Close it and send a new offer.")
    return _candidates(lines, offer.loopback)


def advertise(section: Sequence[str], published: Mapping[str, str]) -> list[str]:
    """The lines of a section, with a candidate at the public address before each candidate at its base.

    `published` is base → public address. A 1:1 NAT keeps ports, so the port is the base's. The private one stays: it is
    what a speaker in the same network reaches, and has the higher priority (RFC 8445 section 5.1.2.1, local preference
    one lower). Called a host candidate, and written first, because senders without a whole ICE agent (FFmpeg's whip
    muxer) take the first host candidate and no other.
    """
    lines: list[str] = []
    at = next((at for at, line in enumerate(section) if line.startswith("a=candidate:")), len(section))
    for line in section:
        parts = line.split(" ")
        if line.startswith("a=candidate:") and parts[4] in published and parts[7] == "host":
            foundation = parts[0].removeprefix("a=candidate:")
            parts[0] = f"a=candidate:{foundation[: FOUNDATION_CHARS_MAX - 1]}p"  # one of its own
            parts[3] = str(int(parts[3]) - (1 << 8))
            parts[4] = published[parts[4]]
            lines.append(" ".join(parts))
    return [*section[:at], *lines, *section[at:]]


def _lines(text: str) -> list[str]:
    if len(text) > SDP_BYTES_MAX or len(text.encode(errors="replace")) > SDP_BYTES_MAX:
        raise PeerError("sdp.too_large", f"A session description may have {SDP_BYTES_MAX // 1024} kB.", _HINT)
    lines = re.split(r"\r\n|\n", text.rstrip("\r\n"))
    if len(lines) > LINES_MAX:
        raise PeerError("sdp.too_large", f"A session description may have {LINES_MAX} lines.", _HINT)
    for line in lines:
        if not _LINE.fullmatch(line):
            raise _malformed("a line is not of the form x=…")
    return lines


def _split(text: str) -> tuple[list[str], list[list[str]]]:
    """The lines before the first media section, and the lines of each section."""
    session: list[str] = []
    sections: list[list[str]] = []
    for line in _lines(text):
        if line.startswith("m="):
            if not _MEDIA.fullmatch(line):
                raise _malformed("a media line cannot be read")
            sections.append([line])
        else:
            (sections[-1] if sections else session).append(line)
    if not session or session[0] != "v=0":
        raise _malformed("it does not begin with v=0")
    if len(sections) > SECTIONS_MAX:
        raise PeerError("sdp.too_large", f"A session description may have {SECTIONS_MAX} media sections.", _HINT)
    return session, sections


def _choose(sections: Sequence[list[str]]) -> int:
    """The first audio section that sends."""
    for at, section in enumerate(sections):
        kind, port = section[0][2:].split(" ")[:2]
        closed = port == "0" and "a=bundle-only" not in section
        silent = "a=recvonly" in section or "a=inactive" in section
        if kind == "audio" and not closed and not silent:
            return at
    raise PeerError("sdp.no_audio", "The offer sends no audio.", "Add a microphone's track before making the offer.")


def _opus(audio: Sequence[str]) -> int:
    offered = audio[0].split(" ")[3:]
    for line in audio:
        found = _OPUS.fullmatch(line)
        if found and found[1] in offered:
            return int(found[1])
    raise PeerError("sdp.no_opus", "The offer has no Opus (opus/48000/2).", "Offer Opus: every WebRTC client has it.")


def _check_transport(session: Sequence[str], audio: Sequence[str]) -> None:
    both = [*session, *audio]
    if not _value(both, "a=fingerprint:"):
        raise PeerError("sdp.insecure", "The offer has no DTLS fingerprint.", "Only encrypted WebRTC is taken.")
    if not (_value(both, "a=ice-ufrag:") and _value(both, "a=ice-pwd:")):
        raise _malformed("the ICE user name or password is missing")
    if _value(both, "a=setup:") not in ("actpass", "active", "passive"):
        raise _malformed("a=setup is missing or unknown")


def _audio(audio: Sequence[str], payload_type: int, loopback: bool) -> list[str]:
    """What aiortc should see of the section. The end of candidates is never said: more may come, or be learnt."""
    own = (f"a=rtpmap:{payload_type} ", f"a=fmtp:{payload_type} ", f"a=rtcp-fb:{payload_type} ")
    kept = [line for line in audio[1:] if line.startswith(_AUDIO_KEPT) or line.startswith(own)]
    return kept + [f"a=candidate:{candidate}" for candidate in _candidates(audio, loopback)]


def _candidates(lines: Sequence[str], loopback: bool) -> tuple[str, ...]:
    found = [line.removeprefix("a=candidate:") for line in lines if line.startswith("a=candidate:")]
    return tuple(candidate for candidate in found if usable(candidate, loopback=loopback))[:CANDIDATES_MAX]


def _refusal(media: str, mid: str) -> list[str]:
    kind, _, rest = media[2:].split(" ", 2)
    lines = [f"m={kind} 0 {rest}", "c=IN IP4 0.0.0.0", "a=inactive"]
    return [*lines, f"a=mid:{mid}"] if mid else lines


def _value(lines: Sequence[str], prefix: str) -> str:
    return next((line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)), "")


def _malformed(what: str) -> PeerError:
    return PeerError("sdp.malformed", f"The session description cannot be used: {what}.", _HINT)
