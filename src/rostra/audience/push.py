"""What each listener gets next: a tape that everybody reads, and where on it the few stand who are behind.

The theory. A rendition is sent as a tape of *items*: a fragment with the notices that go with it, or a notice alone.
Everybody at the live edge wants the same bytes next, so nothing is kept of them but a file descriptor (`Members`).
When items are waiting and the last burst has reached everybody, they are made into one *burst*, a single run of bytes,
which is written to each in turn. A worker that is short of time thereby sends more at once, less often; delay grows,
nothing is lost. The distance between bursts, one fragment or several, is the *cadence*.

Whoever could not take a burst whole becomes a *laggard*: a `Cursor` on the tape and the rest of the item that was cut.
An item once begun is always finished, so the chunks of the response stay whole. A laggard that is more than two
cadences (`patience`, when a burst holds one fragment) behind jumps to the last fragment. Wherever the next fragment is
not the one that follows, on a jump or because the log itself has a hole, a `gap` notice comes first. So a listener gets
no byte twice, none out of order, and no gap without its notice.

A newcomer is greeted with the last fragment of the burst begun last, which is what those at the live edge have or are
about to get.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rostra.media.codec import media_time
from rostra.media.fragment import emsg
from rostra.space import notices

Framing = Callable[[bytes], bytes]

LAST_CHUNK: Final = b"0\r\n\r\n"
_WORKER_NOTICE: Final = 0x8000_0000
"""Ids of the worker's own notices begin here, far from the programme's, which count fragments."""


def chunked(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def bare(data: bytes) -> bytes:
    """A body that ends with the connection (HTTP/1.0)."""
    return data


class Members:
    """The descriptors of a cohort, and which of them the burst under way has yet to reach.

    `fds[:todo]` wait for it, `fds[todo:]` have it: taking a batch moves the border, a newcomer is put at the end. The
    place of a descriptor in `fds` stands in `places`, an array over all descriptors that the worker's cohorts share.
    """

    def __init__(self, places: "array[int]") -> None:
        self.fds = array("i")
        self.todo = 0
        self._places = places

    def __len__(self) -> int:
        return len(self.fds)

    def add(self, fd: int) -> None:
        """Take in a listener who has all that the burst under way holds."""
        if fd >= len(self._places):
            self._places.extend([-1] * (fd + 1 - len(self._places)))
        self._places[fd] = len(self.fds)
        self.fds.append(fd)

    def remove(self, fd: int) -> None:
        """Forget a listener: the last of each part closes the hole."""
        hole = self._places[fd]
        if hole < self.todo:
            self.todo -= 1
            hole = self._move(self.todo, hole)
        if hole != len(self.fds) - 1:
            self._move(len(self.fds) - 1, hole)
        self.fds.pop()
        self._places[fd] = -1

    def _move(self, source: int, target: int) -> int:
        fd = self.fds[target] = self.fds[source]
        self._places[fd] = target
        return source

    def begin(self) -> None:
        """A burst begins: it has reached nobody."""
        assert self.todo == 0
        self.todo = len(self.fds)

    def take(self, limit: int) -> "array[int]":
        """Up to `limit` descriptors that the burst has not reached. They count as reached from now on."""
        start = max(0, self.todo - limit)
        batch = self.fds[start : self.todo]
        self.todo = start
        return batch


@dataclass(frozen=True, slots=True)
class Item:
    """A step of the tape, framed. `number` is the fragment it holds, or None for a notice alone."""

    number: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a laggard stands: the item it wants next, and the fragment it would be if nothing were missing."""

    item: int
    number: int


@dataclass(frozen=True, slots=True)
class Step:
    """What a laggard gets next; `jumped` says that fragments were left out for it."""

    data: bytes
    cursor: Cursor
    jumped: bool


class Tape:
    """The last items of one rendition under one framing, and the burst under way.

    `init` is the rendition's init segment; the tape begins at fragment `number`. Items are counted from 0; those before
    `begun` are part of a burst that has begun, and `edge` is the last fragment among them.
    """

    def __init__(
        self, framing: Framing, init: bytes, number: int, fragment: bytes, *, patience: int = 2, burst_max: int = 8
    ) -> None:
        self._framing = framing
        self._init = framing(init)
        self._patience = self._allowance = patience
        self._burst_max = burst_max
        self._items: deque[Item] = deque([Item(number, framing(fragment))])
        self._first = 0
        self._last_fragment = 0
        self._notices = 0
        self._before: list[bytes] = []
        self._after: list[bytes] = []
        self._count = b""
        self._bounds: list[tuple[int, Cursor]] = []
        self._pushed = number
        self._finish = False
        self.edge = number
        self.begun = 1
        self.burst = b""
        self.ended = False

    # what happens

    def push(self, number: int, fragment: bytes) -> None:
        """The log has fragment `number`, later than any before it."""
        assert number > self._pushed
        self._pushed = number
        self._items.append(Item(number, b"".join((*self._before, self._framing(fragment), *self._after))))
        self._before.clear()
        self._after.clear()

    def say(self, kind: str, **facts: object) -> None:
        """Tell something at once."""
        self._items.append(Item(None, self._notice(kind, **facts)))

    def say_before(self, kind: str, **facts: object) -> None:
        """Tell something right before the next fragment, in the same burst."""
        self._before.append(self._notice(kind, **facts))

    def say_count(self, listeners: int) -> None:
        """Tell the number of listeners with the next fragment, and to whoever comes."""
        self._count = self._notice("count", listeners=listeners)
        self._after = [self._count]

    def end(self, state: str) -> None:
        """Say that it is over. Nothing may follow."""
        assert not self._finish
        self._finish = True
        last = LAST_CHUNK if self._framing is chunked else b""
        self._items.append(Item(None, self._notice("end", state=state) + last))

    # what follows from it

    @property
    def waiting(self) -> bool:
        """Whether items wait for a burst to begin."""
        return self._first + len(self._items) > self.begun

    def begin(self) -> int:
        """Make a burst of all that waits. Returns the number of fragments left out because there were too many."""
        skipped, start = self._skip_old()
        cursor = Cursor(start, self.edge + 1)
        self._bounds = [(0, cursor)]
        parts: list[bytes] = []
        length = 0
        while (step := self._step(cursor)) is not None:
            parts.append(step.data)
            length += len(step.data)
            cursor = step.cursor
            self._bounds.append((length, cursor))
        self.burst = b"".join(parts)
        fragments = sum(self._at(at).number is not None for at in range(start, cursor.item))
        self._allowance = max(self._patience, 2 * fragments)
        self.begun, self.edge = cursor.item, cursor.number - 1
        self.ended = self._finish
        self._forget()
        return skipped

    def _skip_old(self) -> tuple[int, int]:
        """How many waiting fragments are too many, and the first item that is not."""
        fragments = [at for at in range(self.begun, self._end) if self._at(at).number is not None]
        if len(fragments) <= self._burst_max:
            return 0, self.begun
        return len(fragments) - self._burst_max, fragments[-self._burst_max]

    def _step(self, cursor: Cursor) -> Step | None:
        """The item at `cursor`, with a gap notice before it where fragments are missing."""
        if cursor.item >= self._end:
            return None
        item = self._at(cursor.item)
        if item.number is None:
            return Step(item.data, Cursor(cursor.item + 1, cursor.number), False)
        self._last_fragment = max(self._last_fragment, cursor.item)
        data = item.data
        if item.number > cursor.number:
            data = self._notice_at(item.number, "gap", {"from": cursor.number, "to": item.number}) + data
        return Step(data, Cursor(cursor.item + 1, item.number + 1), False)

    def cut(self, written: int) -> tuple[memoryview, Cursor]:
        """Where a listener stands who took `written` bytes of the burst: the rest of the item cut, and what follows."""
        ends = [end for end, _ in self._bounds]
        end, cursor = self._bounds[bisect_left(ends, written)]
        return memoryview(self.burst)[written:end], cursor

    def follow(self, cursor: Cursor) -> Step | None:
        """What a laggard at `cursor` gets next, or None when it is back at the live edge."""
        if cursor.item >= self.begun:
            return None
        if cursor.item >= self._first and self.edge + 1 - cursor.number <= self._allowance:
            return self._step(cursor)
        step = self._step(Cursor(max(cursor.item, self._last_fragment), cursor.number))
        assert step is not None
        return Step(step.data, step.cursor, step.cursor.number - cursor.number > 1)

    def greeting(self, head: bytes) -> bytes:
        """What a newcomer gets: it stands at the live edge then, at `newcomer`."""
        items = (self._at(at).data for at in range(self._last_fragment, self.begun))
        return b"".join((head, self._init, *items, self._count))

    @property
    def newcomer(self) -> Cursor:
        return Cursor(self.begun, self.edge + 1)

    # inside

    @property
    def _end(self) -> int:
        return self._first + len(self._items)

    def _at(self, item: int) -> Item:
        return self._items[item - self._first]

    def _forget(self) -> None:
        """Drop items that no laggard is still sent. One that should find its item gone jumps, which is never wrong."""
        keep = self._last_fragment - 4 * max(self._patience, self._burst_max)
        while self._first < keep:
            self._items.popleft()
            self._first += 1

    def _notice(self, kind: str, **facts: object) -> bytes:
        """A framed notice, timed behind the last fragment."""
        return self._notice_at(self._pushed + 1, kind, facts)

    def _notice_at(self, number: int, kind: str, facts: Mapping[str, object]) -> bytes:
        """A framed notice, timed at the start of fragment `number`."""
        self._notices += 1
        data = notices.encode(kind, **facts)
        return self._framing(emsg(media_time(number), _WORKER_NOTICE | self._notices, notices.SCHEME, data))


@dataclass(slots=True)
class Laggard:
    """A listener who is behind: the rest of what it is being sent, its place on the tape, and when it is let go."""

    rest: memoryview
    cursor: Cursor
    deadline_ns: int
