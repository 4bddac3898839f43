"""Wrong use gets a sentence, the exit code that DESIGN 15 promises, and changes nothing."""

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rostra.ops import cli
from support.certificates import Authority
from support.server import free_port, in_seconds

TITLE = ["--title", "A talk"]


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line inside this process."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["rostra", *arguments])
        monkeypatch.setattr(cli.logs, "configure", lambda _role: None)  # it is for the life of a process
        monkeypatch.setattr(cli, "progress", cli.Console(stderr=True, highlight=False, width=200))
        with pytest.raises(SystemExit) as left:
            cli.main()
        code = left.value.code
        out, err = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["space", "create", *TITLE, "--starts-at", "2001-01-01T00:00:00Z"], 2, "is in the past"),
        (["space", "create", *TITLE, "--starts-at", "2999-01-01T00:00:00Z"], 2, "more than a year away"),
        (["space", "create", *TITLE, "--starts-at", "2027-03-01T20:00:00"], 2, "does not say which time zone"),
        (["space", "create", *TITLE, "--starts-at", "tomorrow"], 2, "is not a date and time"),
        (["space", "create", "--title", " ", "--starts-at", in_seconds(3600)], 2, "needs a title"),
        (["space", "create", *TITLE, "--starts-at", in_seconds(3600), "--doors", "soon"], 2, "not a length of time"),
        (["space", "create", *TITLE, "--starts-at", in_seconds(3600), "--recording", "maybe"], 2, "ecording"),
        (["space", "show", "nosuch"], 2, "no Space"),
        (["space", "show", "../../etc"], 2, "no Space"),
        (["space", "end", "nosuch"], 2, "no Space"),
    ],
)
def test_a_wrong_command_is_refused_in_words(
    run: Run, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    done = run(*arguments, "--data", str(tmp_path))
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    listed = json.loads(run("space", "list", "--json", "--data", str(tmp_path)).stdout)
    assert listed == {"spaces": []}, "nothing was changed"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["speak", "http://localhost:1/#nonsense", "x.wav"], 2, "not a speaker's link"),
        (["listen", "ftp://localhost/s/abc"], 2, ""),
        (["listen", f"http://127.0.0.1:{free_port()}/s/abc", "--for", "1s"], 3, ""),
        (["listen", "http://localhost/s/abc", "--surface", "smoke"], 2, "no surface named smoke"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_clients_say_what_is_wrong(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bind", "0.0.0.0"], "0.0.0.0 can be reached from other machines"),
        (["--bind", "::", "--public-url", "https://live.example.org"], "--terminator"),
        (["--public-url", "https://live.example.org"], "nothing that was declared makes it"),
        (["--certificate", "none.pem"], "none.pem cannot be read"),
        (["--acme-email", "a@b.example"], "A certificate needs a name"),
        (["--terminator", "the proxy"], "from where the terminator speaks"),
    ],
)
def test_what_is_not_safe_is_not_served(run: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    data = tmp_path / "data"
    done = run("serve", "--data", str(data), *arguments)
    assert done.returncode == 3, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not data.exists(), "nothing was begun"


def test_a_certificate_that_does_not_do_is_refused_before_anything_starts(run: Run, tmp_path: Path) -> None:
    made, other = Authority(tmp_path / "a"), tmp_path / "other.pem"
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.sign(certificate, key, "localhost")
    made.sign(tmp_path / "c2.pem", other, "localhost")
    text = tmp_path / "letter.pem"
    text.write_text("Dear all,")
    for pair, said in (
        ((certificate, other), "MISMATCH"),
        ((text, text), "letter.pem"),
        ((certificate, text), "letter"),
    ):
        told = ["--certificate", str(pair[0]), "--certificate-key", str(pair[1])]
        done = run("serve", "--data", str(tmp_path / "data"), *told)
        assert done.returncode == 3, done.stderr
        assert said in done.stderr


def test_a_file_that_is_not_audio_is_refused_before_anyone_is_disturbed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear all,")
    link = "http://localhost:1/#e30.eyJzcGFjZSI6ImFiY2QxMjM0In0.x"
    done = run("speak", link, str(file))
    assert done.returncode == 2, done.stderr
    assert "letter.txt" in done.stderr
    missing = run("speak", link, str(tmp_path / "none.wav"))
    assert missing.returncode == 2, missing.stderr


def test_every_command_has_help_with_an_example(run: Run) -> None:
    for command in (
        ["serve"],
        ["demo"],
        ["speak"],
        ["listen"],
        ["ports"],
        ["doctor"],
        *(["space", v] for v in ("create", "list", "show", "end")),
    ):
        done = run(*command, "--help")
        assert done.returncode == 0
        assert "Example" in done.stdout


def test_ports_says_what_to_open_and_doctor_how_the_machine_is(run: Run, tmp_path: Path) -> None:
    given = ["--data", str(tmp_path), "--studio-port", str(free_port()), "--audience-port", str(free_port())]
    far = ["--bind", "127.0.0.2", "--udp-ports", "40000-40100"]
    done = run("ports", *given, *far, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if told["ok"] else 1)
    assert [one["what"] for one in told["open"]] == ["studio", "audience", "stage"]
    assert {finding["check"] for finding in told["findings"]} == {"tcp", "udp", "stun", "turn"}
    assert "ufw allow 40000:40100/udp" in run("ports", *given, *far, "--for", "ufw").stdout
    assert run("ports", *given, "--for", "carrier-pigeons").returncode == 2
    done = run("doctor", *given, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if told["ok"] else 1)
    assert {"tcp", "udp", "stun", "turn", "clock", "limits", "space"} <= {one["check"] for one in told["findings"]}
    assert not list(tmp_path.iterdir()), "looking changes nothing"


def test_the_doctor_s_verdict_is_the_exit_code(run: Run, tmp_path: Path) -> None:
    port = free_port()
    given = ["--data", str(tmp_path), "--studio-port", str(port), "--audience-port", str(free_port())]
    with socket.create_server(("127.0.0.1", port)):
        done = run("doctor", *given)
    assert done.returncode == 1
    assert f"fault    tcp        TCP {port} (studio)" in done.stdout
