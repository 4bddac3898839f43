"""What port 80 answers."""

from rostra.tls.challenge import WELL_KNOWN, answer

HOME = "https://live.example.org"
ANSWERS = {"token": "token.thumbprint"}


def status(response: bytes) -> bytes:
    return response.split(b" ", 2)[1]


def test_the_authority_gets_its_answer_whatever_else() -> None:
    for certified in (False, True):
        said = answer("GET", WELL_KNOWN + "token", ANSWERS, HOME, certified=certified)
        assert status(said) == b"200"
        assert said.endswith(b"\r\n\r\ntoken.thumbprint")
        assert status(answer("GET", WELL_KNOWN + "other", ANSWERS, HOME, certified=certified)) == b"404"
        assert status(answer("GET", WELL_KNOWN + "../token", ANSWERS, HOME, certified=certified)) == b"404"


def test_people_are_sent_to_https_with_their_path() -> None:
    said = answer("GET", "/s/abc?rendition=aac", ANSWERS, HOME, certified=True)
    assert status(said) == b"307"
    assert b"\r\nLocation: https://live.example.org/s/abc?rendition=aac\r\n" in said


def test_nobody_is_sent_elsewhere() -> None:
    said = answer("GET", "//evil.example/x", ANSWERS, HOME, certified=True)
    assert b"\r\nLocation: https://live.example.org//evil.example/x\r\n" in said
    for target in ("http://evil.example/", "evil.example:443", "*"):
        assert status(answer("GET", target, ANSWERS, HOME, certified=True)) == b"400"


def test_without_a_certificate_people_are_asked_to_wait() -> None:
    said = answer("GET", "/", ANSWERS, HOME, certified=False)
    assert status(said) == b"503"
    assert b"\r\nRetry-After: 10\r\n" in said
    assert b"certificate" in said
    assert answer("HEAD", "/", ANSWERS, HOME, certified=False).endswith(b"\r\n\r\n")
