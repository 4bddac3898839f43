"""The stage's process: it answers commands, and every 20 ms mixes a frame.

The tick hangs on the machine's monotonic grid: frame k is made at k × 20 ms, with deadlines that never add up errors.
The programme reads it two frames later, so that a tick may be late by that much and nobody hears it.
"""

import asyncio
import contextlib
import gc
import secrets
import signal
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import structlog

from rostra.kernel.errors import OperatorError, PeerError, RostraError, Unavailable
from rostra.kernel.ids import make_id
from rostra.kernel.io import memory
from rostra.kernel.limits import NAME_CHARS_MAX, SEATS_MAX
from rostra.kernel.shared import ring
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.shared.ring import Frame, Ring
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SECOND_NS
from rostra.space import commands
from rostra.space import roster as seating
from rostra.space.commands import Request
from rostra.space.grants import Role
from rostra.space.io import sockets
from rostra.space.io.folder import Folder
from rostra.space.roster import Roster
from rostra.stage import gain, levels, mix, negotiation
from rostra.stage.gain import Gain
from rostra.stage.io import hooks
from rostra.stage.io.returns import Returns
from rostra.stage.io.session import Session
from rostra.stage.jitter import Tally
from rostra.stage.levels import Active, Meter
from rostra.stage.network import Network, Quality
from rostra.stage.options import Options
from rostra.stage.rate import Reason

LAG: Final = 2
"""Frames between writing and reading a ring: what writer and reader may be late by, together."""

SEAT_CHARS_MAX: Final = 16
"""A slot of the ring has that much room for the active speaker's seat."""

MISSED_MAX: Final = 10
"""Ticks that are made up for after a pause; older ones nobody waits for any more."""

YIELD_NS: Final = 1_000_000
"""What the connections get between two ticks even when the stage is behind: the next tick wants what they bring."""

MEMORY_FRAMES: Final = 150
"""How long the last word of a programme that fell silent (restarting) is believed: 3 s."""

CONNECT_NS: Final = 15 * SECOND_NS
SILENT_NS: Final = 5 * SECOND_NS
"""Without any datagram for this long, a speaker is not there: consent checks alone come every few seconds."""

GONE_NS: Final = 30 * SECOND_NS
"""Until then a connection that went silent may come back by itself, without a new offer."""

CHECK_FRAMES: Final = 25
LATENESS_FRAMES: Final = 500
SESSIONS_MAX: Final = 2 * SEATS_MAX
"""Each seat may have a connection and its successor."""

log = structlog.get_logger()


class Stage:
    """The seats, their connections, and the mix between them."""

    def __init__(self, folder: Folder, counters: Counters, to_programme: Ring, from_programme: Ring) -> None:
        self._folder = folder
        self._counters = counters
        self._to_programme = to_programme
        self._from_programme = from_programme
        self._roster = seating.disconnected(_restore(folder))
        self._sessions: dict[str, Session] = {}
        self._unwritten = False
        self._returns = Returns()
        self._levelled: dict[str, Gain] = {}
        self._meters: dict[str, Meter] = {}
        self._active = Active()
        self._seats: list[str] = []
        self._gains = mix.routes((), on_air=False)
        self._on_air = False
        self._last_return = 0
        self._lateness: deque[int] = deque(maxlen=LATENESS_FRAMES)
        self._gone = Tally()
        self._closing: set[asyncio.Task[None]] = set()
        self._verbs: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "offer": self._offer,
            "trickle": self._trickle,
            "close": self._close,
            "arm": self._arm,
            "disarm": self._disarm,
            "mute": self._mute,
            "unmute": self._unmute,
            "remove": self._remove,
            "roster": self._show,
        }

    # commands

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client of `stage.sock` until it goes."""
        decoder = commands.Decoder()
        with contextlib.suppress(PeerError, OSError):
            while data := await reader.read(65_536):
                for message in decoder.feed(data):
                    writer.write(await self._answer(message))
                    await writer.drain()
        writer.close()

    async def _answer(self, message: dict[str, Any]) -> bytes:
        try:
            request = commands.decode_request(message)
            return commands.encode_ok(request.id, await self._obey(request))
        except RostraError as error:
            return commands.encode_error(message.get("id", 0), error)

    async def _obey(self, request: Request) -> dict[str, Any]:
        verb = self._verbs.get(request.verb)
        if verb is None:
            raise PeerError("command.unknown", f"The stage has no command “{request.verb}”.")
        if not (isinstance(request.deadline_ms, int) and all(isinstance(v, str) for v in request.args.values())):
            raise PeerError("command.malformed", f"The arguments of “{request.verb}” are texts.")
        try:
            called = verb(**request.args)
        except TypeError:
            raise PeerError("command.malformed", f"“{request.verb}” was given other arguments than it takes.") from None
        try:
            return await asyncio.wait_for(called, request.deadline_ms / 1000)
        except TimeoutError:
            raise Unavailable("command.late", "The stage did not manage that in time.", "Try again.") from None

    async def _offer(self, *, seat: str, name: str, role: str, sdp: str) -> dict[str, Any]:
        if not 0 < len(seat.encode()) <= SEAT_CHARS_MAX:
            raise PeerError("seat.id", f"A seat's id has 1 to {SEAT_CHARS_MAX} characters.")
        offer = negotiation.read_offer(sdp)
        person = " ".join(name.split())[:NAME_CHARS_MAX]
        session = Session(make_id(secrets.token_bytes(10)), seat, person, _role(role), offer, self._changed)
        self._with_seat(session)  # refused before anything is made
        if len(self._sessions) >= SESSIONS_MAX:
            raise Unavailable("stage.busy", "Too many connections are being made.", "Try again in a few seconds.")
        try:
            answer = await session.answer()
            self._with_seat(session)  # others have moved meanwhile
        except BaseException:
            self._later(session.close())
            raise
        for other in self._of_seat(seat):
            if not other.connected:
                self._end(other)
        self._sessions[session.id] = session
        self._settle(self._with_seat(session))
        return {"session": session.id, "sdp": answer}

    def _with_seat(self, session: Session) -> Roster:
        """The roster with a seat for `session`, not connected yet. Abandoned seats make room. Raises `stage.full`."""
        if self._roster.find(session.seat) is not None:
            return self._roster
        roster = self._roster
        if len(roster.seats) >= SEATS_MAX:
            abandoned = next((seat for seat in roster.seats if not (seat.armed or seat.session)), None)
            roster = roster if abandoned is None else seating.removed(roster, abandoned.id)
        return seating.left(seating.joined(roster, session.seat, session.person, session.role, session.id), session.id)

    async def _trickle(self, *, session: str, fragment: str) -> dict[str, Any]:
        await self._session(session).trickle(fragment)
        return {}

    async def _close(self, *, session: str) -> dict[str, Any]:
        self._end(self._session(session))
        return {}

    async def _arm(self, *, seat: str) -> dict[str, Any]:
        return self._move(seating.armed(self._roster, seat, on=True))

    async def _disarm(self, *, seat: str) -> dict[str, Any]:
        return self._move(seating.armed(self._roster, seat, on=False))

    async def _mute(self, *, seat: str) -> dict[str, Any]:
        return self._move(seating.muted(self._roster, seat, on=True))

    async def _unmute(self, *, seat: str) -> dict[str, Any]:
        return self._move(seating.muted(self._roster, seat, on=False))

    async def _remove(self, *, seat: str) -> dict[str, Any]:
        after = seating.removed(self._roster, seat)
        for session in self._of_seat(seat):
            self._end(session)
        return self._move(after)

    async def _show(self) -> dict[str, Any]:
        return self._view()

    def _move(self, after: Roster) -> dict[str, Any]:
        self._settle(after)
        return self._view()

    def _view(self) -> dict[str, Any]:
        seats, now_ns = [], time.monotonic_ns()
        for seat in self._roster.seats:
            session = self._sessions.get(seat.session)
            network = Network() if session is None else session.network(now_ns)
            meter = self._meters.get(seat.id, Meter())
            seats.append(
                {
                    "id": seat.id,
                    "name": seat.name,
                    "role": seat.role,
                    "armed": seat.armed,
                    "muted": seat.muted,
                    "connected": seat.session != "",
                    "level_db": round(meter.level_db, 1),
                    "speaking": meter.speaking and not seat.muted,
                    "gain_db": round(self._levelled.get(seat.id, Gain()).gain_db, 1),
                    "network": _rounded(network),
                }
            )
        return {"seats": seats, "on_air": self._on_air}

    def _settle(self, after: Roster) -> None:
        """Make `after` the roster, and let a successor find it."""
        if after == self._roster:
            return
        self._unwritten = self._unwritten or seating.encode(after) != seating.encode(self._roster)
        self._roster = after
        self._write_roster()

    def _write_roster(self) -> None:
        """A full disk does not stop the talk: what could not be written is tried again with the next report."""
        if not self._unwritten:
            return
        try:
            self._folder.write_roster(self._roster)
        except OSError as error:
            log.error("roster_unwritten", reason=error.strerror)
        else:
            self._unwritten = False

    # connections

    def _session(self, name: str) -> Session:
        session = self._sessions.get(name)
        if session is None:
            raise PeerError("session.unknown", "That connection does not exist any more.", "Make a new offer.")
        return session

    def _of_seat(self, seat: str) -> list[Session]:
        return [session for session in self._sessions.values() if session.seat == seat]

    def _changed(self, session: Session) -> None:
        """A connection was made, or is gone."""
        if session.id not in self._sessions:
            return
        if session.gone:
            log.info("session_gone", session=session.id, seat=session.seat)
            self._end(session)
            return
        others = [other for other in self._of_seat(session.seat) if other is not session]
        if any(other.connected and other.made_ns > session.made_ns for other in others):
            self._end(session)
            return
        for other in others:
            if other.made_ns < session.made_ns:
                self._end(other)
        self._seat(session)
        log.info("session_connected", session=session.id, seat=session.seat)

    def _seat(self, session: Session) -> None:
        if self._roster.find(session.seat) is not None:
            self._settle(seating.joined(self._roster, session.seat, session.person, session.role, session.id))

    def _end(self, session: Session) -> None:
        """Let a connection go; its seat stays."""
        if self._sessions.pop(session.id, None) is None:
            return
        self._settle(seating.left(self._roster, session.id))
        _sum(self._gone, session.playout.tally)
        self._later(session.close())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _look_after(self, now_ns: int) -> None:
        """Notice who fell silent, who came back, and what never connected."""
        for session in list(self._sessions.values()):
            quiet = now_ns - session.heard_ns
            seat = self._roster.find(session.seat)
            seated = seat is not None and seat.session == session.id
            if quiet > GONE_NS or (not session.connected and now_ns - session.made_ns > CONNECT_NS):
                log.info("session_given_up", session=session.id, seat=session.seat)
                self._end(session)
            elif seated and quiet > SILENT_NS:
                log.info("session_silent", session=session.id, seat=session.seat)
                self._settle(seating.left(self._roster, session.id))
            elif session.connected and not seated and quiet < SECOND_NS:
                self._seat(session)

    # audio

    async def tick(self) -> None:
        """Mix a frame every 20 ms, for ever."""
        number = time.monotonic_ns() // FRAME_NS + 1
        while True:
            await asyncio.sleep(max(YIELD_NS, number * FRAME_NS - time.monotonic_ns()) / SECOND_NS)
            now_ns = time.monotonic_ns()
            late_ns = now_ns - number * FRAME_NS
            if late_ns > MISSED_MAX * FRAME_NS:
                missed = late_ns // FRAME_NS
                self._counters.add("ticks_missed", missed)
                number += missed
            self._lateness.append(late_ns)
            self._frame(number, now_ns)
            if number % CHECK_FRAMES == 0:
                self._look_after(now_ns)
                for session in self._sessions.values():
                    session.observe(now_ns)
                self._report(now_ns)
            number += 1

    def _frame(self, number: int, now_ns: int) -> None:
        seats = self._roster.seats
        sessions = [self._sessions.get(seat.session) for seat in seats]
        frames = np.zeros((len(seats), FRAME_SAMPLES), np.float32)
        for row, session in enumerate(sessions):
            if session is not None:
                frames[row] = session.playout.frame(now_ns)
        frames = self._level([seat.id for seat in seats], frames)
        music = self._listen(number)
        names = [seat.id for seat in seats]
        before = self._gains if names == self._seats else mix.carry(self._gains, self._seats, names)
        self._seats, self._gains = names, mix.routes(seats, self._on_air)
        mixed = mix.blend(frames, before, self._gains)
        self._elect()
        self._to_programme.write(
            number,
            Frame(mix.soften(mixed[0]), self._roster.armed, self._roster.present, self._active.seat, self._on_air),
        )
        if music is not None:
            mixed += music * mix.MUSIC_GAIN
        heard = mix.soften(mixed)
        listeners = {
            session.id: (row, session) for row, session in enumerate(sessions, 1) if session and session.listens
        }
        self._returns.send(listeners, heard, before, self._gains, number)

    def _listen(self, number: int) -> ring.Pcm | None:
        """What the programme plays for the speakers, None when that is nothing; and whether the Space is on air."""
        frame = self._from_programme.read(number - LAG)
        if frame is None:
            if number - self._last_return > MEMORY_FRAMES:
                self._on_air = False
            return None
        self._last_return = number
        self._on_air = frame.on_air
        return None if frame.on_air else frame.pcm

    def _level(self, names: list[str], frames: mix.Array) -> mix.Array:
        """The frames with each seat's gain, and the meters of what they then are.

        Before the mix, because each voice has a gain of its own; before the meters, because hosts judge by them, and
        the active speaker is chosen by them, how loud a seat is for those who listen.
        """
        if not names:
            self._levelled, self._meters = {}, {}
            return frames
        heard_db = levels.frame_db(frames)
        before = [self._levelled.get(name, Gain()) for name in names]
        after = list(map(gain.step, before, heard_db, gain.peak_db(frames)))
        self._levelled = dict(zip(names, after, strict=True))
        self._meters = {
            name: levels.measure(self._meters.get(name, Meter()), level + now.applied_db, speech=now.speech)
            for name, level, now in zip(names, heard_db, after, strict=True)
        }
        return gain.lift(frames, [each.applied_db for each in before], [each.applied_db for each in after])

    def _elect(self) -> None:
        audible = [seat.id for seat in self._roster.seats if seat.audible]
        self._active = levels.elect(self._active, self._meters, audible)

    def _report(self, now_ns: int) -> None:
        """Bring the counters up to date, twice a second."""
        counters = self._counters
        counters.set(HEARTBEAT, now_ns)
        counters.add("ticks", CHECK_FRAMES)
        self._write_roster()
        late = sorted(self._lateness)
        counters.set("late_ns_p99", late[len(late) * 99 // 100])
        counters.set("late_ns_max", max(counters.get("late_ns_max"), late[-1]))
        counters.set("sessions", len(self._sessions))
        total = Tally()
        for tally in (self._gone, *(session.playout.tally for session in self._sessions.values())):
            _sum(total, tally)
        counters.set("packets", total.packets)
        counters.set("lost", total.lost)
        counters.set("concealed", total.concealed)
        counters.set("fec", total.recovered)
        counters.set("late", total.late)
        counters.set("folded", total.folded)
        counters.set("stretched", total.stretched)
        counters.set("waited", total.waited)
        counters.set("skipped", total.skipped)
        counters.set("encoders", self._returns.encoders)
        qualities = Counter(session.network(now_ns).quality for session in self._sessions.values())
        for quality in Quality:
            counters.set(f"network_{quality}", qualities[quality])
        reasons = Counter(session.plan.reason for session in self._sessions.values())
        for reason in Reason:
            counters.set(f"rate_{reason}", reasons[reason])

    async def close(self) -> None:
        """Tell every speaker that the stage goes, so that they come back to its successor at once."""
        for session in list(self._sessions.values()):
            self._end(session)
        await asyncio.gather(*self._closing, return_exceptions=True)


def _restore(folder: Folder) -> Roster:
    try:
        return folder.read_roster()
    except OperatorError as error:
        log.error("roster_unreadable", error=str(error))
        return Roster()


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise PeerError("seat.role", f"There is no role “{text}”.") from None


def _rounded(network: Network) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(network).items()}


def _sum(total: Tally, part: Tally) -> None:
    for name in Tally.__slots__:
        setattr(total, name, getattr(total, name) + getattr(part, name))


def run(folder: Folder, counters: Counters, options: Options = Options()) -> None:  # noqa: B008 — frozen
    """Run the stage of a Space until SIGTERM.

    Raises:
        OperatorError: `stage.no_ring` when the supervisor did not make the rings, `opus.missing`.
    """
    if options.loopback:
        hooks.offer_loopback()
    try:
        to_programme = Ring(memory.create(folder.mix_ring, ring.SIZE))
        from_programme = Ring(memory.attach(folder.return_ring))
    except FileNotFoundError as missing:
        raise OperatorError(
            "stage.no_ring", f"{missing.filename} is missing.", "Start the stage through `rostra serve`."
        ) from None
    asyncio.run(_serve(Stage(folder, counters, to_programme, from_programme), folder, counters))


async def _serve(stage: Stage, folder: Folder, counters: Counters) -> None:
    counters.set(HEARTBEAT, time.monotonic_ns())
    server = await asyncio.start_unix_server(stage.converse, sock=sockets.listen(folder.stage_sock))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gc.collect()
    gc.freeze()  # what was imported stays: collecting it again would cost a tick
    ticking = asyncio.ensure_future(stage.tick())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if ticking.done():
            ticking.result()
    finally:
        ticking.cancel()
        stopping.cancel()
        server.close()
        await stage.close()
