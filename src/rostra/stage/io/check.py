"""The check's process: guests test microphone and connection before a Space has a stage. One a machine.

Sessions and playout are the stage's own, so that what is tested is what will be used. It runs in a process of its own
and below everything else (`ops/wire.py`), so that a test never takes a stage's time; it holds few guests, each for 90 s
at most, and says so when it is full. Nothing is written to disk, and what was recorded ends with its session.
"""

import asyncio
import gc
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import structlog

from rostra.kernel.errors import PeerError, Unavailable
from rostra.kernel.ids import make_id
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.units import FRAME_NS, SECOND_NS
from rostra.space.grants import Role
from rostra.space.io import sockets
from rostra.space.io.folder import check_sock
from rostra.stage import negotiation
from rostra.stage.check import Check, Phase
from rostra.stage.io import hooks
from rostra.stage.io.converse import converse
from rostra.stage.io.datagrams import Datagrams
from rostra.stage.io.playout import Playout
from rostra.stage.io.returns import Line
from rostra.stage.io.session import Session
from rostra.stage.jitter import Packet
from rostra.stage.options import Options

SESSIONS_MAX: Final = 16
"""At once on a machine: a third of a core at most (DESIGN 4), and below everything else."""

OF_LINK_MAX: Final = 8
"""Sessions of one link: half of the places, so that a link which was passed on leaves room for others."""

OF_SEAT_MAX: Final = 2
"""A page tests the direct way and the relayed one at the same time; a third offer takes the oldest one's place."""

QUIET_NS: Final = 10 * SECOND_NS
"""Without any datagram for this long, nobody is there any more."""

MISSED_MAX: Final = 10
YIELD_NS: Final = 1_000_000
BEAT_FRAMES: Final = 12
IDLE_S: Final = 0.25

log = structlog.get_logger()


class _Noted(Playout):
    """The stage's playout, beside which somebody notes what arrives and when."""

    def __init__(self, noted: Callable[[Packet, int], None]) -> None:
        super().__init__()
        self._noted = noted

    def put(self, packet: Packet, now_ns: int) -> None:
        self._noted(packet, now_ns)
        super().put(packet, now_ns)


class Guest:
    """A guest's session and their test."""

    def __init__(self, session: Session, link: str) -> None:
        self.session = session
        self.link = link
        self.check = Check(session.made_ns)
        self._line = Line()
        session.playout = _Noted(self.check.arrived)

    def answer(self, now_ns: int, number: int) -> None:
        """Take in what has arrived, and send what the test plays to them now."""
        frame = self.check.frame(self.session.playout.frame(now_ns))
        if self.session.listens:
            self.session.send(self._line.encode(frame, self.session.plan), number)


class Checks:
    """The guests that are testing now."""

    def __init__(self, counters: Counters, datagrams: Datagrams) -> None:
        self._counters = counters
        self._datagrams = datagrams
        self._guests: dict[str, Guest] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._verbs: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "offer": self._offer,
            "trickle": self._trickle,
            "close": self._close,
            "record": self._record,
            "measure": self._measure,
        }

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client of `check.sock` until it goes."""
        await converse(reader, writer, self._verbs, "check")

    async def _offer(self, *, link: str, seat: str, sdp: str) -> dict[str, Any]:
        offer = negotiation.read_offer(sdp, loopback=self._datagrams.options.loopback)
        self._make_room(link, seat)
        session = Session(make_id(secrets.token_bytes(10)), seat, "", Role.SPEAKER, offer, self._changed)
        self._guests[session.id] = Guest(session, link)
        try:
            answer = await session.answer(self._datagrams.published())
        except BaseException:
            self._end(session.id, "refused")
            raise
        return {"session": session.id, "sdp": answer}

    def _make_room(self, link: str, seat: str) -> None:
        """End the oldest session of a seat that has its share already. Raises Unavailable `check.busy`."""
        own = [guest.session for guest in self._guests.values() if (guest.link, guest.session.seat) == (link, seat)]
        of_link = sum(guest.link == link for guest in self._guests.values())
        if len(own) >= OF_SEAT_MAX:
            self._end(own[0].id, "replaced")
        elif len(self._guests) >= SESSIONS_MAX or of_link >= OF_LINK_MAX:
            raise Unavailable("check.busy", "Others are testing at the moment.", "Try again in a minute or two.")

    async def _trickle(self, *, link: str, session: str, fragment: str) -> dict[str, Any]:
        await self._guest(link, session).session.trickle(fragment)
        return {}

    async def _close(self, *, link: str, session: str) -> dict[str, Any]:
        self._end(self._guest(link, session).session.id, "closed")
        return {}

    async def _record(self, *, link: str, session: str) -> dict[str, Any]:
        guest = self._guest(link, session)
        guest.check.record()
        return _view(guest)

    async def _measure(self, *, link: str, session: str) -> dict[str, Any]:
        return _view(self._guest(link, session))

    def _guest(self, link: str, session: str) -> Guest:
        guest = self._guests.get(session)
        if guest is None or guest.link != link:
            raise PeerError("session.unknown", "That test is over.", "Begin it again.")
        return guest

    def _changed(self, session: Session) -> None:
        """A connection was made, or is gone."""
        guest = self._guests.get(session.id)
        if guest is None:
            return
        if session.gone:
            self._end(session.id, "gone")
        else:
            guest.check.connected()

    def _end(self, name: str, why: str) -> None:
        guest = self._guests.pop(name, None)
        if guest is None:
            return
        log.info("check_ended", session=name, why=why, recordings=guest.check.recordings)
        task = asyncio.ensure_future(guest.session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def tick(self) -> None:
        """Hear every guest and answer them, every 20 ms; while there are none, only show that we live."""
        number = time.monotonic_ns() // FRAME_NS + 1
        while True:
            now_ns = time.monotonic_ns()
            if not self._guests:
                self._report(now_ns)
                await asyncio.sleep(IDLE_S)
                continue
            number = max(number, now_ns // FRAME_NS - MISSED_MAX)
            await asyncio.sleep(max(YIELD_NS, number * FRAME_NS - now_ns) / SECOND_NS)
            now_ns = time.monotonic_ns()
            for guest in self._guests.values():
                guest.answer(now_ns, number)
            if number % BEAT_FRAMES == 0:
                self._look_after(now_ns)
                self._report(now_ns)
            number += 1

    def _look_after(self, now_ns: int) -> None:
        for name, guest in list(self._guests.items()):
            ends_ns, why = guest.check.deadline()
            if now_ns >= ends_ns:
                self._end(name, why)
            elif guest.session.gate.expelled:
                self._end(name, guest.session.gate.expelled)
            elif guest.check.phase is not Phase.CONNECTING and now_ns - guest.session.heard_ns > QUIET_NS:
                self._end(name, "silent")

    def _report(self, now_ns: int) -> None:
        self._counters.set(HEARTBEAT, now_ns)
        self._counters.set("sessions", len(self._guests))

    async def close(self) -> None:
        for name in list(self._guests):
            self._end(name, "stopped")
        await asyncio.gather(*self._closing, return_exceptions=True)


def _view(guest: Guest) -> dict[str, Any]:
    check = guest.check
    return {
        "phase": check.phase,
        "progress": round(check.progress(), 2),
        "recordings": check.recordings,
        "left_s": round(check.left_s(time.monotonic_ns()), 1),
        "heard": asdict(check.heard()),
    }


def run(
    data: Path,
    counters: Counters,
    options: Options = Options(),  # noqa: B008 — frozen
    confine: Callable[[], None] = lambda: None,
) -> None:
    """Listen to guests until SIGTERM. `confine` is called when the socket is open, and before anything is read.

    Raises OperatorError `opus.missing`.
    """
    if options.loopback:
        hooks.offer_loopback()
    datagrams = Datagrams(options)
    hooks.gather_with(datagrams.gather)
    listener = sockets.listen(check_sock(data))
    confine()
    asyncio.run(_serve(listener, Checks(counters, datagrams), counters))


async def _serve(listener: socket.socket, checks: Checks, counters: Counters) -> None:
    counters.set(HEARTBEAT, time.monotonic_ns())
    server = await asyncio.start_unix_server(checks.converse, sock=listener)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gc.collect()
    gc.freeze()
    ticking = asyncio.ensure_future(checks.tick())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if ticking.done():
            ticking.result()
    finally:
        ticking.cancel()
        stopping.cancel()
        server.close()
        await checks.close()
