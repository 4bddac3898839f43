"""What `stage.sock` promises: refusals that change nothing, seats that outlive connections and the stage itself."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from e2e.stage.process import Stage, running, until, voice, whip, write_wav
from rostra.kernel.errors import PeerError
from rostra.kernel.limits import SDP_BYTES_MAX, SEATS_MAX
from rostra.stage.io import hooks

OFFER = (Path(__file__).parents[2] / "unit/stage/offers/chromium.sdp").read_bytes().decode()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running(tmp_path) as stage:
        yield stage


def offer(stage: Stage, seat: str = "ann", sdp: str = OFFER, role: str = "speaker") -> dict[str, str]:
    return stage.call("offer", seat=seat, name=" Ann \n Smith ", role=role, sdp=sdp)


@pytest.mark.parametrize(
    ("code", "verb", "arguments"),
    [
        ("command.unknown", "dance", {}),
        ("command.malformed", "arm", {}),
        ("command.malformed", "arm", {"seat": 7}),
        ("command.malformed", "roster", {"seat": "ann"}),
        ("seat.unknown", "arm", {"seat": "nobody"}),
        ("seat.unknown", "remove", {"seat": "nobody"}),
        ("session.unknown", "close", {"session": "none"}),
        ("session.unknown", "trickle", {"session": "none", "fragment": ""}),
        ("seat.id", "offer", {"seat": "x" * 17, "name": "", "role": "speaker", "sdp": OFFER}),
        ("seat.id", "offer", {"seat": "", "name": "", "role": "speaker", "sdp": OFFER}),
        ("seat.role", "offer", {"seat": "a", "name": "", "role": "king", "sdp": OFFER}),
        ("sdp.no_audio", "offer", {"seat": "a", "name": "", "role": "speaker", "sdp": OFFER.partition("m=")[0]}),
        ("sdp.malformed", "offer", {"seat": "a", "name": "", "role": "speaker", "sdp": "hello"}),
        (
            "sdp.malformed",
            "offer",
            {"seat": "a", "name": "", "role": "speaker", "sdp": OFFER.replace("extmap:1 ", "extmap:x ")},
        ),
        (
            "sdp.too_large",
            "offer",
            {"seat": "a", "name": "", "role": "speaker", "sdp": OFFER + "a=x\n" * (SDP_BYTES_MAX // 4)},
        ),
    ],
)
def test_a_refusal_has_a_name_and_changes_nothing(
    shared: Stage, code: str, verb: str, arguments: dict[str, str]
) -> None:
    with pytest.raises(PeerError) as refused:
        shared.call(verb, **arguments)
    assert refused.value.code == code
    assert shared.call("roster") == {"seats": [], "on_air": False}
    until(lambda: shared.counters().get("sessions") == 0, "no session is left")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


def test_a_seat_is_there_from_the_offer_on_and_outlives_the_stage(stage: Stage) -> None:
    answer = offer(stage)
    assert "a=fmtp:111 " in answer["sdp"]
    assert " 127.0.0.1 " in answer["sdp"]
    stage.call("trickle", session=answer["session"], fragment="a=candidate:1 1 udp 1 192.0.2.7 50000 typ host\r\n")
    with pytest.raises(PeerError, match="cannot restart ICE"):
        stage.call("trickle", session=answer["session"], fragment="a=ice-ufrag:other\r\n")
    seat = stage.seat("ann")
    assert seat == {
        "id": "ann",
        "name": "Ann Smith",
        "role": "speaker",
        "armed": False,
        "muted": False,
        "connected": False,
        "level_db": -100.0,
        "speaking": False,
        "gain_db": 0.0,
        "network": dict.fromkeys(("rtt_ms", "loss_in", "loss_out", "jitter_ms", "delay_ms", "quality")),
    }
    assert stage.call("arm", seat="ann")["seats"][0]["armed"]
    stage.call("mute", seat="ann")
    written = json.loads(stage.folder.roster_json.read_text())
    assert written["seats"] == [{"id": "ann", "name": "Ann Smith", "role": "speaker", "armed": True, "muted": True}]

    offer(stage)  # a second offer before the first connected takes its place
    with pytest.raises(PeerError, match="does not exist any more"):
        stage.call("close", session=answer["session"])

    assert stage.stop() == 0
    stage.restart(kill=True)
    assert stage.seat("ann") | {"level_db": -100.0} == seat | {"armed": True, "muted": True}
    stage.call("disarm", seat="ann")
    stage.call("unmute", seat="ann")
    stage.call("remove", seat="ann")
    assert stage.call("roster")["seats"] == []
    assert json.loads(stage.folder.roster_json.read_text())["seats"] == []


def test_a_damaged_roster_does_not_keep_the_stage_from_starting(stage: Stage) -> None:
    offer(stage)
    stage.stop(kill=True)
    stage.folder.roster_json.write_text("{")
    stage.restart(kill=True)
    assert stage.call("roster")["seats"] == []


def test_when_all_seats_are_taken_an_abandoned_one_makes_room(stage: Stage) -> None:
    for number in range(SEATS_MAX):
        offer(stage, f"seat-{number}")
        stage.call("arm", seat=f"seat-{number}")
    with pytest.raises(PeerError) as full:
        offer(stage, "late")
    assert full.value.code == "stage.full"
    stage.call("disarm", seat="seat-5")
    offer(stage, "late")
    seats = [seat["id"] for seat in stage.call("roster")["seats"]]
    assert len(seats) == SEATS_MAX
    assert "seat-5" not in seats
    assert seats[-1] == "late"


async def connect(stage: Stage, seat: str) -> tuple[RTCPeerConnection, str]:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(AudioStreamTrack())
    await peer.setLocalDescription(await peer.createOffer())
    answer = await asyncio.to_thread(offer, stage, seat, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    await asyncio.to_thread(stage.await_seat, seat)
    return peer, answer["session"]


def test_a_newer_connection_of_a_seat_takes_over_and_the_older_is_closed(stage: Stage) -> None:
    async def scene() -> None:
        first, _ = await connect(stage, "ann")
        stage.call("arm", seat="ann")
        second, session = await connect(stage, "ann")
        await asyncio.to_thread(until, lambda: first.connectionState == "closed", "the older connection is closed")
        seat = stage.seat("ann")
        assert (seat["armed"], seat["connected"]) == (True, True)
        await asyncio.to_thread(until, lambda: stage.counters().get("sessions") == 1, "one session")
        stage.call("close", session=session)
        assert not stage.seat("ann")["connected"]
        await asyncio.to_thread(until, lambda: second.connectionState == "closed", "the newer is told")
        await first.close()
        await second.close()

    hooks.offer_loopback()
    asyncio.run(scene())


SPEAKER = """
import sys
from pathlib import Path
from rostra.ear.io.speak import speak
speak(sys.argv[1], "token", Path(sys.argv[2]), seat="ann", loop=True, for_s=60)
"""


def test_who_falls_silent_is_not_there_until_they_are_heard_again(stage: Stage, tmp_path: Path) -> None:
    file = write_wav(tmp_path / "said.wav", voice(2, 1))
    with whip(stage) as url:
        speaker = subprocess.Popen([sys.executable, "-c", SPEAKER, url, str(file)])
        try:
            stage.await_seat("ann")
            stage.call("arm", seat="ann")
            speaker.send_signal(signal.SIGSTOP)
            until(lambda: not stage.seat("ann")["connected"], "Ann is missed", 12)
            assert stage.seat("ann")["armed"]
            speaker.send_signal(signal.SIGCONT)
            until(lambda: stage.seat("ann")["connected"], "Ann is back")
        finally:
            speaker.kill()
            speaker.wait(10)
