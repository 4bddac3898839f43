"""What a speaker without a browser reads: its link, and its file."""

import asyncio
import base64
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from rostra.ear.io.speak import publish, read_audio, read_link
from rostra.kernel.errors import PeerError


def token(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.sig"


def wav(path: Path, rate: int, channels: int, seconds: float) -> Path:
    at = np.arange(int(rate * seconds)) / rate
    tone = (np.sin(2 * np.pi * 440 * at) * 8000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(tone, channels).tobytes())
    return path


def test_a_link_names_the_studio_the_space_and_the_right() -> None:
    right = token(space="late-show", role="speaker")
    assert read_link(f"http://host:8000/#{right}") == ("http://host:8000/whip/late-show", right)
    assert read_link(f"https://host/rostra/#{right}")[0] == "https://host/rostra/whip/late-show"


@pytest.mark.parametrize(
    "link",
    [
        "",
        "http://host:8000/",
        "http://host:8000/#nonsense",
        "http://host:8000/#a.b.c",
        f"http://host:8000/#{token(role='owner')}",
        f"http://host:8000/#{token(space='../x')}",
        f"http://host:8000/#{token(space=7)}",
        f"ftp://host:8000/#{token(space='late-show')}",
    ],
)
def test_what_is_no_link_is_said_to_be_none(link: str) -> None:
    with pytest.raises(PeerError) as refused:
        read_link(link)
    assert refused.value.code == "link.malformed"


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (44_100, 2), (16_000, 1)])
def test_any_file_is_read_as_frames_of_20_ms(tmp_path: Path, rate: int, channels: int) -> None:
    frames = list(read_audio(wav(tmp_path / "a.wav", rate, channels, 0.51)))
    assert {frame.shape for frame in frames} == {(960,)}
    assert len(frames) == 26
    spectrum = np.abs(np.fft.rfft(np.concatenate(frames)[:24_000]))
    assert np.argmax(spectrum) == 220  # bins of 2 Hz


@pytest.mark.parametrize("content", [None, b"", b"no audio at all"])
def test_a_file_without_audio_is_refused_before_anything_is_sent(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PeerError) as refused:
        asyncio.run(publish("http://127.0.0.1:1/whip/x", "t", file, for_s=1))
    assert refused.value.code == "file.unreadable"
