"""`rostra listen`: a stranger who has nothing but the link."""

import contextlib
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from rostra.ear import parse
from rostra.ear.io import files
from rostra.ear.io.connection import Broken, Connection, NotYet, fetch_json
from rostra.ear.io.decode import Decoder, Samples
from rostra.ear.measure import Listening, Report
from rostra.kernel.errors import PeerError, RostraError, Unavailable

NOTICE_SCHEME: Final = "urn:rostra:notice:1"
OVER: Final = frozenset({"ended", "replay", "cancelled", "postponed"})
COME_BACK_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses before each attempt to come back, each drawn out by a random half, so that a crowd does not return as one."""

PROGRESS_S: Final = 5.0

WAIT_S_MAX: Final = 2.0
"""Between attempts while the doors are shut: `Retry-After` may say more, but a probe should be there when they open."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A fragment, its samples (mono, 48 kHz), and the wall-clock ns at which its last byte came."""

    fragment: parse.Fragment
    samples: Samples
    arrived_ns: int


class Enough(Exception):
    """Raised in `on_sound` by whoever has heard enough: listening stops, and the report is returned."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The report, every notice in the order it came, and how often the connection was made."""

    report: Report
    notices: list[dict[str, Any]]
    connections: int


def listen(
    url: str,
    *,
    for_s: float | None = None,
    out: Path | None = None,
    surface: str = "push",
    rendition: str = "",
    wait: bool = False,
    reconnect: bool = False,
    on_progress: Callable[[str], None] | None = None,
    on_sound: Callable[[Sound], None] | None = None,
) -> Heard:
    """Listen to a Space for `for_s` seconds from connecting on (None: to its end), and say what it was like.

    `url` is the Space's page (`/s/<id>`) or the address of a stream itself. With `wait`, closed doors and a server
    that does not answer are tried again, for up to `for_s` (None: for ever). With `reconnect`, a broken connection is
    taken up again, as a page does; without it, listening stops there, with `ended` false. `on_progress` is given a
    sentence every few seconds, `on_sound` each fragment that is heard.

    Raises:
        PeerError: the address, the surface or the file's name make no sense, or what answers is no sound.
        OperatorError: the file cannot be written, the certificate is not valid.
        Unavailable: nothing answers, the doors are shut (`listen.not_yet`), the Space is over (`listen.over`).
    """
    if surface != "push":
        raise PeerError("listen.surface", f"There is no surface named {surface}.", "Listen to push.")
    live = live_url(url, rendition)
    session = _Session(live, for_s, reconnect, files.keep(out), on_progress, on_sound)
    try:
        return session.run(wait)
    finally:
        session.close()


def live_url(url: str, rendition: str = "") -> str:
    """The push address behind a Space's page; any other address is taken as it is."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    path = parts.path.rstrip("/")
    if re.fullmatch(r"(?:/.*)?/s/[^/]+", path):
        path += "/live"
    query = "&".join(filter(None, (parts.query, urlencode({"rendition": rendition}) if rendition else "")))
    return urlunsplit((parts.scheme, parts.netloc, path or "/", query, ""))


class _Session:
    """One listening: connections, one after another, into one set of observations."""

    def __init__(
        self,
        url: str,
        for_s: float | None,
        reconnect: bool,
        keep: files.Keep,
        on_progress: Callable[[str], None] | None,
        on_sound: Callable[[Sound], None] | None,
    ) -> None:
        self._url, self._for_s, self._reconnect, self._keep = url, for_s, reconnect, keep
        self._on_progress, self._on_sound = on_progress, on_sound
        self._observed = Listening("push")
        self._deadline: float | None = None
        self._began_s = time.monotonic()
        self._next_word_s = 0.0
        self._over = False
        self._fault = ""

    def close(self) -> None:
        self._keep.close()

    def run(self, wait: bool) -> Heard:
        connection = self._join(wait)
        self._began_s = connection.began_ns / 1e9
        if self._for_s is not None:
            self._deadline = self._began_s + self._for_s
        with contextlib.suppress(KeyboardInterrupt, Enough):  # whoever has heard enough wants the report
            self._hear_all(connection)
        report = self._observed.report(ended=self._over, fault=self._fault)
        return Heard(report, self._observed.notices, self._observed.connections)

    def _hear_all(self, connection: Connection | None) -> None:
        failures = 0
        while connection is not None:
            before = self._observed.fragments
            self._hear(connection)
            failures = 0 if self._observed.fragments > before else failures + 1
            connection = self._come_back(failures) if self._reconnect and not self._finished() else None

    def _join(self, wait: bool) -> Connection:
        """The first connection; with `wait`, as soon as there is one to be had."""
        give_up = None if self._for_s is None else time.monotonic() + self._for_s
        while True:
            try:
                return Connection(self._url)
            except Unavailable as refusal:
                pause = min(refusal.retry_s, WAIT_S_MAX) if isinstance(refusal, NotYet) else COME_BACK_S[2]
                patient = refusal.code in ("listen.not_yet", "listen.no_answer")
                if not (wait and patient) or (give_up is not None and time.monotonic() + pause > give_up):
                    raise
            time.sleep(pause)

    def _come_back(self, failures: int) -> Connection | None:
        """Another connection after a broken one, for as long as there is time; None when it is over."""
        while not self._finished():
            pause = COME_BACK_S[min(failures, len(COME_BACK_S) - 1)]
            time.sleep(pause * (1 + random.random() / 2))  # noqa: S311 — spreads arrivals, guards nothing
            try:
                return Connection(self._url)
            except Unavailable as refusal:
                self._over = refusal.code == "listen.over"
                failures += 1
        return None

    def _finished(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._over or bool(self._fault)

    def _hear(self, connection: Connection) -> None:
        """Take in one connection to its end. Malformed sound is a fault of the Space once some of it was heard."""
        self._observed.connected(connection.began_ns)
        ear = _Ear(self._observed, self._keep, self._tell)
        try:
            _check_type(connection)
            for data, arrived_ns in connection.body(self._deadline):
                ear.feed(data, arrived_ns)
            if connection.ended:
                self._over = ear.told_end or self._state_is_over()
        except Broken:
            self._over = ear.told_end
        except PeerError as error:
            if not self._observed.fragments:
                raise
            self._fault = error.sentence
        finally:
            connection.close()

    def _state_is_over(self) -> bool:
        """A clean end means: ask for the state. Where nobody knows of one, it was the end."""
        if not urlsplit(self._url).path.endswith("/live"):
            return True
        parts = urlsplit(self._url)
        state = urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix("live") + "state.json", "", ""))
        with contextlib.suppress(RostraError):
            document = fetch_json(state)
            if "state" in document:
                return document["state"] in OVER
        return True

    def _tell(self, sound: Sound) -> None:
        if self._on_sound is not None:
            self._on_sound(sound)
        elapsed_s = time.monotonic() - self._began_s
        if self._on_progress is not None and elapsed_s >= self._next_word_s:
            self._next_word_s = elapsed_s + PROGRESS_S
            self._on_progress(_sentence(elapsed_s, self._observed))


def _sentence(elapsed_s: float, observed: Listening) -> str:
    delay = f", delay {observed.delays_ms[-1]:.0f} ms" if observed.delays_ms else ""
    gaps = f", {observed.gaps} gaps" if observed.gaps else ""
    return f"{elapsed_s:.0f} s: {observed.fragments} fragments{gaps}{delay}, {observed.loudness_momentary:.0f} LUFS"


class _Ear:
    """The bytes of one connection, made into sound and notices."""

    def __init__(self, observed: Listening, keep: files.Keep, tell: Callable[[Sound], None]) -> None:
        self.told_end = False
        self._observed, self._keep, self._tell = observed, keep, tell
        self._boxes, self._track = parse.Boxes(), parse.Track()
        self._decoder: Decoder | None = None
        self._pending: list[parse.Box] = []

    def feed(self, data: bytes, arrived_ns: int) -> None:
        for box in self._boxes.feed(data):
            self._pending.append(box)
            match self._track.feed(box):
                case parse.Init() as init:
                    self._decoder = Decoder(init)
                case parse.Event(scheme=scheme, data=notice) if scheme == NOTICE_SCHEME:
                    self._note(notice)
                case parse.Fragment() as fragment:
                    self._take(fragment, arrived_ns)
                case _:
                    pass

    def _note(self, data: bytes) -> None:
        try:
            notice = json.loads(data)
        except (ValueError, RecursionError):
            notice = None
        if not isinstance(notice, dict):
            raise parse.malformed("a notice that is no JSON object")
        self.told_end = self.told_end or notice.get("type") == "end"
        self._observed.notices.append(notice)

    def _take(self, fragment: parse.Fragment, arrived_ns: int) -> None:
        """A fragment is whole. One that was heard before, on an earlier connection, is dropped."""
        init = self._track.init
        assert init is not None
        assert self._decoder is not None
        boxes, self._pending = self._pending, []
        missing = self._observed.fragment(
            fragment.time, fragment.duration, init.timescale, fragment.wall_ns, arrived_ns
        )
        if missing is None:
            return
        if missing:
            self._decoder = Decoder(init)
        samples = self._decoder.decode(fragment.packets)
        self._observed.heard(samples, time.monotonic_ns())
        self._keep.take(files.Piece(boxes, samples, missing / init.timescale))
        self._tell(Sound(fragment, samples, arrived_ns))


def _check_type(connection: Connection) -> None:
    kind = connection.head.fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("audio/mp4", "video/mp4", "application/octet-stream"):
        raise PeerError(
            "listen.not_sound", f"What answers is {kind or 'something'}, not sound.", "Give the Space's own address."
        )
