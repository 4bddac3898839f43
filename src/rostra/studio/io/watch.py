"""What the pages of a Space watch: its state and its stage, looked up four times a second, however many watch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from starlette.concurrency import run_in_threadpool

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.errors import RostraError
from rostra.studio import api
from rostra.studio.io.desk import Desk
from rostra.studio.io.switchboard import Switchboard

INTERVAL_S: Final = 0.2
"""A meter that moves five times a second looks alive; with the lookup itself, events come within 250 ms."""

IDLE_S: Final = 2.0
RECHECK_S: Final = 2.0
"""How long a revoked link may go on watching."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    number: int
    space: api.Space
    stage: api.Stage
    server_time: str

    def event(self, you: str) -> bytes:
        """The server-sent event, with `you` marked."""
        seats = [seat.model_copy(update={"you": seat.id == you}) for seat in self.stage.seats]
        stage = self.stage.model_copy(update={"seats": seats}).model_dump_json()
        space = self.space.model_dump_json()
        return f'data: {{"space":{space},"stage":{stage},"server_time":"{self.server_time}"}}\n\n'.encode()


class _Watch:
    """One Space's lookups; they stop when nobody has asked for a while. `numbers` go on from watch to watch."""

    def __init__(self, look: Callable[[int], Snapshot], numbers: Iterator[int]) -> None:
        self._look = look
        self._numbers = numbers
        self._latest: Snapshot | None = None
        self._changed = asyncio.Condition()
        self._wanted_at = asyncio.get_running_loop().time()
        self.task = asyncio.create_task(self._run())

    async def after(self, number: int) -> Snapshot:
        """The first snapshot later than `number`."""
        self._wanted_at = asyncio.get_running_loop().time()
        async with self._changed:
            while self._latest is None or self._latest.number <= number:
                await self._changed.wait()
            return self._latest

    async def _run(self) -> None:
        while asyncio.get_running_loop().time() - self._wanted_at < IDLE_S:
            try:
                snapshot = await run_in_threadpool(self._look, next(self._numbers))
            except (RostraError, OSError):
                pass  # what cannot be seen now is looked for again; the watchers keep what they have
            else:
                async with self._changed:
                    self._latest = snapshot
                    self._changed.notify_all()
            await asyncio.sleep(INTERVAL_S)


class Watches:
    """The watches of all Spaces, on one event loop."""

    def __init__(self, desk: Desk, switchboard: Switchboard, closing: Callable[[], bool]) -> None:
        self._desk = desk
        self._switchboard = switchboard
        self._closing = closing
        self._watches: dict[str, _Watch] = {}
        self._numbers = count(1)

    async def events(self, space: str, you: str, still_allowed: Callable[[], object]) -> AsyncIterator[bytes]:
        """Server-sent events until the server closes or `still_allowed`, asked every `RECHECK_S`, raises."""
        clock = asyncio.get_running_loop().time
        checked_at, number = clock(), 0
        while not self._closing():
            if clock() - checked_at > RECHECK_S:
                try:
                    await run_in_threadpool(still_allowed)
                except RostraError:
                    return
                checked_at = clock()
            try:
                async with asyncio.timeout(IDLE_S / 2):
                    snapshot = await self._watch(space).after(number)
            except TimeoutError:
                yield b": waiting\n\n"
                continue
            number = snapshot.number
            yield snapshot.event(you)

    def stop(self) -> None:
        for watch in self._watches.values():
            watch.task.cancel()
        self._watches.clear()

    def _watch(self, space: str) -> _Watch:
        watch = self._watches.get(space)
        if watch is None or watch.task.done():
            watch = self._watches[space] = _Watch(lambda number: self._look(space, number), self._numbers)
        return watch

    def _look(self, space: str, number: int) -> Snapshot:
        seen = self._desk.show(space)
        return Snapshot(number, seen, self._switchboard.stage(space), to_rfc3339(self._desk.now_ns()))
