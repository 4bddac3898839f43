"""A stage in a process of its own, as the supervisor would start it, with WHIP before it and the programme's ends of
the rings in the test's hands."""

import json
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt

from rostra.kernel.errors import PeerError, RostraError
from rostra.kernel.io import memory
from rostra.kernel.shared import ring
from rostra.kernel.shared.counters import Counters
from rostra.kernel.shared.ring import Frame, Pcm, Ring
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SAMPLE_RATE
from rostra.space.io import sockets
from rostra.space.io.folder import Folder

T = TypeVar("T")
LATE_FRAMES = 30
"""How long after its time a frame is read: these tests ask what is mixed, not when, and share the machine."""

PROGRAM = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from pathlib import Path
from rostra.kernel.io import memory, sandbox
from rostra.kernel.shared import counters
from rostra.ops import confine
from rostra.space.io.folder import Folder
from rostra.stage import Options
from rostra.stage.io import webrtc
folder = Folder(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
places = memory.create(folder.shared / "stage.counters", counters.SIZE)
rules = confine.rules("stage", Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
kept = counters.Counters(places, writer=True)
webrtc.run(
    folder, kept, Options(loopback=True), confine=lambda: confine.publish(kept, sandbox.enter(rules))
)
"""


def until(reached: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """What `reached` returns, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


class Stage:
    """The process, its command socket, its rings and counters. `inside`: the command that starts others where it is."""

    def __init__(self, root: Path, inside: Sequence[str] = ()) -> None:
        data, shared, self.log = root / "data", root / "shared", root / "stage.log"
        self.folder = Folder(data, shared, "stage-test").make()
        for path in (self.folder.mix_ring, self.folder.return_ring):
            ring.format_ring(memory.create(path, ring.SIZE))
        self._mix = Ring(memory.attach(self.folder.mix_ring))
        self._back = Ring(memory.create(self.folder.return_ring, ring.SIZE))
        self._arguments = [*inside, sys.executable, "-c", PROGRAM, str(data), str(shared), "stage-test"]
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.folder.stage_sock.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(self._arguments, stdout=log, stderr=log)
        until(self.folder.stage_sock.exists, "the stage listens")
        return process

    def restart(self, *, kill: bool = False) -> None:
        self.stop(kill=kill)
        self.process = self._start()

    def stop(self, *, kill: bool = False) -> int:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        return self.process.wait(10)

    def call(self, verb: str, **arguments: str) -> dict[str, Any]:
        return sockets.call(self.folder.stage_sock, verb, deadline_ms=5000, **arguments)

    def seat(self, name: str) -> dict[str, Any]:
        """The seat as the roster shows it; empty when there is none."""
        return next((seat for seat in self.call("roster")["seats"] if seat["id"] == name), {})

    def await_seat(self, name: str) -> None:
        until(lambda: self.seat(name).get("connected"), f"{name} is connected")

    def counters(self) -> dict[str, int]:
        return Counters(memory.attach(self.folder.shared / "stage.counters")).read()

    def programme(self, seconds: float, music: Pcm, *, on_air: bool) -> list[Frame | None]:
        """Be the programme for `seconds`: play `music`, over and over, to the stage, and return the stage's mix."""
        number = time.monotonic_ns() // FRAME_NS
        frames = []
        for at in range(number, number + round(seconds * 50)):
            time.sleep(max(0, at * FRAME_NS - time.monotonic_ns()) / 1e9)
            piece = music[np.arange(at * FRAME_SAMPLES, (at + 1) * FRAME_SAMPLES) % len(music)]
            self.play(at, Frame(piece, on_air=on_air))
            frames.append(self.mixed(at - LATE_FRAMES))
        return frames

    def play(self, number: int, frame: Frame) -> None:
        """Let the speakers hear this, as the programme would."""
        self._back.write(number, frame)

    def mixed(self, number: int) -> Frame | None:
        """The stage's mix under this number, if it is still there."""
        return self._mix.read(number)


def samples(frames: list[Frame | None]) -> Pcm:
    """The frames in a row; a missing one is a hole."""
    return np.concatenate([np.zeros(FRAME_SAMPLES, np.float32) if frame is None else frame.pcm for frame in frames])


class _Whip(BaseHTTPRequestHandler):
    """The studio's part: POST, PATCH, DELETE, and a page to run scripts in."""

    stage: Stage

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/voice.wav":
            self._say(200, (self.stage.folder.path / "voice.wav").read_bytes(), {"Content-Type": "audio/wav"})
        else:
            self._say(200, b"<!doctype html><title>speaker</title>", {"Content-Type": "text/html"})

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        seat, name = query["seat"][0], query.get("name", [""])[0]
        self._do(201, "offer", seat=seat, name=name, role="speaker", sdp=self._body())

    def do_PATCH(self) -> None:
        self._do(204, "trickle", session=self.path.rsplit("/", 1)[1], fragment=self._body())

    def do_DELETE(self) -> None:
        self._do(200, "close", session=self.path.rsplit("/", 1)[1])

    def _body(self) -> str:
        return self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()

    def _do(self, status: int, verb: str, **arguments: str) -> None:
        try:
            result = self.stage.call(verb, **arguments)
        except RostraError as error:
            body = json.dumps({"code": error.code, "detail": error.sentence}).encode()
            self._say(422 if isinstance(error, PeerError) else 503, body, {"Content-Type": "application/problem+json"})
            return
        headers = {"Content-Type": "application/sdp"}
        if "session" in result:
            headers["Location"] = f"/whip/stage-test/{result['session']}"
        self._say(status, result.get("sdp", "").encode(), headers)

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running(root: Path, inside: Sequence[str] = ()) -> Iterator[Stage]:
    stage = Stage(root, inside)
    try:
        yield stage
    finally:
        stage.process.kill()
        stage.process.wait(10)


@contextmanager
def whip(stage: Stage, listener: socket.socket | None = None) -> Iterator[str]:
    """The WHIP address before `stage`, on loopback or on a socket that somebody else made."""
    handler = type("Whip", (_Whip,), {"stage": stage})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=listener is None) as server:
        if listener is not None:
            server.socket.close()
            server.socket = listener
            server.server_port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/whip/stage-test"
        finally:
            server.shutdown()
            thread.join()


def voice(seconds: float, seed: int) -> Pcm:
    """Something like speech: syllables of 0.2 s, each a row of harmonics on a pitch of its own, with pauses."""
    chance = np.random.default_rng(seed)
    at = np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE
    swell = np.sin(np.pi * np.arange(len(at)) / len(at))
    syllables = []
    for _ in range(round(seconds * 5)):
        pitch = chance.uniform(110, 320)
        partials = [np.sin(2 * np.pi * pitch * n * at + chance.uniform(0, 6.28)) / n for n in range(1, 9)]
        syllables.append(swell * sum(partials) * (chance.random() > 0.15))
    return (0.25 * np.concatenate(syllables)).astype(np.float32)


def write_wav(path: Path, pcm: npt.NDArray[np.float32]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((pcm * 32767).astype("<i2").tobytes())
    return path


def likeness(heard: Pcm, said: Pcm) -> float:
    """How much half a second of `heard` is like some stretch of `said` (repeated), half of the time: 1 is equal.

    Half a second, because a browser under load stretches and squeezes time by a few milliseconds now and then.
    """
    size = SAMPLE_RATE // 2
    pieces = [heard[at : at + size] for at in range(0, len(heard) - size + 1, size)]
    return float(np.median([_correlation(piece, said) for piece in pieces]))


def _correlation(piece: Pcm, said: Pcm) -> float:
    """The highest normalised cross-correlation over all lags."""
    line = np.concatenate([said, said[: len(piece)]])
    size = 1 << (len(line) + len(piece)).bit_length()
    products = np.fft.irfft(np.fft.rfft(line, size) * np.conj(np.fft.rfft(piece, size)), size)[: len(said)]
    energy = np.concatenate([[0.0], np.cumsum(line.astype(np.float64) ** 2)])
    window = np.sqrt(np.maximum(energy[len(piece) :][: len(said)] - energy[: len(said)], 1e-3))
    return float(np.max(products / (window * np.sqrt(np.sum(piece.astype(np.float64) ** 2) + 1e-3))))
