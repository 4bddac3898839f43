"""`rostra demo`: one whole Space by itself, as a script sees it."""

import json
from pathlib import Path

from support.server import free_port, run


def test_the_demonstration_holds_a_whole_space_and_says_so_in_one_line(tmp_path: Path) -> None:
    ports = ["--studio-port", str(free_port()), "--audience-port", str(free_port())]
    done = run("demo", "--for", "45s", "--json", "--data", str(tmp_path), *ports, timeout_s=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {
        "id",
        "on_air_offset_ms",
        "fragments",
        "gaps",
        "delay_ms_p50",
        "delay_ms_p95",
        "recording_s",
        "audience_url",
    }
    assert 0 <= found["on_air_offset_ms"] < 20, "within one frame of the announced instant"
    assert found["gaps"] == 0
    assert found["fragments"] > 30
    assert 14 < found["recording_s"] < 25
    assert 0 < found["delay_ms_p50"] <= found["delay_ms_p95"] < 5000
