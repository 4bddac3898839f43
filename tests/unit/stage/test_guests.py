"""The check's process from inside: who may have a place, and whose session is whose."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rostra.kernel.errors import PeerError, RostraError, Unavailable
from rostra.kernel.shared import counters
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SECOND_NS
from rostra.space import commands
from rostra.space.commands import Request
from rostra.stage.check import LENGTH_NS, RECORD_FRAMES, Phase
from rostra.stage.io import check as testing
from rostra.stage.io.check import OF_LINK_MAX, OF_SEAT_MAX, SESSIONS_MAX, Checks
from rostra.stage.io.datagrams import Datagrams
from rostra.stage.io.session import Session
from rostra.stage.jitter import Packet
from rostra.stage.options import Options

OFFER = (Path(__file__).parent / "offers" / "chromium.sdp").read_bytes().decode()
Asked = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_session: Session, _published: object) -> str:
        return "v=0"

    monkeypatch.setattr(Session, "answer", answer)


def made() -> tuple[Checks, Counters]:
    counted = Counters(memoryview(bytearray(counters.SIZE)), writer=True)
    return Checks(counted, Datagrams(Options())), counted


async def offer(checks: Checks, link: str = "l1", seat: str = "s1", sdp: str = OFFER) -> str:
    return str((await checks._offer(link=link, seat=seat, sdp=sdp))["session"])


async def code_of(call: Awaitable[object]) -> str:
    with pytest.raises(RostraError) as refused:
        await call
    return refused.value.code


def test_a_session_is_its_link_s_alone() -> None:
    async def story() -> None:
        checks, _ = made()
        session = await offer(checks)
        assert (await checks._measure(link="l1", session=session))["phase"] == "connecting"
        for act in (checks._measure, checks._record, checks._close):
            assert await code_of(act(link="l2", session=session)) == "session.unknown"
        assert await code_of(checks._trickle(link="l2", session=session, fragment="")) == "session.unknown"
        assert await code_of(checks._record(link="l1", session=session)) == "check.unready"
        await checks._close(link="l1", session=session)
        assert await code_of(checks._measure(link="l1", session=session)) == "session.unknown"
        await checks.close()

    asyncio.run(story())


def test_a_third_offer_of_a_page_takes_its_oldest_session_s_place() -> None:
    async def story() -> None:
        checks, _ = made()
        sessions = [await offer(checks) for _ in range(OF_SEAT_MAX + 1)]
        assert list(checks._guests) == sessions[1:]
        await checks.close()
        assert checks._guests == {}

    asyncio.run(story())


def test_one_link_leaves_room_for_others_and_who_comes_too_many_is_told() -> None:
    async def story() -> None:
        checks, _ = made()
        for number in range(OF_LINK_MAX):
            await offer(checks, "l1", f"s{number}")
        with pytest.raises(Unavailable) as refused:
            await offer(checks, "l1", "late")
        assert (refused.value.code, bool(refused.value.hint)) == ("check.busy", True)
        for number in range(SESSIONS_MAX - OF_LINK_MAX):
            await offer(checks, f"m{number}", "s")
        assert await code_of(offer(checks, "another", "s")) == "check.busy"
        await checks._close(link="m0", session=next(n for n, g in checks._guests.items() if g.link == "m0"))
        await offer(checks, "another", "s")
        await checks.close()

    asyncio.run(story())


def test_what_cannot_be_offered_takes_no_place() -> None:
    async def story() -> None:
        checks, _ = made()
        assert await code_of(offer(checks, sdp="hello")) == "sdp.malformed"
        assert checks._guests == {}

    asyncio.run(story())


class Fed:
    """A session whose voice the test makes; what it is sent is kept."""

    def __init__(self, session: Session) -> None:
        self.sent: list[Pcm] = []
        self.session = session
        vars(session)["send"] = lambda frame, number: self.sent.append(frame)

    def say(self, packets: int, now_ns: int) -> None:
        for number in range(packets):
            self.session.playout.put(Packet(1, number, number * FRAME_SAMPLES, b"\xff\xfe\xff"), now_ns)


def test_a_guest_is_heard_through_the_stage_s_own_playout_and_let_go_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock that the test turns: 20 ms a tick, without a network."""
    clock = {"ns": 50 * SECOND_NS}
    monkeypatch.setattr(testing.time, "monotonic_ns", lambda: clock["ns"])

    async def sleep(seconds: float) -> None:
        clock["ns"] += round(seconds * SECOND_NS)
        await asyncio.tasks.__sleep0()  # type: ignore[attr-defined]

    async def story() -> None:
        checks, counted = made()
        session = await offer(checks)
        guest = checks._guests[session]
        fed = Fed(guest.session)
        guest.session.connected = True
        checks._changed(guest.session)
        monkeypatch.setattr(testing.asyncio, "sleep", sleep)
        fed.say(3, clock["ns"])
        ticking = asyncio.ensure_future(checks.tick())
        await checks._record(link="l1", session=session)
        while (await checks._measure(link="l1", session=session))["recordings"] == 0:
            guest.session.heard_ns = clock["ns"]
            await sleep(0)
        assert len(fed.sent) == RECORD_FRAMES
        assert guest.check.phase is Phase.PLAYING
        assert (await checks._measure(link="l1", session=session))["heard"]["packets"] == 3
        assert guest.session.playout.tally.packets == 3
        while session in checks._guests:
            guest.session.heard_ns = clock["ns"]
            await sleep(0)
        assert clock["ns"] - guest.session.made_ns >= LENGTH_NS
        await sleep(0)
        assert counted.get("sessions") == 0
        assert counted.get(HEARTBEAT) > 0
        ticking.cancel()
        await checks.close()

    asyncio.run(story())


def test_the_socket_answers_by_name_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    async def story() -> None:
        checks, _ = made()
        server = await asyncio.start_unix_server(checks.converse, tmp_path / "check.sock")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "check.sock")
        decoder = commands.Decoder()

        async def ask(verb: str, **args: Any) -> dict[str, Any]:
            writer.write(commands.encode_request(Request(verb, 7, 2000, args)))
            while True:
                for reply in decoder.feed(await reader.read(65_536)):
                    return commands.result(reply)

        session = (await ask("offer", link="l1", seat="s1", sdp=OFFER))["session"]
        assert (await ask("measure", link="l1", session=session))["recordings"] == 0
        assert await code_of(ask("dance")) == "command.unknown"
        assert await code_of(ask("measure", link="l1", session=7)) == "command.malformed"
        assert await code_of(ask("measure", link="l1")) == "command.malformed"
        with pytest.raises(PeerError, match="over"):
            await ask("measure", link="l1", session="other")
        writer.close()
        server.close()
        await checks.close()

    asyncio.run(story())
