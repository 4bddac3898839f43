"""A programme's surroundings for tests: its folder and rings, a stage that talks, and ears on what it wrote."""

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import numpy.typing as npt

from rostra.kernel.errors import RostraError
from rostra.kernel.io import memory
from rostra.kernel.io.system import now
from rostra.kernel.shared.counters import SIZE as COUNTERS_SIZE
from rostra.kernel.shared.counters import Counters
from rostra.kernel.shared.ring import SIZE, Frame, Ring, format_ring
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SECOND_NS
from rostra.log.io.files import Reader
from rostra.space.io import sockets
from rostra.space.io.folder import Folder
from rostra.space.spec import Recording, Spec

Samples = npt.NDArray[np.float32]
Answer = TypeVar("Answer")

_PROCESS = """
import sys
from pathlib import Path
from rostra.kernel.io import memory
from rostra.kernel.shared.counters import SIZE, Counters
from rostra.programme.io.tick import run
from rostra.space.io.folder import Folder
data, shared, space = sys.argv[1:]
folder = Folder(Path(data), Path(shared), space)
sys.exit(run(folder, Counters(memory.create(folder.shared / "programme.counters", SIZE), writer=True)))
"""

AHEAD = 25
"""The stage of these tests writes half a second ahead: a busy machine must not make it late."""


def until(ask: Callable[[], Answer | None], for_s: float = 90.0) -> Answer:
    """What `ask` returns once that is true; that nobody answers yet is forgiven."""
    ends = time.monotonic() + for_s
    while time.monotonic() < ends:
        with contextlib.suppress(RostraError, FileNotFoundError):
            if answer := ask():
                return answer
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def speech(grid: int) -> Samples:
    """What the stage says in the frame of this grid number: coloured noise, the same whenever it is asked for."""
    noise = np.random.default_rng(grid).normal(0, 1, FRAME_SAMPLES)
    return (0.15 * np.convolve(noise, np.ones(24) / 5, "same")).astype(np.float32)


class Stage:
    """Writes the mix ring from `start` to `stop`; `first` and `end` are the grid numbers it wrote, end exclusive."""

    def __init__(self, folder: Folder, present: int = 1) -> None:
        self._ring = Ring(memory.create(folder.mix_ring, SIZE))
        self.present = present
        self._stopped = threading.Event()
        self.first = self.end = time.monotonic_ns() // FRAME_NS
        self._thread = threading.Thread(target=self._write, daemon=True)  # a test that fails must not hang
        self._thread.start()

    def _write(self) -> None:
        while not self._stopped.is_set():
            while self.end < time.monotonic_ns() // FRAME_NS + AHEAD:
                present = self.present
                self._ring.write(self.end, Frame(speech(self.end), present, present, "seat1" if present else ""))
                self.end += 1
            self._stopped.wait(0.05)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class Space:
    """A Space that was announced, and the process of its programme."""

    def __init__(self, data: Path, *, starts_in_s: float = 3600, doors_s: int = 7200, **spec: Any) -> None:
        self.folder = Folder(data, data / "shared", "space1").make()
        self.announce(Spec("space1", "A Space", now().wall_ns + int(starts_in_s * SECOND_NS), doors_s, **spec))
        for path in (self.folder.mix_ring, self.folder.return_ring):
            format_ring(memory.create(path, SIZE))
        self.counters = Counters(memory.create(self.folder.shared / "programme.counters", COUNTERS_SIZE), writer=True)
        self._data = data
        self.process: subprocess.Popen[bytes] | None = None

    def announce(self, spec: Spec) -> None:
        self.spec = spec
        self.folder.write_spec(spec)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the programme, and wait until it answers."""
        command = [sys.executable, "-c", _PROCESS, str(self._data), str(self.folder.shared.parent), "space1"]
        self.process = subprocess.Popen(command)
        until(lambda: self.ask("status"))
        return self.process

    def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        return sockets.call(self.folder.programme_sock, verb, **args)

    def state(self) -> str:
        return str(self.ask("status")["state"])

    def wait_for_frame(self, frame: int) -> None:
        until(lambda: self.ask("status")["frame"] >= frame)

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.folder.journal.read_bytes().splitlines()]

    def reader(self, rendition: str = "opus") -> Reader:
        reader = Reader(self.folder.programmes / "floor" / rendition)
        reader.poll()
        return reader

    def heard(self, rendition: str) -> Samples:
        """All that was written so far, decoded: sample s of the timeline is at place s."""
        reader = self.reader(rendition)
        stream = reader.init() + b"".join(reader.read(record) for record in reader.records)
        reader.close()
        return decode(stream)

    def end(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def space(data: Path, **spec: Any) -> Iterator[Space]:
    """A Space that is cleared away afterwards. `recording` is public unless told otherwise."""
    announced = Space(data, **({"recording": Recording.PUBLIC} | spec))
    try:
        yield announced
    finally:
        announced.end()


def decode(stream: bytes) -> Samples:
    """The samples of a fragmented MP4, asserting that its timeline has no hole."""
    heard: list[Samples] = []
    with av.open(io.BytesIO(stream)) as container:
        expected = 0
        for frame in container.decode(audio=0):
            assert frame.pts == expected, f"sample {expected} comes at {frame.pts}"
            pcm = frame.to_ndarray().astype(np.float32)
            heard.append(pcm.reshape(-1))
            expected += frame.samples
    return np.concatenate(heard)


def lag(heard: Samples, source: Samples, reach: int = 2400) -> int:
    """By how many samples `heard` comes after `source` (shapes alike), by the peak of their cross-correlation."""
    size = 2 * len(source)
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size)), size)
    near = np.concatenate((correlation[-reach:], correlation[: reach + 1]))
    return int(np.argmax(near)) - reach


def likeness(heard: Samples, source: Samples) -> float:
    """How much of `source` is in `heard`: 1 when it is there at its level, 0 when it is not."""
    return float(np.dot(heard.astype(float), source) / np.dot(source.astype(float), source))
