"""TURN servers from the operator's configuration to a speaker's program, and their secret nowhere on the way."""

from pathlib import Path

from rostra.studio import ice
from support.server import serving

TURN = "turns:turn.example.org:443?transport=tcp"
SECRET = "a-north-wind"


def test_a_configured_relay_reaches_speakers_and_its_secret_stays_with_the_studio(tmp_path: Path) -> None:
    with serving(tmp_path / "data", ROSTRA_TURN=TURN, ROSTRA_TURN_SECRET=SECRET) as server:
        space = server.create(starts_in_s=3600, doors_s=60)
        token = space.links["speaker"].partition("#")[2]
        (told,) = server.ask("GET", f"/api/v1/spaces/{space.id}/ice", token=token)["ice_servers"]
        assert told["urls"] == [TURN]
        expires, _, holder = told["username"].partition(":")
        assert told["credential"] == ice.credential(SECRET, holder, int(expires))[1]
        studio, others = server.pid("studio"), [server.pid(job) for job in ("keeper", "worker-0", "worker-1")]
        for pid in (studio, *others):
            assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in others:
            assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert SECRET not in server.log_path.read_text()
