"""From the microphone to the ear: a voice and chirps through a whole `rostra serve`, over WebRTC in and push out.

    .venv/bin/python bench/delay.py [--for 60]

The speaker is `rostra.ear.io.speak` (aiortc, unchanged), the listener `rostra.ear.io.client`; both on this machine, so
that one clock times both ends. Each chirp is found in what was heard by cross-correlation. Its delay runs from the
moment its first sample was captured (20 ms before its frame was handed to the encoder, as in a sound card) to the
moment that sample can be played: the arrival of its fragment, and its place in the fragment.
"""

import argparse
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import machine
import numpy as np
import stand
import table

from rostra.ear.align import align
from rostra.ear.io.client import Enough, Heard, Sound, listen
from rostra.ear.io.speak import publish, read_link
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from support.voices import Samples, chirp, silence, write_wav

SPACING_S = (0.7, 1.3)
LIKENESS_MIN = 0.5


def chirps(seconds: float) -> tuple[Samples, list[int]]:
    """A train of chirps at random distances, so that it is like itself at no other lag; and where each begins."""
    rng = np.random.default_rng(1)
    parts: list[Samples] = []
    starts, at = [], 0
    while at < seconds * SAMPLE_RATE:
        low = float(rng.uniform(300, 900))
        pause, sound = silence(rng.uniform(*SPACING_S)), chirp(120, low, low + float(rng.uniform(1500, 2800)), 0.3)
        parts += [pause, sound]
        starts.append(at + len(pause))
        at += len(pause) + len(sound)
    return np.concatenate(parts), starts


class Microphone:
    """Speaks a file on a thread; `captured(sample)` is when that sample of it was captured (wall-clock ns)."""

    def __init__(self, link: str, file: Path) -> None:
        self._frames: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak, args=(link, file), daemon=True)
        self._thread.start()

    def _speak(self, link: str, file: Path) -> None:
        import asyncio

        url, token = read_link(link)
        asyncio.run(publish(url, token, file, name="Chirps", seat="chirps", on_frame=self._frames.__setitem__))

    def captured(self, sample: int) -> float:
        frame, rest = divmod(sample, FRAME_SAMPLES)
        return self._frames[frame] + (rest - FRAME_SAMPLES) * 1e9 / SAMPLE_RATE


@dataclass
class Take:
    """What was heard, and when each of its samples could be played."""

    sounds: list[Sound]
    heard: Heard

    @property
    def samples(self) -> Samples:
        return np.concatenate([sound.samples for sound in self.sounds])

    def playable(self, sample: int) -> float:
        """Wall-clock ns; -1 if it is beyond the end."""
        for sound in self.sounds:
            if sample < len(sound.samples):
                return sound.arrived_ns + sample * 1e9 / SAMPLE_RATE
            sample -= len(sound.samples)
        return -1.0


def hear(url: str, seconds: float) -> Take:
    sounds: list[Sound] = []
    until = time.monotonic() + seconds

    def take(sound: Sound) -> None:
        sounds.append(sound)
        if time.monotonic() > until:
            raise Enough

    return Take(sounds, listen(url, rendition="opus", on_sound=take))


def delays(source: Samples, starts: list[int], microphone: Microphone, take: Take) -> list[float]:
    """Milliseconds from microphone to ear of every chirp that was heard."""
    heard = take.samples
    whole = align(heard, source)
    length, slack = len(chirp()), SAMPLE_RATE // 4  # chirps are further apart than that, so none is taken for another
    found = []
    for start in starts:
        at = start - whole.lag
        if at < slack or at + length + slack > len(heard):
            continue
        near = align(source[start : start + length], heard[at - slack : at + length + slack], overlap_min=length)
        if near.correlation >= LIKENESS_MIN:
            playable = take.playable(at - slack + near.lag)
            found.append((playable - microphone.captured(start)) / 1e6)
    return found


def measure(seconds: float) -> None:
    source, starts = chirps(seconds + 40)
    with TemporaryDirectory() as folder, stand.space() as (_, space):
        space.await_state("doors_open")
        microphone = Microphone(space.links["speaker"], write_wav(Path(folder) / "chirps.wav", source))
        space.await_seats("Chirps")
        space.arm("Chirps")
        space.await_state("on_air")
        take = hear(space.url, seconds)
        figures = delays(source, starts, microphone, take)
    report = take.heard.report
    assert report.delay_ms_p50 is not None
    assert report.delay_ms_p95 is not None
    assert len(figures) > seconds / 3, f"only {len(figures)} chirps were heard"
    p50, p95 = np.percentile(figures, (50, 95))
    mixer = (f"{report.delay_ms_p50:.0f} ms", f"{report.delay_ms_p95:.0f} ms", f"{report.fragments} fragments")
    table.show(
        ("from … to …", "p50", "p95", "of"),
        (
            ("microphone → ear", f"{p50:.0f} ms", f"{p95:.0f} ms", f"{len(figures)} chirps"),
            ("mixer → ear", *mixer),
            ("the floor: one fragment", "640 ms", "640 ms", ""),
        ),
    )
    print(f"\nmicrophone → ear is {p50 / 640:.2f} × the floor; {report.gaps} gaps.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--for", dest="seconds", type=float, default=60.0, help="seconds on air")
    print(machine.line(), end="\n\n")
    measure(parser.parse_args().seconds)
