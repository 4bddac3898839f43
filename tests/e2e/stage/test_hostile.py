"""What strangers and peers may send to a stage: at most it ends itself, and nobody who listens loses a fragment."""

import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from e2e.stage.process import PROGRAM, Stage, running, samples, until
from rostra.kernel.io import memory
from rostra.kernel.shared.ring import SIZE, SLOTS
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.space.io import sockets
from support import programme
from support.hostile import TONE_HZ, Peer, bad_datagrams, bad_media, bad_reports, peers, rtp

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)
OPUS = 96
"""The payload type that aiortc offers."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture(scope="module")
def connect(stage: Stage) -> Iterator[Callable[[str], Peer]]:
    with peers() as make:
        yield lambda seat: make(lambda sdp: _offer(stage, seat, sdp))


def _offer(stage: Stage, seat: str, sdp: str) -> str:
    return str(stage.call("offer", seat=seat, name=seat, role="speaker", sdp=sdp)["sdp"])


@pytest.fixture(scope="module")
def ann(stage: Stage, connect: Callable[[str], Peer]) -> Peer:
    """Someone who talks, and whom all this should not concern."""
    peer = connect("ann")
    stage.await_seat("ann")
    stage.call("arm", seat="ann")
    until(lambda: heard(stage) > 0.95, "Ann is heard", 30)
    return peer


def heard(stage: Stage, seconds: float = 2) -> float:
    """The share of 20 ms frames of the mix in which Ann's tone is most of what there is."""
    mix = samples(stage.programme(seconds, SILENCE, on_air=True)).reshape(-1, FRAME_SAMPLES)
    spectrum = np.abs(np.fft.rfft(mix * np.hanning(FRAME_SAMPLES)))
    at = round(TONE_HZ * FRAME_SAMPLES / SAMPLE_RATE)
    tone = np.sqrt(np.sum(spectrum[:, at - 2 : at + 3] ** 2, axis=1))
    return float(np.mean(tone > 0.8 * np.sqrt(np.sum(spectrum**2, axis=1)) + 1e-3))


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do `act` again and again on a thread."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def go() -> None:
        try:
            while not stop.is_set():
                act()
        except BaseException as error:  # told to the test
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(90)
    assert not failed, failed


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def threads(stage: Stage) -> int:
    return len(list(Path(f"/proc/{stage.process.pid}/task").iterdir()))


def expelled(stage: Stage) -> int:
    return stage.counters().get("sessions_expelled", 0)


def dropped(stage: Stage) -> int:
    return sum(value for name, value in stage.counters().items() if name.startswith("dropped/"))


def test_a_stage_is_confined_while_it_serves(stage: Stage) -> None:
    until(lambda: "isolation/threads" in stage.counters(), "the stage says what holds it")
    counters = stage.counters()
    status = Path(f"/proc/{stage.process.pid}/status").read_text()
    assert re.search(r"NoNewPrivs:\s+1", status)
    assert re.search(r"Seccomp:\s+2", status)
    assert re.search(r"CapEff:\s+0+\n", status)
    assert counters["isolation/missing"] == (0 if counters["isolation/landlock"] else 1)
    assert counters["isolation/threads"] == 0


def test_what_a_stranger_sends_to_an_open_port_disturbs_nobody(stage: Stage, ann: Peer) -> None:
    session, before = stage.call("roster")["seats"][0], dropped(stage)
    chance = random.Random(1)
    where = ann.stage_address

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number, datagram in enumerate(bad_datagrams(chance)):
                sock.sendto(datagram, where)
                if number % 20 == 19:
                    time.sleep(0.01)  # some two thousand a second

    with meanwhile(flood):
        until(lambda: heard(stage) > 0.9, "Ann through the flood", 40)
        until(lambda: dropped(stage) > before + 2000, "the flood is dropped and counted")
    assert stage.seat("ann")["connected"]
    assert session["id"] == "ann"
    assert stage.counters()["dropped/oversize"] > 0
    assert stage.counters()["dropped/strangers"] > 0
    assert expelled(stage) == 0, "nobody is expelled for what a stranger does"
    until(lambda: heard(stage) > 0.95, "Ann after the flood", 30)


def test_what_a_peer_sends_ends_itself_at_most(stage: Stage, ann: Peer, connect: Callable[[str], Peer]) -> None:
    mallory = connect("mallory")
    stage.await_seat("mallory")
    chance = random.Random(2)
    packets = bad_media(chance, mallory.ssrc, OPUS) + bad_reports(chance, mallory.ssrc, mallory.return_ssrc)
    chance.shuffle(packets)
    raw = bad_datagrams(chance)

    def attack() -> None:
        mallory.run(mallory.send(packets, per_s=400))
        mallory.run(mallory.send_raw(raw))

    with meanwhile(attack):
        until(lambda: heard(stage) > 0.9, "Ann beside Mallory", 40)
        until(lambda: stage.counters()["dropped/malformed"] > 50, "what cannot be parsed is counted", 40)
        stage.call("arm", seat="mallory")  # whatever Mallory sends is decoded and mixed now, too
        until(lambda: stage.seat("mallory").get("connected") is not None, "a turn with both")
        stage.programme(2, SILENCE, on_air=True)
    stage.call("remove", seat="mallory")
    until(lambda: stage.counters()["sessions"] == 1, "Mallory's connection is gone", 30)
    until(lambda: heard(stage) > 0.95, "Ann after Mallory", 30)
    assert stage.process.poll() is None


def test_a_peer_that_floods_is_dropped_then_expelled(stage: Stage, ann: Peer, connect: Callable[[str], Peer]) -> None:
    trudy = connect("trudy")
    stage.await_seat("trudy")
    threads_before = threads(stage)
    memory_before_mb = resident_mb(stage.process.pid)
    expelled_before = expelled(stage)
    chance = random.Random(3)
    sent = 0

    def flood() -> None:
        """Her own stream, and a new one with every other packet, 5,000 a second."""
        nonlocal sent
        packets = [
            rtp(trudy.ssrc if n % 2 else chance.getrandbits(32), sent + n, (sent + n) * 960, bytes(200), kind=OPUS)
            for n in range(1000)
        ]
        sent += len(packets)
        trudy.run(trudy.send(packets, per_s=5000))

    with meanwhile(flood):
        until(lambda: expelled(stage) == expelled_before + 1, "Trudy is expelled", 60)
    assert stage.counters()["dropped/streams"] > 1000
    assert stage.counters()["dropped/excess"] > 1000
    assert not stage.seat("trudy")["connected"]
    until(lambda: heard(stage) > 0.95, "Ann after Trudy", 30)
    until(lambda: threads(stage) < threads_before, "her thread is gone", 30)
    assert resident_mb(stage.process.pid) < memory_before_mb + 40
    assert stage.counters().get("faults", 0) == 0, "nothing raised where nobody waits for it"


def test_a_stage_that_is_taken_over_or_killed_costs_no_fragment(tmp_path: Path) -> None:
    """What a stage may write, filled with rubbish while the programme runs; then it is killed."""
    with programme.space(tmp_path) as space, peers() as connect:
        space.start()
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), str(tmp_path / "shared"), "space1"]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        try:
            until(space.folder.stage_sock.exists, "the stage listens", 30)
            mallory = connect(
                lambda sdp: str(
                    sockets.call(
                        space.folder.stage_sock, "offer", deadline_ms=9000, seat="m", name="m", role="speaker", sdp=sdp
                    )["sdp"]
                )
            )
            until(lambda: mallory.connection.connectionState == "connected", "Mallory is there", 30)
            chance = random.Random(4)
            mallory.run(mallory.send(bad_media(chance, mallory.ssrc, OPUS), per_s=2000))
        finally:
            process.kill()
            process.wait(10)
        ring = memory.create(space.folder.mix_ring, SIZE)
        grid = time.monotonic_ns() // 20_000_000
        numbers = np.frombuffer(ring, np.uint8)
        for number in range(grid, grid + 150):
            _garble(numbers, number, chance)
            space.folder.roster_json.write_bytes(chance.randbytes(200) if number % 2 else b"[" * 200_000)
            time.sleep(0.02)
        frame = space.ask("status")["frame"]
        space.wait_for_frame(frame + 64)
        assert space.process is not None
        assert space.process.poll() is None, "the programme does not care"
        reader = space.reader()
        fragments = [record.number for record in reader.records]
        epochs = {record.epoch for record in reader.records}
        reader.close()
        assert fragments == list(range(len(fragments)))
        assert len(epochs) == 1, "the programme was never restarted"
        pcm = space.heard("opus")
        assert np.isfinite(pcm).all()
        assert np.sqrt(np.mean(pcm[-SAMPLE_RATE:] ** 2)) > 0.001, "hold music is heard again"


def _garble(ring: np.ndarray, number: int, chance: random.Random) -> None:  # type: ignore[type-arg]
    """A slot of the ring as an attacker would write it: right number, wrong everything else."""
    size = 64 + FRAME_SAMPLES * 4 + 64
    at = 64 + number % SLOTS * size
    body = np.frombuffer(chance.randbytes(size - 16 - 56), np.uint8)
    ring[at + 8 : at + 8 + len(body)] = body
    pcm = ring[at + 64 : at + 64 + FRAME_SAMPLES * 4].view(np.float32)
    pcm[::3] = chance.choice([np.nan, np.inf, -np.inf, 3e38])
    check = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
    ring[at + 64 + FRAME_SAMPLES * 4 : at + 72 + FRAME_SAMPLES * 4] = check
    ring[at : at + 8] = check
