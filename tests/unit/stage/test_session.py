"""The track that aiortc reads: packets in order, the newest when it falls behind, and nothing but waiting otherwise."""

import asyncio

import pytest

from rostra.stage.io.session import QUEUE_FRAMES, ReturnTrack


def test_packets_come_in_order_and_the_oldest_give_way() -> None:
    async def scene() -> None:
        track = ReturnTrack()
        first = asyncio.ensure_future(track.recv())
        await asyncio.sleep(0)
        assert not first.done(), "there is nothing yet"
        track.push(b"a", 1)
        track.push(b"b", 2)
        assert bytes(await first) == b"a"
        assert (await track.recv()).pts == 2 * 960
        for number in range(3 * QUEUE_FRAMES):
            track.push(b"x", number)
        kept = [(await track.recv()).pts for _ in range(QUEUE_FRAMES)]
        assert kept == [number * 960 for number in range(2 * QUEUE_FRAMES, 3 * QUEUE_FRAMES)]

    asyncio.run(scene())


def test_who_stops_reading_leaves_nothing_that_hurts() -> None:
    async def scene() -> None:
        track = ReturnTrack()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(track.recv(), 0.01)
        track.push(b"a", 1)
        assert bytes(await track.recv()) == b"a"

    asyncio.run(scene())
