"""STUN and TURN as a speaker's browser is told of them."""

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from rostra.kernel.errors import OperatorError
from rostra.ops import config
from rostra.studio import ice
from rostra.studio.ice import Servers
from rostra.studio.io.asgi import make_app
from rostra.studio.io.desk import Created, Desk
from support.studio import Client, Clock

STUN = "stun:turn.example.org:3478"
TURN = ("turn:turn.example.org", "turns:turn.example.org:443?transport=tcp")
OFFER = (Path(__file__).parents[1] / "stage/offers/chromium.sdp").read_bytes()


@pytest.fixture
def studio(desk: Desk) -> Client:
    return Client(make_app(desk, relays=Servers((STUN,), TURN, "north")))


def test_a_credential_is_what_coturn_computes_from_the_same_secret() -> None:
    """The value is OpenSSL's: printf 1433895918:abc | openssl dgst -sha1 -hmac north -binary | base64."""
    name, password = ice.credential("north", "abc", 1433895918)
    assert (name, password) == ("1433895918:abc", "Hqb3YUQqQkHx7DzWLHsKzGfDJoA=")
    assert base64.b64decode(password) == hmac.digest(b"north", name.encode(), hashlib.sha1)


def test_a_speaker_is_told_of_the_servers_and_a_stranger_is_not(
    studio: Client, stranger: Client, created: Created, clock: Clock
) -> None:
    path = f"/api/v1/spaces/{created.space.id}/ice"
    told = studio.as_link(created.links["speaker"])("GET", path).json()
    stun, turn = told["ice_servers"]
    assert stun["urls"] == [STUN]
    assert turn["urls"] == list(TURN)
    expires_s = int(turn["username"].partition(":")[0])
    assert expires_s == clock.now_ns // 10**9 + ice.CREDENTIAL_S
    assert turn["credential"] == ice.credential("north", turn["username"].partition(":")[2], expires_s)[1]
    assert told["expires_at"].endswith("Z")
    assert studio("GET", path).status_code == 401
    assert stranger.as_link(created.links["speaker"])("GET", path).json() == {"ice_servers": [], "expires_at": None}


def test_whip_answers_carry_the_same_in_link_headers(
    studio: Client, desk: Desk, created: Created, processes: Any
) -> None:
    processes(desk.folder(created.space.id).stage_sock, lambda _request: {"session": "s1", "sdp": "v=0\r\n"})
    speaker, path = studio.as_link(created.links["speaker"]), f"/whip/{created.space.id}"
    made = speaker("POST", path, content=OFFER, headers={"content-type": "application/sdp"})
    for response in (made, speaker("OPTIONS", path)):
        stun, *turns = response.headers.get_list("link")
        assert stun == f'<{STUN}>; rel="ice-server"'
        assert [link.partition(";")[0] for link in turns] == [f"<{url}>" for url in TURN]
        assert all('; rel="ice-server"; username="' in link for link in turns)
        assert all(link.endswith('="; credential-type="password"') for link in turns)
    assert made.headers["access-control-expose-headers"] == "Location, ETag, Link"


def test_a_preflight_and_a_foreign_link_get_no_credential(studio: Client, created: Created) -> None:
    path = f"/whip/{created.space.id}"
    for client in (studio, studio.as_link("x#forged")):
        asked = client("OPTIONS", path)
        assert asked.status_code == 204
        assert asked.headers.get_list("link") == [f'<{STUN}>; rel="ice-server"']


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", ()),
        ("turn.example.org", ("turn:turn.example.org",)),
        ("turn:a:3478, turns:b:443?transport=tcp\n[2001:db8::1]:1", None),
        ("192.0.2.7:3478?transport=udp", ("turn:192.0.2.7:3478?transport=udp",)),
    ],
)
def test_servers_may_be_written_short(text: str, urls: tuple[str, ...] | None) -> None:
    expected = ("turn:a:3478", "turns:b:443?transport=tcp", "turn:[2001:db8::1]:1") if urls is None else urls
    assert ice.read_urls(text, "turn") == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stun": "turn:a"}, "stun: “turn:a” is not"),
        ({"stun": "stun:a?transport=udp"}, "is not the address of a STUN server"),
        ({"turn": "http://a"}, "is not the address of a TURN server"),
        ({"turn": "turn:a:70000"}, "is not the address of a TURN server"),
        ({"turn": 'turn:a">;x'}, "is not the address of a TURN server"),
        ({"turn": "turn:a"}, "turn_secret is not set"),
        ({"udp_ports": "50000"}, "is not a range of ports"),
        ({"udp_ports": "500-600"}, "is not a range of ports"),
        ({"udp_ports": "60000-50000"}, "is not a range of ports"),
        ({"udp_ports": "60000-70000"}, "is not a range of ports"),
        ({"public_address": "live.example.org"}, "is not an address that others can send to"),
        ({"public_address": "127.0.0.1"}, "is not an address that others can send to"),
        ({"public_address": "203.0.113.7,203.0.113.8"}, "more than one of a kind"),
    ],
)
def test_an_operator_s_mistake_is_named(tmp_path: Path, given: dict[str, str], sentence: str) -> None:
    with pytest.raises(OperatorError, match=sentence):
        config.load(tmp_path, **given)


def test_the_configuration_holds_the_secret_and_never_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTRA_TURN_SECRET", "north-wind")
    found = config.load(
        tmp_path, turn=TURN[0], stun=STUN, public_address="203.0.113.7, 2001:db8::7", udp_ports="50000-50100"
    )
    assert found.relays == Servers((STUN,), TURN[:1], "north-wind")
    assert found.public_addresses == ("203.0.113.7", "2001:db8::7")
    assert found.udp_ports == (50_000, 50_100)
    assert "north-wind" not in repr(found)


@pytest.mark.parametrize(
    ("given", "loopback", "addresses"),
    [
        ({}, True, ()),
        ({"public_url": "https://live.example.org"}, False, ()),
        ({"bind": "0.0.0.0"}, False, ()),
        ({"bind": "192.0.2.7"}, False, ("192.0.2.7",)),
    ],
)
def test_a_stage_uses_the_addresses_that_are_listened_on(
    tmp_path: Path, given: dict[str, str], loopback: bool, addresses: tuple[str, ...]
) -> None:
    stage = config.load(tmp_path, **given).stage
    assert (stage.loopback, stage.addresses) == (loopback, addresses)
