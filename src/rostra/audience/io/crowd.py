"""Those who listen: integers in arrays, written to in turn. What they are written, `rostra.audience.push` decides.

A listener is a file descriptor in the cohort of its Space, rendition and framing. It is watched for its departure only,
edge-triggered; a laggard is watched for room to write, too.
"""

import os
import select
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import structlog

from rostra.audience.io.source import Source
from rostra.audience.push import Laggard, Members, Tape, bare, chunked
from rostra.audience.settings import Settings
from rostra.kernel.errors import RostraError
from rostra.kernel.shared.counters import Counters
from rostra.kernel.shared.index import Record
from rostra.kernel.units import MS_NS
from rostra.log.io.files import Reader
from rostra.space.lifecycle import LIVE, State

log = structlog.get_logger()

GONE: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
AT_EDGE: Final = GONE | select.EPOLLET
BEHIND: Final = AT_EDGE | select.EPOLLOUT

BATCH: Final = 64
"""Sends between two looks at the clock: under a millisecond."""

COUNTED_SPACES_MAX: Final = 256
"""Spaces that get counters of their own: the counters file holds 1,024 names, for the life of the worker."""


@dataclass(slots=True, eq=False)
class Cohort:
    """Listeners who are sent the same bytes. `place` is its number in the crowd."""

    audience: "Audience"
    rendition: str
    chunks: bool
    tape: Tape
    members: Members
    place: int
    laggards: int = 0
    queued: bool = False
    begun_ns: int = 0
    greeting: bytes = b""
    greeting_at: int = -1


@dataclass(slots=True, eq=False)
class Audience:
    """All who listen to one Space here, and what they were told last."""

    source: Source
    cohorts: dict[tuple[str, bool], Cohort] = field(default_factory=dict)
    listeners: int = 0
    fragment_ns: int = 0
    over_ns: int = 0
    lost: bool = False
    finishing: bool = False
    told: int | None = None
    told_ns: int = 0


class Crowd:
    """Every listener of a worker."""

    def __init__(self, epoll: select.epoll, counters: Counters, settings: Settings) -> None:
        self._epoll = epoll
        self._counters = counters
        self._settings = settings
        self._audiences: dict[str, Audience] = {}
        self._cohorts: list[Cohort | None] = []
        self._cohort_of = array("i")
        self._places = array("i")
        self._laggards: dict[int, Laggard] = {}
        self._queue: deque[Cohort] = deque()
        self._counted: set[str] = set()
        self.listeners = 0

    def has(self, fd: int) -> bool:
        return 0 <= fd < len(self._cohort_of) and self._cohort_of[fd] >= 0

    def serves(self, space: str) -> bool:
        """Whether anybody listens to `space`."""
        return space in self._audiences

    @property
    def flushing(self) -> bool:
        """Whether sound waits to be written."""
        return bool(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nobody listens."""
        return not self._audiences

    # coming

    def ready(self, source: Source, rendition: str, *, chunks: bool, now_ns: int) -> bool:
        """Whether there is sound of this rendition to greet a newcomer with. Raises RostraError, OSError."""
        audience = self._audiences.get(source.id)
        if audience is not None:
            if audience.finishing or (rendition, chunks) in audience.cohorts:
                return not audience.finishing
            self._feed(audience, now_ns)
        if audience is None or rendition not in {name for name, _ in audience.cohorts}:
            source.reader(rendition).poll()
        return source.readers[rendition].last is not None and not (audience and audience.finishing)

    def join(self, fd: int, source: Source, rendition: str, *, chunks: bool, head: bytes, watched: bool) -> None:
        """Take in `fd`, for which `ready` holds: greet it, and let it stand at the live edge. Raises OSError."""
        cohort = self._cohort(source, rendition, chunks)
        if cohort.greeting_at != cohort.tape.begun:
            cohort.greeting, cohort.greeting_at = cohort.tape.greeting(head), cohort.tape.begun
        greeting = cohort.greeting
        try:
            written = os.write(fd, greeting)
        except BlockingIOError:
            written = 0
        whole = written == len(greeting)
        (self._epoll.modify if watched else self._epoll.register)(fd, AT_EDGE if whole else BEHIND)
        if fd >= len(self._cohort_of):
            self._cohort_of.extend([-1] * (fd + 1 - len(self._cohort_of)))
        self._cohort_of[fd] = cohort.place
        if whole:
            cohort.members.add(fd)
        else:
            self._laggards[fd] = Laggard(memoryview(greeting)[written:], cohort.tape.newcomer, self._hopeless_ns())
            cohort.laggards += 1
        self.listeners += 1
        cohort.audience.listeners += 1
        self._counters.add("joins")
        self._counters.add("bytes", written)
        self._count(cohort.audience, joined=1)

    def _cohort(self, source: Source, rendition: str, chunks: bool) -> Cohort:
        audience = self._audiences.get(source.id)
        if audience is None:
            audience = self._audiences[source.id] = Audience(source, fragment_ns=time.monotonic_ns())
        cohort = audience.cohorts.get((rendition, chunks))
        if cohort is None:
            tape = self._tape(source.readers[rendition], chunks)
            if audience.lost:
                tape.say("programme_lost")
            place = self._cohorts.index(None) if None in self._cohorts else len(self._cohorts)
            cohort = Cohort(audience, rendition, chunks, tape, Members(self._places), place)
            self._cohorts[place : place + 1] = [cohort]
            audience.cohorts[rendition, chunks] = cohort
            self._enqueue(cohort)
        return cohort

    def _tape(self, reader: Reader, chunks: bool) -> Tape:
        last = reader.last
        assert last is not None
        return Tape(
            chunked if chunks else bare,
            reader.init(),
            last.number,
            reader.read(last),
            patience=self._settings.patience_fragments,
            burst_max=self._settings.burst_fragments_max,
        )

    # going

    def leave(self, fd: int, cause: str = "left") -> None:
        """Let go of a listener. `cause`: left, end, hopeless, closed."""
        cohort = self._cohorts[self._cohort_of[fd]]
        assert cohort is not None
        if self._laggards.pop(fd, None) is None:
            cohort.members.remove(fd)
        else:
            cohort.laggards -= 1
        self._cohort_of[fd] = -1
        os.close(fd)
        self.listeners -= 1
        cohort.audience.listeners -= 1
        self._counters.add("leaves")
        self._counters.add(f"leaves_{cause}")
        self._count(cohort.audience)

    def close(self) -> None:
        """Break every connection: an unclean end makes players come back."""
        for fd, place in enumerate(self._cohort_of):
            if place >= 0:
                self.leave(fd, "closed")

    def _count(self, audience: Audience, joined: int = 0) -> None:
        space = audience.source.id
        if space not in self._counted:
            if len(self._counted) >= COUNTED_SPACES_MAX:
                return
            self._counted.add(space)
        self._counters.set(f"space/{space}/listeners", audience.listeners)
        if joined:
            self._counters.add(f"space/{space}/joins", joined)

    # what the log brings

    def feed(self, now_ns: int) -> None:
        """Take up what is new in the logs of the Spaces that have listeners."""
        for audience in list(self._audiences.values()):
            try:
                self._feed(audience, now_ns)
            except (RostraError, OSError) as error:
                log.error("log_unreadable", space=audience.source.id, error=str(error))
                self._counters.add("faults")
            if audience.listeners == 0 and not any(cohort.queued for cohort in audience.cohorts.values()):
                self._forget(audience)

    def _feed(self, audience: Audience, now_ns: int) -> None:
        source = audience.source
        source.look(now_ns)
        if audience.finishing:
            return
        for rendition in {rendition for rendition, _ in audience.cohorts}:
            reader = source.readers[rendition]
            if records := reader.poll():
                self._push(audience, rendition, reader, records)
                audience.fragment_ns = now_ns
        self._tell(audience, now_ns)

    def _push(self, audience: Audience, rendition: str, reader: Reader, records: list[Record]) -> None:
        cohorts = [cohort for (name, _), cohort in audience.cohorts.items() if name == rendition]
        if audience.lost:
            audience.lost = False
            for cohort in audience.cohorts.values():
                cohort.tape.say_before("programme_back")
        if (missed := len(records) - self._settings.burst_fragments_max) > 0:
            self._counters.add("skipped", missed)  # this worker was stopped, or starved
        for record in records[-self._settings.burst_fragments_max :]:
            data = reader.read(record)
            if len(data) == record.size:
                for cohort in cohorts:
                    cohort.tape.push(record.number, data)
                    self._enqueue(cohort)

    def _tell(self, audience: Audience, now_ns: int) -> None:
        """What is not in the log: that it stopped, that it is over, how many listen."""
        life = audience.source.life
        assert life is not None
        if life.state not in LIVE:
            audience.over_ns = audience.over_ns or now_ns
            quiet_ns = now_ns - max(audience.fragment_ns, audience.over_ns)
            if quiet_ns >= self._settings.finished_ms * MS_NS:
                self._end(audience, life.state)
            return
        audience.over_ns = 0
        if any(reader.replaced() for reader in audience.source.readers.values()):
            self._end(audience, life.state)
        elif not audience.lost and now_ns - audience.fragment_ns >= self._settings.lost_ms * MS_NS:
            audience.lost = True
            for cohort in audience.cohorts.values():
                cohort.tape.say("programme_lost")
                self._enqueue(cohort)
        self._tell_count(audience, now_ns)

    def _tell_count(self, audience: Audience, now_ns: int) -> None:
        count = audience.source.listeners
        if count is None or count == audience.told or now_ns - audience.told_ns < self._settings.count_ms * MS_NS:
            return
        audience.told, audience.told_ns = count, now_ns
        for cohort in audience.cohorts.values():
            cohort.tape.say_count(count)

    def _end(self, audience: Audience, state: State) -> None:
        audience.finishing = True
        for cohort in audience.cohorts.values():
            cohort.tape.end(state)
            self._enqueue(cohort)

    def _forget(self, audience: Audience) -> None:
        for cohort in audience.cohorts.values():
            self._cohorts[cohort.place] = None
        audience.source.close()
        del self._audiences[audience.source.id]

    # writing

    def _enqueue(self, cohort: Cohort) -> None:
        if not cohort.queued:
            cohort.queued = True
            self._queue.append(cohort)

    def flush(self, until_ns: int) -> None:
        """Write to those at the live edge until nothing waits or the time is up; cohorts take turns, burst by burst."""
        while self._queue:
            cohort = self._queue[0]
            if cohort.members.todo == 0 and not self._begin(cohort):
                cohort.queued = False
                self._queue.popleft()
                continue
            self._send(cohort)
            if cohort.members.todo == 0:
                self._finish(cohort)
                self._queue.rotate(-1)
            if time.monotonic_ns() >= until_ns:
                return

    def _begin(self, cohort: Cohort) -> bool:
        """Begin the next burst; False when there is none."""
        if cohort.tape.ended:
            return self._part(cohort)
        if not cohort.tape.waiting:
            return False
        skipped = cohort.tape.begin()
        if skipped:
            self._counters.add("skipped", skipped)
        cohort.members.begin()
        cohort.begun_ns = time.monotonic_ns()
        return True

    def _part(self, cohort: Cohort) -> bool:
        """The last burst has reached everybody: close, some at a time. Whether any are left."""
        for fd in cohort.members.fds[-BATCH:]:
            self.leave(fd, "end")
        return len(cohort.members) > 0

    def _send(self, cohort: Cohort) -> None:
        """Write the burst to the next batch of members."""
        burst = cohort.tape.burst
        size = len(burst)
        sent = 0
        short: list[tuple[int, int]] = []
        gone: list[int] = []
        write = os.write
        for fd in cohort.members.take(BATCH):
            try:
                written = write(fd, burst)
            except BlockingIOError:
                written = 0
            except OSError:
                gone.append(fd)
                continue
            sent += written
            if written != size:
                short.append((fd, written))
        self._counters.add("bytes", sent)
        for fd in gone:
            self.leave(fd)
        for fd, written in short:
            self._lag(cohort, fd, written)

    def _finish(self, cohort: Cohort) -> None:
        took_ns = time.monotonic_ns() - cohort.begun_ns
        self._counters.set("flush_ns", took_ns)
        if took_ns > self._counters.get("flush_ns_max"):
            self._counters.set("flush_ns_max", took_ns)

    # those who are behind

    def _hopeless_ns(self) -> int:
        return time.monotonic_ns() + self._settings.hopeless_ms * MS_NS

    def _lag(self, cohort: Cohort, fd: int, written: int) -> None:
        cohort.members.remove(fd)
        cohort.laggards += 1
        self._laggards[fd] = Laggard(*cohort.tape.cut(written), self._hopeless_ns())
        self._counters.add("laggards")
        self._epoll.modify(fd, BEHIND)

    def writable(self, fd: int) -> None:
        """A laggard has room: write what it lacks, until it has all or has no room again."""
        laggard = self._laggards.get(fd)
        if laggard is None:
            return
        cohort = self._cohorts[self._cohort_of[fd]]
        assert cohort is not None
        try:
            while self._write(cohort, laggard, fd):
                pass
        except BlockingIOError:
            return
        except OSError:
            self.leave(fd)
            return
        if not laggard.rest:
            self._return(cohort, fd)

    def _write(self, cohort: Cohort, laggard: Laggard, fd: int) -> bool:
        """Write once. False when the laggard has all, or took only a part."""
        if not laggard.rest:
            step = cohort.tape.follow(laggard.cursor)
            if step is None:
                return False
            laggard.rest, laggard.cursor = memoryview(step.data), step.cursor
            if step.jumped:
                self._counters.add("jumps")
        written = os.write(fd, laggard.rest)
        self._counters.add("bytes", written)
        laggard.rest = laggard.rest[written:]
        return not laggard.rest

    def _return(self, cohort: Cohort, fd: int) -> None:
        """Back at the live edge."""
        if cohort.tape.ended:
            self.leave(fd, "end")
            return
        del self._laggards[fd]
        cohort.laggards -= 1
        cohort.members.add(fd)
        self._epoll.modify(fd, AT_EDGE)

    def expire(self, now_ns: int) -> None:
        """Let go of the laggards that are not coming back."""
        for fd, laggard in list(self._laggards.items()):
            if now_ns >= laggard.deadline_ns:
                self.leave(fd, "hopeless")
