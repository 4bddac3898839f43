"""Which configuration may be served, and what is said where not."""

import pytest

from rostra.kernel.errors import OperatorError
from rostra.tls import protection
from rostra.tls.protection import Protection, Way

FILES = Protection(certificate="/c.pem", certificate_key="/k.pem")
ACME = Protection(acme_email="you@example.org")
PROXY = Protection(terminator=protection.networks("127.0.0.1, 10.1.0.0/16"))
REMOTE = Protection(terminator=protection.networks("10.0.0.5"))
PLAIN = Protection()
HTTPS = "https://live.example.org"


@pytest.mark.parametrize(
    ("told", "bind", "public_url"),
    [
        (PLAIN, "127.0.0.1", ""),
        (PLAIN, "127.9.9.9", ""),
        (PLAIN, "::1", ""),
        (PLAIN, "localhost", ""),
        (FILES, "0.0.0.0", ""),
        (FILES, "0.0.0.0", HTTPS),
        (FILES, "127.0.0.1", ""),
        (ACME, "0.0.0.0", HTTPS),
        (ACME, "::", "https://live.example.org:8001"),
        (PROXY, "127.0.0.1", HTTPS),
        (PROXY, "0.0.0.0", HTTPS),
        (REMOTE, "10.0.0.4", HTTPS),
    ],
)
def test_what_is_protected_or_reaches_nobody_is_served(told: Protection, bind: str, public_url: str) -> None:
    protection.check(told, bind, public_url)


@pytest.mark.parametrize(
    ("told", "bind", "public_url", "code", "said"),
    [
        (PLAIN, "0.0.0.0", "", "bind.unprotected", "0.0.0.0 can be reached from other machines"),
        (PLAIN, "::", "", "bind.unprotected", "--terminator"),
        (PLAIN, "192.0.2.7", HTTPS, "bind.unprotected", "--certificate"),
        (PLAIN, "studio.lan", "", "bind.unprotected", "--acme-email"),
        (PLAIN, "::ffff:192.0.2.7", "", "bind.unprotected", "microphone"),
        (PLAIN, "127.0.0.1", HTTPS, "tls.undeclared", "--terminator"),
        (FILES, "0.0.0.0", "http://live.example.org", "tls.scheme", "--public-url https://live.example.org"),
        (ACME, "0.0.0.0", "http://live.example.org", "tls.scheme", "plain HTTP"),
        (ACME, "0.0.0.0", "", "tls.name", "--public-url"),
        (ACME, "0.0.0.0", "https://192.0.2.7", "tls.name", "192.0.2.7"),
        (ACME, "0.0.0.0", "https://[2001:db8::7]", "tls.name", "2001:db8::7"),
        (ACME, "0.0.0.0", "https://localhost", "tls.name", "localhost"),
        (PROXY, "127.0.0.1", "", "tls.public_url", "--public-url"),
        (PROXY, "127.0.0.1", "http://live.example.org", "tls.public_url", "--public-url"),
        (REMOTE, "127.0.0.1", HTTPS, "tls.terminator", "--bind"),
        (Protection(certificate_key="/k.pem"), "0.0.0.0", "", "tls.incomplete", "--certificate"),
        (Protection(certificate="/c.pem", acme_email="a@b.c"), "0.0.0.0", HTTPS, "tls.ambiguous", "acme_email"),
        (Protection(certificate="/c.pem", terminator=PROXY.terminator), "::1", HTTPS, "tls.ambiguous", "terminator"),
    ],
)
def test_what_is_not_is_refused_with_the_reason_and_what_to_do(
    told: Protection, bind: str, public_url: str, code: str, said: str
) -> None:
    with pytest.raises(OperatorError) as refused:
        protection.check(told, bind, public_url)
    assert refused.value.code == code
    assert said in str(refused.value)
    assert refused.value.hint
    assert refused.value.exit_code == 3


def test_the_studios_own_address_follows_the_same_rules() -> None:
    with pytest.raises(OperatorError, match="--studio-url https://studio"):
        protection.check(FILES, "0.0.0.0", HTTPS, "http://studio.example.org")
    with pytest.raises(OperatorError, match=r"192\.0\.2\.7"):
        protection.check(ACME, "0.0.0.0", HTTPS, "https://192.0.2.7:8000")


def test_who_ends_tls() -> None:
    assert [told.way for told in (PLAIN, FILES, ACME, PROXY)] == [Way.PLAIN, Way.FILES, Way.ACME, Way.TERMINATOR]
    assert [told.scheme for told in (PLAIN, FILES, ACME, PROXY)] == ["http", "https", "https", "http"]


def test_addresses_of_a_terminator() -> None:
    assert [str(network) for network in PROXY.terminator] == ["127.0.0.1/32", "10.1.0.0/16"]
    assert protection.networks("") == ()
    for wrong in ("proxy.lan", "10.0.0.1/8", "300.1.1.1"):
        with pytest.raises(OperatorError, match="from where the terminator speaks"):
            protection.networks(wrong)


def test_whoever_does_not_come_from_the_terminator_is_a_stranger() -> None:
    for known in ("127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"):
        assert protection.admits(PROXY.terminator, known)
    for strange in ("127.0.0.2", "10.2.0.1", "::1", "fe80::1%eth0", "::ffff:192.0.2.7"):
        assert not protection.admits(PROXY.terminator, strange)


def test_a_port_that_goes_without_saying_is_not_said() -> None:
    assert protection.origin("https", "a.example", 443) == "https://a.example"
    assert protection.origin("https", "a.example", 8001) == "https://a.example:8001"
    assert protection.origin("http", "[::1]", 80) == "http://[::1]"
    assert protection.origin("http", "a.example", 443) == "http://a.example:443"


def test_what_may_surprise_is_noted() -> None:
    assert protection.notes(PLAIN, HTTPS, 8001) == []
    assert protection.notes(FILES, HTTPS, 443) == []
    assert "--audience-port 443" in protection.notes(FILES, HTTPS, 8001)[0]
    moved = Protection(acme_email="a@b.c", acme_port=8080)
    assert "8080" in protection.notes(moved, HTTPS, 443)[0]
