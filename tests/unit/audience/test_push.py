"""No listener gets a byte twice, none out of order, and no gap without its notice, whatever happens."""

from array import array
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rostra.audience.push import Laggard, Members, Tape, bare, chunked
from rostra.media.boxes import box
from rostra.media.fragment import prft
from support.audience import Heard, boxes

INIT = box(b"ftyp", b"iso6") + box(b"moov", b"x" * 40)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def fragment(number: int) -> bytes:
    """Something that is recognised as fragment `number`, and is longer than a short write."""
    return prft(number, 0) + box(b"mdat", bytes(60 + number % 7))


def tape(number: int = 0, **options: int) -> Tape:
    return Tape(chunked, INIT, number, fragment(number), **options)


def test_a_newcomer_gets_head_init_and_last_fragment() -> None:
    heard = Heard()
    heard.feed(tape(5).greeting(HEAD))
    assert heard.numbers == [5]
    assert heard.body.startswith(INIT)


def test_a_newcomer_during_a_burst_gets_what_the_burst_holds_and_then_what_waits() -> None:
    t = tape(5)
    t.push(6, fragment(6))
    t.begin()
    t.push(7, fragment(7))
    heard = Heard()
    heard.feed(t.greeting(HEAD))
    assert heard.numbers == [6]
    t.begin()
    heard.feed(t.burst)
    assert heard.numbers == [6, 7]


def test_what_waited_goes_out_in_one_burst() -> None:
    t = tape()
    for number in (1, 2, 3):
        t.push(number, fragment(number))
    assert t.begin() == 0
    assert t.burst == b"".join(chunked(fragment(number)) for number in (1, 2, 3))


def test_a_hole_in_the_log_is_said() -> None:
    t = tape()
    t.push(4, fragment(4))
    t.begin()
    assert boxes(_unchunked(t.burst)) == ([4], [{"type": "gap", "from": 1, "to": 4}])


def test_too_many_waiting_fragments_are_left_out_and_said() -> None:
    t = tape(burst_max=3)
    for number in range(1, 11):
        t.push(number, fragment(number))
    assert t.begin() == 7
    assert boxes(_unchunked(t.burst)) == ([8, 9, 10], [{"type": "gap", "from": 1, "to": 8}])


def test_a_cut_item_is_finished_before_a_jump() -> None:
    t = tape()
    t.push(1, fragment(1))
    t.begin()
    rest, cursor = t.cut(10)
    assert bytes(rest) == t.burst[10:]
    for number in (2, 3, 4, 5):
        t.push(number, fragment(number))
        t.begin()
    step = t.follow(cursor)
    assert step is not None
    assert step.jumped
    assert boxes(_unchunked(step.data)) == ([5], [{"type": "gap", "from": 2, "to": 5}])
    assert t.follow(step.cursor) is None


def test_two_fragments_behind_is_no_reason_to_jump() -> None:
    t = tape()
    t.push(1, fragment(1))
    t.begin()
    _, cursor = t.cut(0)
    t.push(2, fragment(2))
    t.begin()
    numbers = []
    while (step := t.follow(cursor)) is not None:
        assert not step.jumped
        numbers += boxes(_unchunked(step.data))[0]
        cursor = step.cursor
    assert numbers == [1, 2]


def test_the_count_goes_with_the_next_fragment_and_to_whoever_comes() -> None:
    t = tape()
    t.say_count(7)
    assert not t.waiting
    t.push(1, fragment(1))
    t.begin()
    assert boxes(_unchunked(t.burst)) == ([1], [{"type": "count", "listeners": 7}])
    t.push(2, fragment(2))
    t.begin()
    assert boxes(_unchunked(t.burst)) == ([2], [])
    heard = Heard()
    heard.feed(t.greeting(HEAD))
    assert heard.told("count") == [{"type": "count", "listeners": 7}]


def test_whoever_comes_while_the_programme_is_lost_is_told() -> None:
    t = tape()
    t.say("programme_lost")
    t.begin()
    heard = Heard()
    heard.feed(t.greeting(HEAD))
    t.say_before("programme_back")
    assert not t.waiting
    t.push(1, fragment(1))
    t.begin()
    heard.feed(t.burst)
    assert [notice["type"] for notice in heard.notices] == ["programme_lost", "programme_back"]
    assert heard.numbers == [0, 1]


def test_the_end_is_said_and_clean() -> None:
    t = tape()
    t.push(1, fragment(1))
    t.end("ended")
    t.begin()
    heard = Heard()
    heard.feed(HEAD + t.burst)
    assert heard.clean
    assert heard.notices[-1] == {"type": "end", "state": "ended"}


def test_the_end_of_a_bare_body_is_the_connections() -> None:
    t = Tape(bare, INIT, 0, fragment(0))
    t.end("ended")
    t.begin()
    assert boxes(t.burst) == ([], [{"type": "end", "state": "ended"}])


def test_notices_have_ids_of_their_own() -> None:
    t = Tape(bare, INIT, 0, fragment(0))
    for _ in range(3):
        t.say("programme_lost")
    t.begin()
    size = len(t.burst) // 3
    identities = {t.burst[at * size + 28 : at * size + 32] for at in range(3)}
    assert len(identities) == 3


def test_a_tape_does_not_grow() -> None:
    t = tape()
    for number in range(1, 2000):
        t.push(number, fragment(number))
        t.begin()
    assert len(t._items) < 100


def _unchunked(data: bytes) -> bytes:
    heard = Heard()
    heard.feed(HEAD)
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + rest[:length], rest[length + 2 :]
    return body


ACTS = st.sampled_from(["add", "remove", "begin", "take"])


@given(st.lists(st.tuples(ACTS, st.integers(0, 40)), max_size=200))
def test_members_are_reached_once_a_burst(script: list[tuple[str, int]]) -> None:
    places = array("i")
    members, todo, fds = Members(places), set[int](), set[int]()
    spare = list(range(40))
    for act, which in script:
        if act == "add" and spare:
            fd = spare.pop()
            members.add(fd)
            fds.add(fd)
        elif act == "remove" and fds:
            fd = sorted(fds)[which % len(fds)]
            members.remove(fd)
            fds.discard(fd)
            todo.discard(fd)
            spare.append(fd)
        elif act == "begin" and not todo:
            members.begin()
            todo = set(fds)
        elif act == "take":
            batch = members.take(3)
            assert set(batch) <= todo
            assert len(batch) == min(3, len(todo))
            todo -= set(batch)
        assert members.todo == len(todo)
        assert set(members.fds) == fds
        assert all(members.fds[places[fd]] == fd for fd in fds)


@dataclass
class Listener:
    """What one connection got so far, and where it stands if it is behind."""

    heard: Heard = field(default_factory=Heard)
    lag: Laggard | None = None


class Pushing(RuleBasedStateMachine):
    """The shell's part (`rostra.audience.io.crowd`) with a network that takes as much as Hypothesis likes."""

    @initialize(first=st.integers(0, 5), patience=st.integers(1, 3), burst_max=st.integers(1, 4))
    def start(self, first: int, patience: int, burst_max: int) -> None:
        self.tape = Tape(chunked, INIT, first, fragment(first), patience=patience, burst_max=burst_max)
        self.members = Members(array("i"))
        self.listeners: dict[int, Listener] = {}
        self.next_fd = 3
        self.number = first
        self.over = False
        self.complete = {first}

    @precondition(lambda self: not self.over)
    @rule(hole=st.integers(0, 2))
    def push(self, hole: int) -> None:
        self.number += 1 + (hole if hole == 2 else 0)
        self.tape.push(self.number, fragment(self.number))

    @precondition(lambda self: not self.over)
    @rule(kind=st.sampled_from(["lost", "back", "count", "end"]))
    def tell(self, kind: str) -> None:
        match kind:
            case "lost":
                self.tape.say("programme_lost")
            case "back":
                self.tape.say_before("programme_back")
            case "count":
                self.tape.say_count(self.number)
            case _:
                self.tape.end("ended")
                self.over = True

    @precondition(lambda self: not self.over)
    @rule(room=st.integers(0, 400))
    def join(self, room: int) -> None:
        fd, self.next_fd = self.next_fd, self.next_fd + 1
        listener = self.listeners[fd] = Listener()
        greeting = self.tape.greeting(HEAD)
        listener.heard.feed(greeting[:room])
        if room >= len(greeting):
            self.members.add(fd)
        else:
            listener.lag = Laggard(memoryview(greeting)[room:], self.tape.newcomer, 0)

    @precondition(lambda self: self.listeners)
    @rule(which=st.integers(0, 100))
    def leave(self, which: int) -> None:
        fd = sorted(self.listeners)[which % len(self.listeners)]
        if self.listeners.pop(fd).lag is None:
            self.members.remove(fd)

    @rule(limit=st.integers(1, 4), rooms=st.lists(st.integers(0, 300), min_size=4, max_size=4))
    def flush(self, limit: int, rooms: list[int]) -> None:
        if self.members.todo == 0:
            if self.tape.ended or not self.tape.waiting:
                return
            self.tape.begin()
            self.members.begin()
        burst = self.tape.burst
        for fd, room in zip(list(self.members.take(limit)), rooms, strict=False):
            listener = self.listeners[fd]
            listener.heard.feed(burst[:room])
            if room < len(burst):
                self.members.remove(fd)
                listener.lag = Laggard(*self.tape.cut(room), 0)

    @rule(which=st.integers(0, 100), room=st.integers(0, 500))
    def writable(self, which: int, room: int) -> None:
        behind = [fd for fd, listener in self.listeners.items() if listener.lag is not None]
        if behind:
            self._serve(behind[which % len(behind)], room)

    def _serve(self, fd: int, room: int) -> None:
        listener = self.listeners[fd]
        lag = listener.lag
        assert lag is not None
        while room > 0:
            if not lag.rest:
                step = self.tape.follow(lag.cursor)
                if step is None:
                    break
                lag.rest, lag.cursor = memoryview(step.data), step.cursor
            listener.heard.feed(bytes(lag.rest[:room]))
            room, lag.rest = room - len(lag.rest[:room]), lag.rest[room:]
        if not lag.rest and self.tape.follow(lag.cursor) is None:
            listener.lag = None
            self.members.add(fd)

    @invariant()
    def what_was_heard_was_checked_as_it_came(self) -> None:
        """`Heard` asserts order and gaps. Here: everybody at the live edge has the live edge."""
        if not hasattr(self, "tape"):
            return
        for fd in self.members.fds[self.members.todo :]:
            assert self.listeners[fd].heard.numbers[-1] == self.tape.edge

    def teardown(self) -> None:
        """Given room and time, everybody gets to the end."""
        if not hasattr(self, "tape"):
            return
        for _ in range(3):
            while self.members.todo or (self.tape.waiting and not self.tape.ended):
                self.flush(4, [100_000] * 4)
            for fd, listener in self.listeners.items():
                if listener.lag is not None:
                    self._serve(fd, 100_000)
        for listener in self.listeners.values():
            assert listener.lag is None
            assert listener.heard.numbers[-1] == self.number
            assert listener.heard.clean == self.over


TestPushing = Pushing.TestCase
TestPushing.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 4096])
def test_chunks_say_their_size(size: int) -> None:
    data = bytes(size)
    assert chunked(data) == f"{size:x}".encode() + b"\r\n" + data + b"\r\n"
