"""Configuration: where a key comes from, and the addresses that are printed."""

from pathlib import Path

import pytest

from rostra.kernel.errors import OperatorError, PeerError
from rostra.ops import config
from rostra.ops.cli import seconds
from rostra.tls.protection import Way


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rostra.toml").write_text("studio_port = 1001\naudience_port = 1002\nworkers = 3\n")
    monkeypatch.setenv("ROSTRA_AUDIENCE_PORT", "2002")
    monkeypatch.setenv("ROSTRA_WORKERS", "4")
    found = config.load(tmp_path, workers=5, studio_port=None)
    assert (found.studio_port, found.audience_port, found.workers) == (1001, 2002, 5)


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "rostra.toml").write_text("studio_prot = 1001\n")
    with pytest.raises(OperatorError, match="studio_prot"):
        config.load(tmp_path)
    with pytest.raises(OperatorError, match="people can open"):
        config.load(tmp_path / "other", public_url="live.example.org")


@pytest.mark.parametrize(
    ("given", "audience", "studio"),
    [
        ({}, "http://localhost:8001", "http://localhost:8000"),
        ({"bind": "192.0.2.7"}, "http://192.0.2.7:8001", "http://192.0.2.7:8000"),
        ({"bind": "2001:db8::7"}, "http://[2001:db8::7]:8001", "http://[2001:db8::7]:8000"),
        (
            {"public_url": "https://live.example.org/"},
            "https://live.example.org",
            "https://live.example.org:8000",
        ),
        ({"certificate": "c.pem"}, "https://localhost:8001", "https://localhost:8000"),
        (
            {"certificate": "c.pem", "bind": "192.0.2.7", "audience_port": 443},
            "https://192.0.2.7",
            "https://192.0.2.7:8000",
        ),
        (
            {"public_url": "https://live.example.org:8001", "studio_url": "https://studio.example.org/"},
            "https://live.example.org:8001",
            "https://studio.example.org",
        ),
        ({"terminator": "127.0.0.1"}, "http://localhost:8001", "http://localhost:8000"),
    ],
)
def test_bind_and_public_url_are_honoured_in_printed_addresses(
    tmp_path: Path, given: dict[str, str], audience: str, studio: str
) -> None:
    found = config.load(tmp_path, **given)
    assert (found.audience_base, found.studio_base) == (audience, studio)


def test_the_file_names_a_certificate_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "rostra.toml").write_text('certificate = "c.pem"\ncertificate_key = "/etc/k.pem"\n')
    told = config.load(tmp_path).protection
    assert (told.certificate, told.certificate_key) == (str(tmp_path / "c.pem"), "/etc/k.pem")
    assert told.way is Way.FILES


def test_a_certificate_is_for_both_names(tmp_path: Path) -> None:
    given = {"public_url": "https://live.example.org", "studio_url": "https://studio.example.org:8000"}
    assert config.load(tmp_path, **given).names == ("live.example.org", "studio.example.org")
    assert config.load(tmp_path, public_url="https://live.example.org").names == ("live.example.org",)


def test_commands_on_the_same_folder_print_what_was_served(tmp_path: Path) -> None:
    served = config.load(tmp_path, audience_port=9001, studio_port=9000)
    config.remember(served)
    asked = config.load(tmp_path)
    assert config.addresses(asked, None) == ("http://localhost:9001", "http://localhost:9000")
    other = config.load(tmp_path, public_url="https://a.example")
    assert config.addresses(other, "https://a.example")[0] == "https://a.example"


def test_lengths_of_time() -> None:
    assert [seconds(text) for text in ("90", "90s", "1.5m", "2h", "250ms")] == [90, 90, 90, 7200, 0.25]
    with pytest.raises(PeerError, match="90s, 30m or 2h"):
        seconds("soon")


def test_every_key_is_documented_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs/3-operate/configuration.md").read_text()
    documented = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert documented == set(config.Keys.model_fields)
