"""Joining takes a while; whatever else happens to the roster meanwhile stands."""

import asyncio
from pathlib import Path

import pytest

from rostra.kernel.shared import counters, ring
from rostra.kernel.shared.counters import Counters
from rostra.kernel.shared.ring import Ring
from rostra.space.io.folder import Folder
from rostra.stage.io.session import Session
from rostra.stage.io.webrtc import Stage

OFFER = (Path(__file__).parent / "offers" / "chromium.sdp").read_bytes().decode()


def empty_ring() -> Ring:
    buffer = memoryview(bytearray(ring.SIZE))
    ring.format_ring(buffer)
    return Ring(buffer)


@pytest.fixture
def slow_answers(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Sessions whose answers wait for the event: as when candidates are gathered."""
    ready = asyncio.Event()

    async def answer(_session: Session, _published: object) -> str:
        await ready.wait()
        return "v=0"

    monkeypatch.setattr(Session, "answer", answer)
    return ready


def test_what_happens_to_the_roster_while_somebody_joins_stands(tmp_path: Path, slow_answers: asyncio.Event) -> None:
    async def story() -> None:
        folder = Folder(tmp_path / "data", tmp_path / "shared", "abc").make()
        stage = Stage(folder, Counters(memoryview(bytearray(counters.SIZE)), writer=True), empty_ring(), empty_ring())
        joining = [asyncio.create_task(stage._offer(seat=seat, name=seat, role="speaker", sdp=OFFER)) for seat in "ab"]
        await asyncio.sleep(0)
        slow_answers.set()
        await asyncio.gather(*joining)
        assert {seat.id for seat in stage._roster.seats} == {"a", "b"}, "two who join at once both have a seat"
        await stage._arm(seat="a")
        slow_answers.clear()
        third = asyncio.create_task(stage._offer(seat="c", name="c", role="speaker", sdp=OFFER))
        await asyncio.sleep(0)
        await stage._disarm(seat="a")
        slow_answers.set()
        await third
        assert not any(seat.armed for seat in stage._roster.seats), "who was disarmed meanwhile stays disarmed"
        assert len(stage._roster.seats) == 3

    asyncio.run(story())
