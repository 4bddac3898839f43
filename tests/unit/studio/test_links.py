"""Links: what is given comes back; what was tampered with, has run out or was taken back does not."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from rostra.kernel.errors import PeerError
from rostra.kernel.units import SECOND_NS
from rostra.space.grants import Grant, Role
from rostra.store.people import Link
from rostra.studio import links

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
T = 1_800_000_000 * SECOND_NS
GRANT = Grant("l1", Role.HOST, "abc")
TOKEN = links.issue(KEY, GRANT)


def refused(token: str, now_ns: int = T, key: bytes = KEY) -> str:
    with pytest.raises(PeerError) as caught:
        links.read(key, token, now_ns)
    assert caught.value.sentence
    assert caught.value.hint
    return caught.value.code


def part(claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def signed(**claims: object) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(KEY))


@given(st.builds(Grant, st.text(max_size=32), st.sampled_from(Role), st.text(max_size=32)))
def test_what_is_issued_is_read(grant: Grant) -> None:
    assert links.read(KEY, links.issue(KEY, grant), T) == grant


def test_the_same_link_always_has_the_same_token() -> None:
    assert links.issue(KEY, GRANT) == TOKEN


def test_a_link_holds_until_the_second_it_expires() -> None:
    token = links.issue(KEY, GRANT, T)
    assert links.read(KEY, token, T - SECOND_NS) == GRANT
    assert refused(token, T + SECOND_NS) == "link.expired"


def test_another_installation_s_link_is_forged() -> None:
    assert refused(links.issue(OTHER, GRANT)) == "link.forged"


def test_changed_claims_are_forged() -> None:
    head, _, signature = TOKEN.split(".")
    assert refused(f"{head}.{part({'v': 1, 'lid': 'l1', 'role': 'owner', 'space': ''})}.{signature}") == "link.forged"


@pytest.mark.parametrize("algorithm", ["none", "HS512", "RS256"])
def test_the_token_does_not_choose_the_algorithm(algorithm: str) -> None:
    _, claims, signature = TOKEN.split(".")
    for end in (signature, ""):
        assert refused(f"{part({'alg': algorithm})}.{claims}.{end}") in {"link.forged", "link.malformed"}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "a.b.c",
        "....",
        TOKEN[:-1][: len(TOKEN) // 2],
        "ü" * 20,
        TOKEN + "A" * 2000,
        signed(lid="l1", role="host", space="abc"),
        signed(v=2, lid="l1", role="host", space="abc"),
        signed(v=1, lid="l1", role="emperor", space="abc"),
        signed(v=1, lid=7, role="host", space="abc"),
        signed(v=1, lid="l1", role=["host"], space="abc"),
        signed(v=1, lid="l1", role="host", space="abc", exp="tomorrow"),
    ],
)
def test_what_is_no_link_is_malformed(token: str) -> None:
    assert refused(token) == "link.malformed"


@given(st.text(max_size=200) | st.text("abcXYZ019-_.=", max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    assert refused(text) in {"link.malformed", "link.forged"}


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_no_changed_character_gives_another_grant(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    found: Grant | None = None
    with suppress(PeerError):
        found = links.read(KEY, changed, T)
    assert found in (None, GRANT)


@pytest.mark.parametrize("link", [None, Link("l1", "abc", Role.HOST, "", T, revoked_ns=T)])
def test_a_link_that_the_store_does_not_hold_is_revoked(link: Link | None) -> None:
    with pytest.raises(PeerError) as caught:
        links.check(link)
    assert caught.value.code == "link.revoked"
    links.check(Link("l1", "abc", Role.HOST, "", T))
