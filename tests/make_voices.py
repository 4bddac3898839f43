"""Make the two voices of `rostra demo` anew: `.venv/bin/python tests/make_voices.py`.

Two people who do not exist talk about Rostra. Each file holds one of them, silent while the other speaks; both are of
the same length, so that they stay in turn when they loop. Wants espeak-ng and ffmpeg.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from support.voices import Samples, normalised, say, silence, write_wav

FOLDER = Path(__file__).parent.parent / "src/rostra/ops/voices"
VOICES = {"ada": ("en-us+f3", 172), "ben": ("en-gb", 160)}
PAUSE_S = 0.45
BYTES_MAX = 150_000

CONVERSATION = (
    ("ada", "Good evening. This is voice A."),
    ("ben", "And this is voice B. Neither of us is a person. We were made by a speech synthesiser."),
    ("ada", "We are on a stage, and you are in the audience. There may be one of you, or very many."),
    ("ben", "For us it makes no difference. What we say is mixed once, encoded once, and kept in a file."),
    ("ada", "So a listener is only a place in that file, and the operating system does the carrying."),
    ("ben", "The talk began at the announced instant. Before that you heard music, on the very same path."),
    ("ada", "If both of us disappeared, the music would come back, and you would be told why."),
    ("ben", "And when it is over, this link does not change. It becomes the recording."),
    ("ada", "Shall we begin again?"),
    ("ben", "Gladly."),
)


def arrange() -> dict[str, Samples]:
    """Both voices on one timeline."""
    spoken = [(who, say(text, *VOICES[who])) for who, text in CONVERSATION]
    tracks: dict[str, list[Samples]] = {who: [] for who in VOICES}
    for who, turn in spoken:
        for name, track in tracks.items():
            track += [turn if name == who else np.zeros_like(turn), silence(PAUSE_S)]
    return {who: normalised(np.concatenate(track)) for who, track in tracks.items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for who, samples in arrange().items():
        wav, ogg = write_wav(FOLDER / f"{who}.wav", samples), FOLDER / f"{who}.ogg"
        codec = ["-c:a", "libopus", "-b:a", "24k", "-application", "voip", "-ac", "1"]
        plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags", "+bitexact"]
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(wav), *codec, *plain, str(ogg)], check=True)
        wav.unlink()
        assert ogg.stat().st_size <= BYTES_MAX, f"{ogg} is too large"
        print(f"{ogg}: {len(samples) / 48_000:.1f} s, {ogg.stat().st_size} bytes")


if __name__ == "__main__":
    main()
