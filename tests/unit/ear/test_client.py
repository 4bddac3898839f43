"""`listen` against a server that says what the test tells it to, with sound that FFmpeg made."""

import json
import socket
import time
import wave
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from rostra.ear.io.client import Sound, listen, live_url
from rostra.kernel.errors import OperatorError, PeerError, RostraError, Unavailable
from rostra.media.fragment import emsg, prft
from rostra.space.notices import SCHEME, encode
from support.server import free_port
from support.streams import END, LIVE, chunked, ffmpeg_stream, make_certificate, pieces, scripted

DELAY_MS = 700


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """Opus in fragments of exactly 0.64 s, and the last."""
    return pieces(ffmpeg_stream(tmp_path_factory.mktemp("opus") / "s.mp4", "libopus", "-ac", "1", seconds=6))


def timed(fragments: list[bytes], first: int = 0) -> list[bytes]:
    """With a `prft` each that says they were mixed `DELAY_MS` ago."""
    mixed = time.time_ns() - DELAY_MS * 1_000_000
    return [prft(first + k, mixed) + fragment for k, fragment in enumerate(fragments)]


def problem(status: int, headers: str = "", **document: object) -> bytes:
    body = json.dumps({"type": "about:blank", "status": status, **document}).encode()
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def notice(kind: str, **facts: object) -> bytes:
    return emsg(0, 1, SCHEME, encode(kind, **facts))


def test_a_whole_programme_is_heard_measured_and_kept(stream: tuple[bytes, list[bytes]], tmp_path: Path) -> None:
    init, fragments = stream

    def answer(_request: bytes) -> bytes:
        body = chunked(init, *timed(fragments), notice("count", listeners=3), notice("end", state="ended"))
        return LIVE + body + END

    heard: list[Sound] = []
    with scripted(answer) as server:
        result = listen(f"{server.base}/s/abcd", rendition="opus", out=tmp_path / "heard.wav", on_sound=heard.append)
    assert server.requests[0].startswith(b"GET /s/abcd/live?rendition=opus HTTP/1.1\r\n")
    report = result.report
    assert (report.fragments, report.gaps, report.ended) == (len(fragments), 0, True)
    assert DELAY_MS <= (report.delay_ms_p50 or 0) < DELAY_MS + 1000
    assert 0 < (report.first_audio_ms or 0) < 2000
    assert report.loudness_lufs == pytest.approx(-21.8, abs=1)  # lavfi's sine: 1/8, which is -18 dBFS
    assert [each["type"] for each in result.notices] == ["count", "end"]
    assert [each.fragment.sequence for each in heard] == list(range(1, len(fragments) + 1))
    with wave.open(str(tmp_path / "heard.wav")) as file:
        assert file.getnframes() == sum(len(each.samples) for each in heard)
        assert (file.getframerate(), file.getnchannels()) == (48_000, 1)


def test_the_bytes_are_kept_as_they_came(stream: tuple[bytes, list[bytes]], tmp_path: Path) -> None:
    init, fragments = stream
    with scripted(LIVE + chunked(init, *fragments) + END, problem(404)) as server:
        listen(f"{server.base}/s/abcd", out=tmp_path / "heard.mp4")
    assert (tmp_path / "heard.mp4").read_bytes() == init + b"".join(fragments)


def test_a_connection_that_breaks_is_not_the_end(stream: tuple[bytes, list[bytes]]) -> None:
    init, fragments = stream
    with scripted(LIVE + chunked(init, *fragments[:3]) + b"999\r\nhalf a") as server:
        report = listen(f"{server.base}/s/abcd").report
    assert (report.fragments, report.ended, report.gaps) == (3, False, 0)


@pytest.mark.parametrize(("state", "ended"), [("on_air", False), ("replay", True)])
def test_a_clean_end_means_ask_for_the_state(stream: tuple[bytes, list[bytes]], state: str, ended: bool) -> None:
    init, fragments = stream
    with scripted(LIVE + chunked(init, *fragments[:2]) + END, problem(200, state=state)) as server:
        report = listen(f"{server.base}/s/abcd").report
        assert report.ended == ended
    assert server.requests[1].startswith(b"GET /s/abcd/state.json ")


def test_who_comes_back_drops_what_they_have_and_misses_nothing(
    stream: tuple[bytes, list[bytes]], tmp_path: Path
) -> None:
    init, fragments = stream
    first = LIVE + chunked(init, *fragments[:3]) + b"5\r\n"
    second = LIVE + chunked(init, *fragments[2:], notice("end", state="ended")) + END
    with scripted(first, problem(503, "Retry-After: 1\r\n"), second) as server:
        result = listen(f"{server.base}/s/abcd", reconnect=True, out=tmp_path / "heard.mp4")
    assert (result.report.fragments, result.report.gaps, result.report.ended) == (len(fragments), 0, True)
    assert result.connections == 2
    assert (tmp_path / "heard.mp4").read_bytes() == init + b"".join(fragments)


def test_a_hole_is_a_gap_told_or_not_and_kept_as_silence(stream: tuple[bytes, list[bytes]], tmp_path: Path) -> None:
    init, fragments = stream
    body = chunked(init, fragments[0], fragments[1], notice("gap", **{"from": 2, "to": 4}), *fragments[4:])
    with scripted(LIVE + body + END, problem(404)) as server:
        result = listen(f"{server.base}/s/abcd", out=tmp_path / "heard.wav")
    assert (result.report.gaps, result.report.gap_ms_total) == (1, 1280.0)
    assert not result.report.holds
    with wave.open(str(tmp_path / "heard.wav")) as file:
        file.setpos(2 * 30_720)
        assert set(file.readframes(2 * 30_720)) == {0}


def test_sound_that_turns_to_rubbish_is_a_fault_of_the_space(stream: tuple[bytes, list[bytes]]) -> None:
    init, fragments = stream
    with scripted(LIVE + chunked(init, *fragments[:2], b"\0\0\0\7junk")) as server:
        report = listen(f"{server.base}/s/abcd").report
    assert report.fragments == 2
    assert "fragmented MP4" in report.faults[0]
    assert not report.holds


def test_listening_stops_when_its_time_is_over(stream: tuple[bytes, list[bytes]]) -> None:
    init, fragments = stream

    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, answers, and then says nothing for ever

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(LIVE + chunked(init, fragments[0]))
                assert connection.recv(1) == b""

        thread = Thread(target=serve)
        thread.start()
        report = listen(f"http://127.0.0.1:{listener.getsockname()[1]}/s/abcd", for_s=0.7).report
        thread.join(10)
    assert (report.fragments, report.ended, report.faults) == (1, False, [])


@pytest.mark.parametrize(
    ("answer", "kind", "code", "sentence"),
    [
        (problem(404, title="There is no Space “abcd”."), PeerError, "listen.unknown", "no Space"),
        (problem(410), Unavailable, "listen.over", "has ended"),
        (problem(503, "Retry-After: 7\r\n"), Unavailable, "listen.not_yet", "Come back in 7 s"),
        (problem(500), Unavailable, "listen.refused", "500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", PeerError, "http.malformed", "not HTTP"),
        (b"", Unavailable, "listen.no_answer", "Nothing answers"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            PeerError,
            "listen.not_sound",
            "text/html",
        ),
        (LIVE + chunked(b"\0\0\0\7junk"), PeerError, "media.malformed", "fragmented MP4"),
    ],
)
def test_whoever_cannot_listen_is_told_why(answer: bytes, kind: type[RostraError], code: str, sentence: str) -> None:
    with scripted(answer) as server, pytest.raises(kind, match=sentence) as raised:
        listen(f"{server.base}/s/abcd")
    assert raised.value.code == code


def test_nobody_there() -> None:
    with pytest.raises(Unavailable, match="Nothing answers at"):
        listen(f"http://127.0.0.1:{free_port()}/s/abcd")


def test_waiting_for_the_doors(stream: tuple[bytes, list[bytes]]) -> None:
    init, fragments = stream
    shut = problem(503, "Retry-After: 0\r\n")
    with scripted(shut, shut, LIVE + chunked(init, *fragments) + END, problem(404)) as server:
        report = listen(f"{server.base}/s/abcd", for_s=10, wait=True).report
    assert report.fragments == len(fragments)
    assert (report.first_audio_ms or 1e9) < 2000


def test_a_redirect_is_followed(stream: tuple[bytes, list[bytes]]) -> None:
    init, fragments = stream
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere?x=1\r\nContent-Length: 0\r\n\r\n"
    with scripted(moved, LIVE + chunked(init, *fragments) + END, problem(404)) as server:
        assert listen(f"{server.base}/s/abcd").report.fragments == len(fragments)
    assert server.requests[1].startswith(b"GET /elsewhere?x=1 ")


def test_a_trusted_certificate_is_listened_to_and_another_is_not(
    stream: tuple[bytes, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init, fragments = stream
    certificate = make_certificate(tmp_path / "own.pem")
    whole = LIVE + chunked(init, *fragments, notice("end", state="ended")) + END
    with scripted(whole, whole, certificate=certificate) as server:
        with pytest.raises(OperatorError, match="not valid") as raised:
            listen(f"{server.base}/s/abcd")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        report = listen(f"{server.base}/s/abcd").report
    assert raised.value.code == "listen.certificate"
    assert (report.fragments, report.ended) == (len(fragments), True)


def test_a_server_without_tls_is_told_apart() -> None:
    with scripted(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as server:
        with pytest.raises(Unavailable) as raised:
            listen(f"{server.base.replace('http', 'https')}/s/abcd")
        assert raised.value.code == "listen.tls"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: listen("ftp://localhost/s/abcd"), "listen.address"),
        (lambda: listen("http://"), "listen.address"),
        (lambda: listen("http://localhost:99999/s/a"), "listen.address"),
        (lambda: listen("http://localhost:1/s/a", surface="telepathy"), "listen.surface"),
        (lambda: listen("http://localhost:1/s/a", out=Path("a.mp3")), "listen.suffix"),
        (lambda: listen("http://localhost:1/s/a", out=Path("/nowhere/a.wav")), "out.unwritable"),
    ],
)
def test_wrong_use(call: Callable[[], object], code: str) -> None:
    with pytest.raises(RostraError) as raised:
        call()
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("url", "live"),
    [
        ("http://h:1/s/ab", "http://h:1/s/ab/live"),
        ("http://h:1/s/ab/", "http://h:1/s/ab/live"),
        ("https://h/x/s/ab?programme=ar", "https://h/x/s/ab/live?programme=ar"),
        ("localhost:8001/s/ab", "http://localhost:8001/s/ab/live"),
        ("http://h/other.mp4", "http://h/other.mp4"),
    ],
)
def test_the_page_leads_to_the_sound(url: str, live: str) -> None:
    assert live_url(url) == live
