"""The system clock steps, before air and on air: the timeline never moves, the start follows the clock."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Server, serving, speaking, wait_for
from support.stranger import Stranger

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


class Clock:
    """The wall clock of the programs that run under libfaketime; their monotonic clock is the machine's."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)
        found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
        if not found or shutil.which("faketime") is None:
            pytest.fail("faketime is not installed: `sh tests/needs.sh` installs what the tests drive")
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).parents[1] / "support" / "faketime"),
            "ROSTRA_ISOLATION": "off",  # a confined process may not read libfaketime's file, and would know no step
        }

    def step(self, seconds: int) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.replace(self._file)


@pytest.fixture
def stepping(tmp_path: Path) -> Iterator[tuple[Server, Clock]]:
    clock = Clock(tmp_path / "clock")
    with serving(tmp_path / "data", **clock.environment) as server:
        yield server, clock


def test_a_step_moves_the_start_before_air_and_nothing_on_air(
    stepping: tuple[Server, Clock], voices: dict[str, Path]
) -> None:
    server, clock = stepping
    space = server.create(starts_in_s=70, doors_s=65)
    space.await_state("doors_open")
    with Stranger(space.url) as listener, speaking(space, voices["Voice A"], "Voice A"):
        space.await_seats("Voice A")
        space.arm("Voice A")
        began = time.monotonic()
        clock.step(+40)
        space.await_state("on_air", 40)
        assert time.monotonic() - began < 35, "the start came when the stepped clock said so"
        on_air = next(entry for entry in space.journal() if entry["state"] == "on_air")
        assert 0 <= on_air["on_air_offset_ms"] < 20
        for step in (0, 3600, -3600):
            clock.step(step)
            listener.await_fragments(3)
        assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1)), "no hole, no repeat"
        assert listener.longest_wait_s() < 1.6, "no fragment came late or early"
        wait_for(lambda: space.journal()[-1]["state"] == "on_air", 5)
