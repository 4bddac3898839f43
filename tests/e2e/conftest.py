"""What the end-to-end tests stand on: voices that a machine speaks, and a server with a Space that is on air."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, sync_playwright

from support.server import Server, Space, serving, speaking, wait_for
from support.voices import make_voice

TEXT_A = "This is the first voice. It speaks about the weather, the harbour, and the ships that come in at night."
TEXT_B = "And here is another one, higher and quicker, who answers and asks whether anybody can hear all of that."


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two voices, mono 48 kHz WAV, by name."""
    folder = tmp_path_factory.mktemp("voices")
    found = {"Voice A": folder / "a.wav", "Voice B": folder / "b.wav"}
    make_voice(found["Voice A"], TEXT_A, "en-gb", 150)
    make_voice(found["Voice B"], TEXT_B, "en-us+f3", 180)
    return found


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright keeps an event loop running on this thread: it may not outlive the module that drives browsers."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def on_air(server: Server, voices: dict[str, Path]) -> Iterator[Space]:
    """A Space on air with two voices that talk without end."""
    space = server.create(starts_in_s=14, doors_s=12)
    wait_for(lambda: server.starts(f"stage-{space.id}"), 10, "the stage")
    with speaking(space, voices["Voice A"], "Voice A"), speaking(space, voices["Voice B"], "Voice B"):
        space.await_seats("Voice A", "Voice B")
        space.arm("Voice A", "Voice B")
        space.await_state("on_air")
        yield space
