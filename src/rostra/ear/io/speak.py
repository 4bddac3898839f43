"""A speaker without a browser: an audio file, published through WHIP (RFC 9725) as any WebRTC client would.

Nothing of the stage is used here, and aiortc as it comes, encoder included: a second opinion on what the stage takes.
When the connection dies (the stage was restarted, the network changed) it makes another one and goes on where it is.
"""

import asyncio
import base64
import binascii
import contextlib
import inspect
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import aioice.ice
import av
import numpy as np
import numpy.typing as npt
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from rostra.kernel.errors import PeerError, Unavailable
from rostra.kernel.ids import is_space_id
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SAMPLE_RATE, SECOND_NS

CONNECT_S: Final = 10.0
HEAR_S: Final = 2.0
"""A stage sends 50 packets a second; when none comes for this long, it is gone."""

RETRY_S: Final = (0.2, 0.5, 1.0, 2.0)
GIVE_UP_S: Final = 30.0
"""Without ever having been connected; afterwards it goes on trying until its time is over."""

_ANSWER_BYTES_MAX: Final = 64 * 1024

Samples = npt.NDArray[np.int16]
Listener = Callable[[str, dict[str, object]], None]
FrameListener = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Report:
    """`connected_ms`: from the first offer to the first connection. `sent_s`: audio sent, over all connections."""

    connected_ms: float | None = None
    sent_s: float = 0.0
    connections: int = 0


def read_link(link: str) -> tuple[str, str]:
    """The WHIP address and the token in a speaker's link, `http://host:8000/#<JWT>`.

    The token is only read for the Space it names; checking it is the studio's part. Raises PeerError `link.malformed`.
    """
    address, _, token = link.partition("#")
    try:
        payload = token.split(".")[1]
        space = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["space"]
        if not (isinstance(space, str) and is_space_id(space)):
            raise ValueError("no Space")
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise ValueError("no web address")
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        raise PeerError(
            "link.malformed",
            "That is not a speaker's link.",
            "Copy the whole link of a Space, with what follows the # sign.",
        ) from None
    return f"{address.rstrip('/')}/whip/{space}", token


def read_audio(file: Path) -> Iterator[Samples]:
    """The audio of `file` in mono frames of 960 samples at 48 kHz, the last one padded.

    Raises PeerError `file.unreadable`, at the latest when the damaged place is reached.
    """
    resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE, frame_size=FRAME_SAMPLES)
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    yield _frame(piece)
            for piece in resampler.resample(None):
                yield _frame(piece)
    except (OSError, av.FFmpegError, IndexError) as error:
        raise PeerError("file.unreadable", f"{file} cannot be played: {error}.", "Name an audio file.") from None


def _frame(piece: AudioFrame) -> Samples:
    samples = piece.to_ndarray().reshape(-1).astype(np.int16)
    return np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))


class _Voice:
    """Where in the file we are, on a clock of its own: a lost connection does not lose what would have been said."""

    def __init__(self, file: Path, *, loop: bool, on_frame: FrameListener | None = None) -> None:
        self._file = file
        self._loop = loop
        self._on_frame = on_frame
        self._frames = read_audio(file)
        self._next = next(self._frames, None)
        if self._next is None:
            raise PeerError("file.unreadable", f"{file} has no audio.", "Name an audio file.")
        self.sent = 0
        self.error: PeerError | None = None
        self._began_ns: int | None = None
        self.ended = asyncio.Event()

    async def frame(self) -> tuple[int, Samples]:
        """The number and the samples of the next frame, when it is due."""
        now_ns = time.monotonic_ns()
        if self._began_ns is None:
            self._began_ns = now_ns
        due_ns = self._began_ns + self.sent * FRAME_NS
        if due_ns < now_ns - SECOND_NS // 5:  # back from a lost connection, or a stalled machine: do not rush
            self._began_ns += now_ns - due_ns
        await asyncio.sleep(max(0, due_ns - now_ns) / SECOND_NS)
        frame = self._next
        if frame is None:
            self.ended.set()
            await asyncio.Event().wait()
        assert frame is not None
        self._next = self._read()
        number = self.sent
        self.sent += 1
        if self._on_frame is not None:
            self._on_frame(number, time.time_ns())
        return number, frame

    def _read(self) -> Samples | None:
        """The next frame, None at the end; a damaged place is the end, too, and `error` says so."""
        try:
            frame = next(self._frames, None)
            if frame is None and self._loop:
                self._frames = read_audio(self._file)
                frame = next(self._frames, None)
        except PeerError as error:
            self.error = error
            return None
        return frame


class _Track(MediaStreamTrack):
    kind = "audio"

    def __init__(self, voice: _Voice) -> None:
        super().__init__()
        self._voice = voice

    async def recv(self) -> AudioFrame:
        number, samples = await self._voice.frame()
        # Two equal channels: aiortc encodes stereo, and would spread a mono frame over both at -3 dB each.
        frame = AudioFrame.from_ndarray(np.repeat(samples, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = number * FRAME_SAMPLES
        frame.time_base = Fraction(1, SAMPLE_RATE)
        return frame


async def publish(
    whip_url: str,
    token: str,
    file: Path,
    *,
    seat: str = "",
    name: str = "",
    for_s: float | None = None,
    loop: bool = False,
    on_event: Listener | None = None,
    on_frame: FrameListener | None = None,
) -> Report:
    """Speak `file` on a stage until it ends (or `for_s` seconds; repeated with `loop`), reconnecting when need be.

    `seat` names the place: the same seat and link make the same speaker again. `on_event` is told `connected`, `lost`,
    `retry` and `ended`, each with a few facts; `on_frame` the number of each frame of 20 ms and the wall-clock ns at
    which it was handed to the encoder, which is when a microphone would have captured the whole of it.

    Raises:
        PeerError: the file cannot be read, or the studio refuses (`whip.refused`).
        Unavailable: `whip.away` when no connection could be made within 30 s.
    """
    _reach_loopback()
    speaker = _Speaker(whip_url, token, seat, name, _Voice(file, loop=loop, on_frame=on_frame), on_event or _ignore)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(speaker.run(), for_s)
    report = speaker.report
    speaker.tell("ended", {"sent_s": report.sent_s})
    return report


def speak(
    whip_url: str,
    token: str,
    file: Path,
    *,
    seat: str = "",
    name: str = "",
    for_s: float | None = None,
    loop: bool = False,
    on_event: Listener | None = None,
) -> Report:
    """`publish`, for callers without an event loop."""
    return asyncio.run(publish(whip_url, token, file, seat=seat, name=name, for_s=for_s, loop=loop, on_event=on_event))


class _Speaker:
    def __init__(self, url: str, token: str, seat: str, name: str, voice: _Voice, tell: Listener) -> None:
        self._url = f"{url}?{urllib.parse.urlencode({'seat': seat, 'name': name})}"
        self._token = token
        self._voice = voice
        self.tell = tell
        self._began_ns = time.monotonic_ns()
        self._report = Report()

    @property
    def report(self) -> Report:
        return replace(self._report, sent_s=self._voice.sent * FRAME_NS / SECOND_NS)

    async def run(self) -> None:
        """Connection after connection, until the file has been spoken."""
        failures = 0
        while not self._voice.ended.is_set():
            before = self._report.connections
            try:
                await self._connect()
            except Unavailable as error:
                if not self._report.connections and time.monotonic_ns() - self._began_ns > GIVE_UP_S * SECOND_NS:
                    raise
                failures = 0 if self._report.connections > before else failures + 1
                self.tell("retry", {"reason": error.sentence})
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
        if self._voice.error is not None:
            raise self._voice.error

    async def _connect(self) -> None:
        """One connection, until the file ends. Raises Unavailable when it cannot be made, or is lost."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        resource = ""
        try:
            heard: list[MediaStreamTrack] = []
            peer.on("track", heard.append)
            peer.addTrack(_Track(self._voice))
            await peer.setLocalDescription(await peer.createOffer())
            resource, answer = await asyncio.to_thread(_post, self._url, self._token, peer.localDescription.sdp)
            await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            await self._hold(heard)
        finally:
            if resource:
                await asyncio.to_thread(_delete, urllib.parse.urljoin(self._url, resource), self._token)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(peer.close(), HEAR_S)

    async def _hold(self, heard: list[MediaStreamTrack]) -> None:
        ended = asyncio.ensure_future(self._voice.ended.wait())
        lost = asyncio.ensure_future(self._listen(heard))
        try:
            await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
        finally:
            ended.cancel()
            lost.cancel()

    async def _listen(self, heard: list[MediaStreamTrack]) -> None:
        """Hear the stage, and throw it away; raise Unavailable when it falls silent."""
        patience = CONNECT_S
        while True:
            try:
                await asyncio.wait_for(heard[0].recv(), patience)
            except Exception:  # aiortc ends a track by raising
                self.tell("lost", {})
                raise Unavailable("whip.lost", "The connection to the stage was lost.") from None
            if patience == CONNECT_S:
                patience = HEAR_S
                self._connected()

    def _connected(self) -> None:
        first = self._report.connected_ms
        ms = (time.monotonic_ns() - self._began_ns) / 1e6 if first is None else first
        self._report = replace(self._report, connected_ms=ms, connections=self._report.connections + 1)
        self.tell("connected", {"connected_ms": ms, "connections": self._report.connections})


def _ignore(_event: str, _facts: dict[str, object]) -> None:
    pass


def _request(method: str, url: str, token: str, body: bytes | None = None) -> urllib.request.Request:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise PeerError("link.malformed", "A stage has an http or https address.")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
    return urllib.request.Request(url, body, headers, method=method)  # noqa: S310 — the scheme was checked


def _post(url: str, token: str, offer: str) -> tuple[str, str]:
    """The WHIP resource and the answer. Raises PeerError `whip.refused`, Unavailable `whip.away`."""
    try:
        with urllib.request.urlopen(_request("POST", url, token, offer.encode()), timeout=CONNECT_S) as reply:  # noqa: S310
            return reply.headers["Location"] or "", reply.read(_ANSWER_BYTES_MAX).decode()
    except urllib.error.HTTPError as error:
        with error:
            if error.code < 500 and error.code not in (404, 408, 409, 425, 429):
                raise PeerError("whip.refused", f"The studio refused ({error.code}): {_problem(error)}") from None
            raise Unavailable("whip.away", f"The studio cannot do it now ({error.code}): {_problem(error)}") from None
    except OSError as error:
        raise Unavailable("whip.away", f"The studio does not answer ({error}).", "Is `rostra serve` running?") from None


def _problem(error: urllib.error.HTTPError) -> str:
    """What a problem+json (RFC 9457) says."""
    try:
        return str(json.loads(error.read(_ANSWER_BYTES_MAX))["detail"])
    except (ValueError, KeyError, TypeError):
        return error.reason


def _delete(url: str, token: str) -> None:
    with contextlib.suppress(OSError), urllib.request.urlopen(_request("DELETE", url, token), timeout=HEAR_S):  # noqa: S310
        pass


def _reach_loopback() -> None:
    """Let this process use 127.0.0.1 for WebRTC, which aioice leaves out: the stage may be on this machine alone."""
    original = aioice.ice.get_host_addresses
    if getattr(original, "with_loopback", False):
        return
    assert list(inspect.signature(original).parameters) == ["use_ipv4", "use_ipv6"], "aioice has changed"

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return [*original(use_ipv4, use_ipv6), *(["127.0.0.1"] if use_ipv4 else [])]

    vars(addresses)["with_loopback"] = True
    vars(aioice.ice)["get_host_addresses"] = addresses
