"""The echo that the test page listens for: found when it is there, and not when a voice or a fan is."""

import json
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest

import rostra
from support.browsers import program
from support.voices import say

ECHO: Final = Path(rostra.__file__).parent / "web" / "check" / "echo.js"
RATE: Final = 48_000
WINDOW: Final = 32_768
NONE_DB: Final = -100

Samples = npt.NDArray[np.float32]
CHANCE: Final = np.random.default_rng(3)

SCRIPT: Final = """
import { readFileSync } from 'node:fs';
const { chirp, echoIn, middle } = await import(process.argv[1]);
const [rate, ...files] = process.argv.slice(2);
const read = (name) => new Float32Array(new Uint8Array(readFileSync(name)).buffer);
const found = files.map((file) => echoIn(read(file), Number(rate)));
process.stdout.write(JSON.stringify({ chirp: [...chirp(Number(rate))], found, middle: middle([3, 1, 2]) }));
"""


def run(folder: Path, rate: int, *heard: Samples) -> tuple[Samples, list[float]]:
    """The page's chirp, and how loud (dBFS) it is found in each of `heard`."""
    files = []
    for number, samples in enumerate(heard):
        files.append(folder / f"{number}.f32")
        files[-1].write_bytes(samples.astype("<f4").tobytes())
    command = [program("node"), "--input-type=module", "-e", SCRIPT, str(ECHO), str(rate), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(done.stdout)
    assert told["middle"] == 2
    return np.array(told["chirp"], np.float32), told["found"]


def placed(samples: Samples, at: int) -> Samples:
    line = np.zeros(WINDOW, np.float32)
    line[at : at + len(samples)] = samples[: WINDOW - at]
    return line


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_an_echo_is_found_wherever_it_lies_however_soft_and_upside_down(tmp_path: Path, rate: int) -> None:
    chirp, _ = run(tmp_path, rate)
    assert np.abs(chirp).max() < 0.3
    played_db = 10 * np.log10(np.mean(chirp**2))
    hiss = 0.0005 * CHANCE.standard_normal(WINDOW).astype(np.float32)
    heard = [placed(gain * chirp, at) + hiss for gain, at in ((1, 100), (0.1, 9000), (-0.3, 15_000))]
    _, found = run(tmp_path, rate, *heard)
    assert found == pytest.approx([played_db, played_db - 20, played_db - 10.5], abs=1)


def test_what_a_room_makes_of_an_echo_is_still_one(tmp_path: Path) -> None:
    """Reflections that fade over 0.2 s, a loudspeaker that has no bass, and a fan."""
    chirp, _ = run(tmp_path, RATE)
    played_db = 10 * np.log10(np.mean(chirp**2))
    tail = np.exp(-np.arange(RATE // 5) / (RATE / 30)) * CHANCE.standard_normal(RATE // 5) * 0.1
    tail[0] = 1
    room = np.convolve(placed(0.2 * chirp, 4000), tail)[:WINDOW].astype(np.float32)
    fan = 0.005 * CHANCE.standard_normal(WINDOW).astype(np.float32)
    _, found = run(tmp_path, RATE, room + fan)
    assert found[0] == pytest.approx(played_db - 14, abs=10)


def test_voices_and_noise_and_silence_are_none(tmp_path: Path) -> None:
    text = "Is there anybody who can hear me, or is it me who hears nobody?"
    voices = [say(text, voice) for voice in ("en-gb", "en-us+f3")]
    pieces = [voice[at : at + WINDOW] for voice in voices for at in range(0, len(voice) - WINDOW, WINDOW)]
    fan = CHANCE.standard_normal(WINDOW).astype(np.float32)
    hum = np.sin(np.arange(WINDOW) * 2 * np.pi * 1000 / RATE).astype(np.float32)
    _, found = run(tmp_path, RATE, *pieces, fan, hum, np.zeros(WINDOW, np.float32))
    assert len(pieces) >= 6
    assert set(found) == {NONE_DB}
