"""What stands before both ports: files that exist or not, and what is said about them."""

from datetime import timedelta
from pathlib import Path

import pytest

from rostra.ops import config, front
from support.certificates import Authority

NAME = "live.example.org"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def test_a_certificate_is_servable_while_browsers_would_take_it(authority: Authority, tmp_path: Path) -> None:
    pem = tmp_path / "tls" / front.CERTIFICATE
    assert not front.servable(pem, (NAME,)), "there is none"
    pem.parent.mkdir()
    authority.sign(pem, pem, NAME)
    assert front.servable(pem, (NAME,))
    assert not front.servable(pem, (NAME, "studio.example.org"))
    authority.sign(pem, pem, NAME, life=timedelta(seconds=-5))
    assert not front.servable(pem, (NAME,)), "it has run out"
    authority.sign(pem, tmp_path / "key.pem", NAME)
    assert not front.servable(pem, (NAME,)), "its key is not there"


def test_what_we_obtain_lies_in_the_data_directory_in_one_file(tmp_path: Path) -> None:
    told = config.load(tmp_path, acme_email="a@example.org", public_url=f"https://{NAME}")
    assert front.certificate_files(told) == (tmp_path / "tls" / "certificate.pem", None)


def test_a_certificate_that_browsers_will_refuse_is_pointed_out(authority: Authority, tmp_path: Path) -> None:
    pem = tmp_path / "c.pem"

    def said(**given: object) -> str:
        told = config.load(tmp_path, certificate="c.pem", audience_port=443, **given)
        front.check(told)
        return " ".join(front.notes(told))

    authority.sign(pem, pem, NAME)
    assert said(public_url=f"https://{NAME}") == ""
    assert "is for other names than live.example.com" in said(public_url="https://live.example.com")
    authority.sign(pem, pem, NAME, life=timedelta(seconds=-5))
    assert "has run out" in said(public_url=f"https://{NAME}")


def test_whoever_waits_for_a_first_certificate_is_told(tmp_path: Path) -> None:
    told = config.load(tmp_path, acme_email="a@example.org", public_url=f"https://{NAME}", audience_port=443)
    front.check(told)
    assert "No certificate for live.example.org yet" in front.notes(told)[0]
