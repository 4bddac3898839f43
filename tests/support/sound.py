"""A sound card that is not there: a PulseAudio of the test's own, whose null sinks are recorded."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from support.server import wait_for


class SoundCard:
    """Null sinks by name; `environment(sink)` makes a program play into one."""

    def __init__(self, folder: Path, *sinks: str) -> None:
        self._socket = folder / "pulse.socket"
        self._environment = os.environ | {
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_STATE_PATH": str(folder),
            "HOME": str(folder),
        }
        modules = [f"module-native-protocol-unix auth-anonymous=1 socket={self._socket}"]
        modules += [f"module-null-sink sink_name={sink} rate=48000 channels=1 norewinds=1" for sink in sinks]
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--log-level=error"]
        command += [f"--load={module}" for module in modules]
        self.process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: sinks[-1] in self._pactl("list", "short", "sinks"), 20, "PulseAudio")

    def _pactl(self, *arguments: str) -> str:
        done = subprocess.run(["pactl", *arguments], env=self._environment, capture_output=True, text=True, check=False)
        return done.stdout

    def environment(self, sink: str) -> dict[str, str]:
        return self._environment | {"PULSE_SINK": sink}

    @contextmanager
    def recording(self, sink: str, path: Path) -> Iterator["Take"]:
        """Everything that is played into `sink` meanwhile, as mono float32 at 48 kHz in `path`."""
        with path.open("wb") as file:
            child = subprocess.Popen(
                ["parec", f"--device={sink}.monitor", "--raw", "--format=float32le", "--rate=48000", "--channels=1"],
                env=self._environment,
                stdout=file,
            )
            take = Take(path)
            try:
                wait_for(lambda: path.stat().st_size > 0, 10, "the recorder")
                take.began_wall = time.time() - path.stat().st_size / 4 / 48_000
                yield take
            finally:
                child.send_signal(signal.SIGTERM)
                child.wait(10)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Take:
    """A recording; `began_wall` is the wall-clock time (s) of its first sample, within a buffer's length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.began_wall = 0.0

    @property
    def seconds(self) -> float:
        """How long it is by now."""
        return self._path.stat().st_size / 4 / 48_000

    def samples(self) -> npt.NDArray[np.float32]:
        return np.frombuffer(self._path.read_bytes(), np.float32)
