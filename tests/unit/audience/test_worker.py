"""A real worker on real sockets, a real log on a real disk, listeners who check every byte."""

import io
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest

from rostra.audience.settings import Settings
from rostra.kernel.io import memory
from rostra.kernel.io.files import replace as write
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.log.io.files import set_aside
from rostra.log.io.recording import write_recording
from rostra.space.lifecycle import Event, State
from rostra.space.spec import Recording
from support.audience import Edge, Heard, Programme, answer, boxes, crowd, edge, request, shared_memory
from support.browsers import program
from support.server import free_port, wait_for

QUICK = Settings(lost_ms=300, finished_ms=200, count_ms=100, head_ms=300, keep_alive_ms=400, look_ms=20)


@pytest.fixture(autouse=True)
def shared(tmp_path: Path) -> Iterator[Path]:
    with shared_memory(tmp_path) as folder:
        yield folder


@pytest.fixture
def programme(tmp_path: Path) -> Iterator[Programme]:
    running = Programme(tmp_path)
    running.fragments(3)
    yield running
    running.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def served(tmp_path: Path, programme: Programme) -> Iterator[Edge]:
    with edge(tmp_path, QUICK) as running:
        yield running


def listeners(served: Edge) -> int:
    return served.counters.get("space/talk/listeners")


# the sound


def test_everybody_gets_the_same_bytes(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 300) as first:
        first.await_fragment(2)
        programme.fragments(2)
        first.await_fragment(4)
        with crowd(served.port, 50) as second:
            second.await_fragment(4)
            programme.fragments(2)
            first.await_fragment(6)
            second.await_fragment(6)
            assert {heard.body for heard in first.heard} == {first.heard[0].body}
            assert {heard.body for heard in second.heard} == {second.heard[0].body}
            assert first.heard[0].numbers == [2, 3, 4, 5, 6]
            assert second.heard[0].numbers == [4, 5, 6]
            assert first.heard[0].body.endswith(second.heard[0].body[-1000:])
        assert not any(heard.notices for heard in first.heard)
        assert served.counters.get("laggards") == 0


def test_the_response_is_an_endless_one_for_everybodys_pages(served: Edge) -> None:
    with crowd(served.port, 1) as one:
        one.await_fragment(2)
        headers = one.heard[0].headers
        assert one.heard[0].status == 200
        assert headers["content-type"] == "audio/mp4"
        assert headers["cache-control"] == "no-store"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["transfer-encoding"] == "chunked"
        assert "access-control-allow-credentials" not in headers


def test_renditions_and_framings_are_apart(programme: Programme, served: Edge) -> None:
    with (
        crowd(served.port, 3) as opus,
        crowd(served.port, 3, "/s/talk/live?rendition=aac") as aac,
        served.connect() as old,
    ):
        old.sendall(b"GET /s/talk/live HTTP/1.0\r\n\r\n")
        opus.await_fragment(2)
        aac.await_fragment(2)
        wait_for(lambda: listeners(served) == 7)
        programme.fragments()
        opus.await_fragment(3)
        aac.await_fragment(3)
        assert b"Opus" in opus.heard[0].body
        assert b"mp4a" in aac.heard[0].body
        programme.end()
        data = b""
        while more := old.recv(65_536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert boxes(body) == ([2, 3], [{"type": "end", "state": "ended"}])
    opus.close()


def test_those_who_leave_are_noticed_at_once(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 200) as all_of_them:
        all_of_them.await_fragment(2)
        wait_for(lambda: listeners(served) == 200)
        for at, sock in enumerate(all_of_them.sockets[:100]):
            if at % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            sock.close()
        wait_for(lambda: listeners(served) == 100, 2)
        all_of_them.heard = all_of_them.heard[100:]
        programme.fragments()
        all_of_them.await_fragment(3)
    wait_for(lambda: listeners(served) == 0, 2)
    assert served.counters.get("joins") == served.counters.get("leaves") == 200


def test_joining_and_leaving_leaves_nothing_behind(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 5) as staying:
        staying.await_fragment(2)
        before = descriptors()
        for turn in range(10):
            with crowd(served.port, 50) as passing:
                passing.await_fragment(2 + turn)
                programme.fragments()
                staying.await_fragment(3 + turn)
            wait_for(lambda: listeners(served) == 5, 2)
        wait_for(lambda: descriptors() == before, 2)


def test_a_reader_that_stops_disturbs_nobody_and_is_let_go(tmp_path: Path, programme: Programme) -> None:
    settings = replace(QUICK, hopeless_ms=1500, send_buffer_bytes=4096)
    with edge(tmp_path, settings) as served:
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", served.port))
        stuck.sendall(request("/s/talk/live?rendition=aac"))
        with stuck, crowd(served.port, 50, "/s/talk/live?rendition=aac") as well:
            well.await_fragment(2)
            for _ in range(20):
                programme.fragments()
                well.await_fragment(programme.number - 1)
            assert served.counters.get("laggards") >= 1
            wait_for(lambda: served.counters.get("leaves_hopeless") == 1, 5)
            wait_for(lambda: listeners(served) == 50)
            assert not any(heard.notices for heard in well.heard)


def test_a_slow_reader_jumps_with_a_notice(tmp_path: Path, programme: Programme) -> None:
    path = "/s/talk/live?rendition=aac"
    with (
        edge(tmp_path, replace(QUICK, send_buffer_bytes=4096)) as served,
        crowd(served.port, 5, path) as well,
        socket.socket() as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", served.port))
        slow.sendall(request(path))
        wait_for(lambda: listeners(served) == 6)
        for _ in range(20):
            programme.fragments()
            well.await_fragment(programme.number - 1)
        slow.settimeout(5)
        heard = Heard()
        while not heard.numbers or heard.numbers[-1] < programme.number - 1:
            heard.feed(slow.recv(4096))
        programme.fragments()
        while heard.numbers[-1] < programme.number - 1:
            heard.feed(slow.recv(4096))
        assert heard.told("gap")
        assert served.counters.get("jumps") >= 1
        assert listeners(served) == 6


def test_a_hole_in_the_log_is_said(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 10) as all_of_them:
        all_of_them.await_fragment(2)
        programme.fragments(2, lose=True)
        programme.fragments()
        all_of_them.await_fragment(5)
        assert all(heard.told("gap") == [{"type": "gap", "from": 3, "to": 5}] for heard in all_of_them.heard)


def test_a_lost_programme_is_said_and_its_return(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 10) as all_of_them:
        all_of_them.await_fragment(2)
        all_of_them.listen(lambda: all(heard.told("programme_lost") for heard in all_of_them.heard))
        with crowd(served.port, 5) as late:
            late.listen(lambda: all(heard.told("programme_lost") for heard in late.heard))
            programme.restart()
            programme.fragments(3)
            all_of_them.await_fragment(5)
            late.await_fragment(5)
        for heard in (*all_of_them.heard, *late.heard):
            assert [notice["type"] for notice in heard.notices] == ["programme_lost", "programme_back"]


@pytest.mark.parametrize("state", [State.ENDED, State.POSTPONED, State.CANCELLED])
def test_the_end_is_said_and_clean(programme: Programme, served: Edge, state: State) -> None:
    with crowd(served.port, 20) as all_of_them:
        all_of_them.await_fragment(2)
        programme.say(state, Event.END)
        programme.fragments()
        all_of_them.listen(lambda: all(heard.clean for heard in all_of_them.heard))
        assert all(heard.numbers == [2, 3] for heard in all_of_them.heard)
        assert all(heard.notices == [{"type": "end", "state": state}] for heard in all_of_them.heard)
        wait_for(lambda: listeners(served) == 0)
    assert served.counters.get("leaves_end") == 20


def test_a_space_held_anew_begins_anew(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 3) as before:
        before.await_fragment(2)
        programme.say(State.POSTPONED, Event.POSTPONE)
        before.listen(lambda: all(heard.clean for heard in before.heard))
    assert served.ask("/s/talk/live").status == 503
    programme.close()
    set_aside(programme.folder.programmes / "floor")
    programme.restart()
    programme.fragments(1)
    programme.say(State.DOORS_OPEN, Event.DOORS_DUE)
    time.sleep(0.1)
    with crowd(served.port, 3) as after:
        after.await_fragment(0)
        programme.fragments()
        after.await_fragment(1)


def test_the_count_is_told_with_the_next_fragment(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 3) as all_of_them:
        all_of_them.await_fragment(2)
        write(programme.folder.state_json, b'{"listeners":1234}')

        def told() -> bool:
            programme.fragments()
            return all(heard.told("count") for heard in all_of_them.heard)

        all_of_them.listen(told)
        assert all(heard.told("count") == [{"type": "count", "listeners": 1234}] for heard in all_of_them.heard)
        with crowd(served.port, 1) as late:
            late.listen(lambda: late.heard[0].told("count"))


def test_a_recording_that_is_not_kept_is_live_all_the_same(tmp_path: Path) -> None:
    programme = Programme(tmp_path, recording=Recording.OFF)
    programme.fragments()
    with edge(tmp_path, QUICK) as served, crowd(served.port, 3) as all_of_them:
        all_of_them.await_fragment(0)
        programme.fragments()
        programme.end()
        all_of_them.listen(lambda: all(heard.clean for heard in all_of_them.heard))
        assert all(heard.numbers == [0, 1] for heard in all_of_them.heard)


# what is refused


def test_why_there_is_no_sound(tmp_path: Path, programme: Programme, served: Edge) -> None:
    unknown = served.ask("/s/nobody/live")
    assert (unknown.status, unknown.json["code"]) == (404, "space.unknown")
    assert unknown.headers["content-type"] == "application/problem+json"
    assert unknown.headers["access-control-allow-origin"] == "*"
    rendition = served.ask("/s/talk/live?rendition=flac")
    assert (rendition.status, rendition.json["code"]) == (404, "rendition.unknown")
    Programme(tmp_path, "later", State.SCHEDULED).close()
    early = served.ask("/s/later/live")
    assert (early.status, early.json["state"]) == (503, "scheduled")
    assert int(early.headers["retry-after"]) >= 1
    Programme(tmp_path, "over", State.ENDED).close()
    assert served.ask("/s/over/live").status == 410
    Programme(tmp_path, "empty", State.DOORS_OPEN).close()
    starting = served.ask("/s/empty/live")
    assert (starting.status, starting.json["code"]) == (503, "programme.starting")


def test_head_everywhere(served: Edge) -> None:
    for path, status in (("/s/talk/live", 200), ("/s/talk/state.json", 200), ("/healthz", 200), ("/none", 404)):
        found = served.ask(path, "HEAD")
        assert (found.status, found.body) == (status, b"")
    assert listeners(served) == 0


def test_only_reading_is_allowed(served: Edge) -> None:
    found = served.ask("/s/talk/state.json", "DELETE")
    assert found.status == 405
    assert found.headers["allow"] == "GET, HEAD"
    preflight = served.ask("/s/talk/recording.m4a", "OPTIONS", Origin="https://other.example")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD"


def test_who_may_read_from_elsewhere(served: Edge) -> None:
    for path in ("/s/talk/state.json", "/s/talk/recording.m4a", "/s/none/live"):
        assert served.ask(path, Origin="https://other.example").headers["access-control-allow-origin"] == "*"
    for path in ("/", "/s/talk", "/static/listener/index.html", "/healthz"):
        assert "access-control-allow-origin" not in served.ask(path, Origin="https://other.example").headers


def test_pages(served: Edge) -> None:
    page = served.ask("/s/talk")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert served.ask("/s/talk", If_None_Match=page.headers["etag"]).status == 304
    unknown = served.ask("/s/nobody")
    assert (unknown.status, unknown.body) == (404, page.body)
    assert served.ask("/").status == 200
    assert served.ask("/static/listener/app.js").status == 200
    assert served.ask("/s/talk/").headers["location"] == "/s/talk"
    for path in ("/static/../page.py", "/static/", "/static/listener", "/static//etc/passwd", "/%2e%2e/etc/passwd"):
        assert served.ask(path).status == 404


# connections


def test_one_connection_many_requests(served: Edge) -> None:
    with served.connect() as sock:
        for _ in range(3):
            sock.sendall(request("/s/talk/state.json"))
            assert answer(sock).json["id"] == "talk"
        sock.sendall(request("/healthz") * 5)
        data = b""
        while data.count(b"ok\n") < 5:
            data += sock.recv(65_536)
        sock.sendall(request("/healthz", Connection="close"))
        assert answer(sock).headers["connection"] == "close"
        assert sock.recv(1) == b""


def test_the_sound_after_other_requests_on_the_connection(programme: Programme, served: Edge) -> None:
    with served.connect() as sock:
        sock.sendall(request("/healthz"))
        assert answer(sock).status == 200
        sock.sendall(request("/s/talk/live"))
        heard = Heard()
        while not heard.numbers:
            heard.feed(sock.recv(65_536))
        programme.fragments()
        while heard.numbers[-1] < 3:
            heard.feed(sock.recv(65_536))
    wait_for(lambda: listeners(served) == 0)


def test_a_slow_request_is_given_up(served: Edge) -> None:
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert answer(sock).status == 408
        assert sock.recv(1) == b""
    with served.connect() as silent:
        assert silent.recv(1) == b""


def test_an_idle_connection_is_closed(served: Edge) -> None:
    with served.connect() as sock:
        sock.sendall(request("/healthz"))
        assert answer(sock).status == 200
        assert sock.recv(1) == b""


def test_waiting_connections_are_bounded(tmp_path: Path, programme: Programme) -> None:
    with edge(tmp_path, replace(QUICK, conversations_max=20, head_ms=20_000)) as served:
        socks = [served.connect() for _ in range(60)]
        wait_for(lambda: served.counters.get("crowded_out") == 40)
        assert served.ask("/healthz").status == 200
        for sock in socks:
            sock.close()


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00", b"GET", b"\r\n" * 50, b"A" * 20_000, b"GET / HTTP/9.9\r\n\r\n", bytes(range(256))],
)
def test_noise_harms_nobody(programme: Programme, served: Edge, noise: bytes) -> None:
    with crowd(served.port, 5) as all_of_them:
        all_of_them.await_fragment(2)
        for _ in range(20):
            with served.connect() as sock:
                sock.sendall(noise)
        programme.fragments()
        all_of_them.await_fragment(3)
        assert served.counters.get("faults") == 0


def test_a_refused_client_gets_its_answer_though_it_goes_on_talking(served: Edge) -> None:
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 30_000)
        assert answer(sock).status == 431


def test_a_fault_closes_one_connection_and_is_counted(
    programme: Programme, served: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_space: str) -> None:
        raise ZeroDivisionError

    with crowd(served.port, 5) as all_of_them:
        all_of_them.await_fragment(2)
        monkeypatch.setattr(served.worker, "_state", fail)
        with served.connect() as sock:
            sock.sendall(request("/s/talk/state.json"))
            assert sock.recv(1) == b""
        programme.fragments()
        all_of_them.await_fragment(3)
    assert served.counters.get("faults") == 1


def test_accepted_sockets_inherit_what_was_set_on_the_listening_one(served: Edge) -> None:
    with served.connect() as client:
        client.sendall(request("/healthz"))
        assert answer(client).status == 200
        wait_for(lambda: served.worker._talks, 5)  # the answer is here before the worker watches for the next request
        sock = socket.socket(fileno=next(iter(served.worker._talks)))
        try:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == QUICK.user_timeout_ms
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * QUICK.send_buffer_bytes
        finally:
            sock.detach()


# the recording


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Programme, bytes]:
    programme = Programme(tmp_path)
    programme.fragments(30)
    programme.end()
    floor = programme.folder.programmes / "floor"
    recording = write_recording(floor, None, None)
    assert recording is not None
    whole = (floor / "aac" / "recording.head").read_bytes()
    whole += (floor / "aac" / "fragments.m4s").read_bytes()[recording.start : recording.end]
    return programme, whole


def test_the_recording_waits_for_its_host(tmp_path: Path, recorded: tuple[Programme, bytes]) -> None:
    programme, whole = recorded
    with edge(tmp_path, QUICK) as served:
        refused = served.ask("/s/talk/recording.m4a")
        assert (refused.status, refused.json["code"]) == (403, "recording.not_approved")
        programme.say(State.REPLAY, Event.APPROVE)
        wait_for(lambda: served.ask("/s/talk/recording.m4a").status == 200)
        found = served.ask("/s/talk/recording.m4a")
        assert found.body == whole
        assert found.headers["content-type"] == "audio/mp4"
        programme.say(State.ENDED, Event.WITHDRAW)
        wait_for(lambda: served.ask("/s/talk/recording.m4a").status == 403)


def test_ranges_of_the_recording(tmp_path: Path, recorded: tuple[Programme, bytes]) -> None:
    programme, whole = recorded
    programme.say(State.REPLAY, Event.APPROVE)
    with edge(tmp_path, QUICK) as served:
        path = "/s/talk/recording.m4a"
        head = served.ask(path, "HEAD")
        assert int(head.headers["content-length"]) == len(whole)
        etag = head.headers["etag"]
        for start, end in ((0, 1), (0, len(whole)), (1000, 50_000), (len(whole) - 10, len(whole))):
            found = served.ask(path, Range=f"bytes={start}-{end - 1}", If_Range=etag)
            assert found.status == 206
            assert found.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"
            assert found.body == whole[start:end]
        assert served.ask(path, Range="bytes=0-9", If_Range='"other"').status == 200
        assert served.ask(path, Range=f"bytes={len(whole)}-").status == 416
        assert served.ask(path, If_None_Match=etag).status == 304
        with served.connect() as sock:  # two on one connection
            for _ in range(2):
                sock.sendall(request(path, Range="bytes=5-99999"))
                assert answer(sock).body == whole[5:100_000]


def test_a_download_that_stops_is_given_up_and_closes_its_files(
    tmp_path: Path, recorded: tuple[Programme, bytes]
) -> None:
    programme, _ = recorded
    programme.say(State.REPLAY, Event.APPROVE)
    with edge(tmp_path, replace(QUICK, response_ms=300, send_buffer_bytes=4096)) as served:
        before = descriptors()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", served.port))
            sock.sendall(request("/s/talk/recording.m4a"))
            wait_for(lambda: served.counters.get("expired") == 1)
        wait_for(lambda: descriptors() == before)


def test_the_sound_goes_before_downloads(tmp_path: Path, recorded: tuple[Programme, bytes]) -> None:
    finished, whole = recorded
    finished.say(State.REPLAY, Event.APPROVE)
    programme = Programme(tmp_path, "other")
    programme.fragments()
    with edge(tmp_path, QUICK) as served, crowd(served.port, 20, "/s/other/live") as all_of_them:
        all_of_them.await_fragment(0)
        socks = [served.connect() for _ in range(20)]
        for sock in socks:
            sock.sendall(request("/s/talk/recording.m4a"))
        programme.fragments(2)
        all_of_them.await_fragment(2)
        for sock in socks:
            assert answer(sock).body == whole
            sock.close()
    programme.close()


# the process


def test_near_the_descriptor_limit_a_worker_stops_listening(tmp_path: Path, programme: Programme) -> None:
    with edge(tmp_path, QUICK) as served:
        served.worker._descriptors_base = 0
        served.worker._descriptors_max = 60
        with crowd(served.port, 59):
            wait_for(lambda: served.counters.get("stalled") == 1)
            with pytest.raises(ConnectionRefusedError):
                served.connect()
        wait_for(lambda: listeners(served) == 0)
        wait_for(lambda: _answers(served))


def _answers(served: Edge) -> bool:
    try:
        return served.ask("/healthz").status == 200
    except OSError:
        return False


def start(data: Path, listener: socket.socket) -> subprocess.Popen[bytes]:
    """A worker as the supervisor starts it."""
    told = {"data": str(data), "key": "0", "studio_base": "", "audience_base": ""}
    told["listener"] = listener.fileno()
    command = [sys.executable, "-m", "rostra.ops.wire", "worker", json.dumps(told)]
    return subprocess.Popen(command, pass_fds=(listener.fileno(),), stderr=subprocess.PIPE)


def test_a_killed_worker_is_followed_by_another_on_the_same_socket(
    tmp_path: Path, shared: Path, programme: Programme
) -> None:
    with socket.create_server(("127.0.0.1", free_port()), backlog=100) as listener:
        port = listener.getsockname()[1]
        first = start(tmp_path, listener)
        with crowd(port, 20) as cut_off:
            cut_off.await_fragment(2)
            beats = Counters(memory.attach(shared / "worker-0.counters"))
            wait_for(lambda: beats.get(HEARTBEAT) > 0)
            wait_for(lambda: beats.get("joins") == 20)
            first.kill()
            first.communicate()
            cut_off.listen(lambda: cut_off.broken == 20)
        with crowd(port, 20) as returning:
            second = start(tmp_path, listener)
            programme.fragments()
            returning.await_fragment(3)
            wait_for(lambda: beats.get("space/talk/listeners") == 20)
            assert beats.get("leaves_crash") == 20
            second.terminate()
            _, said = second.communicate(timeout=10)
            assert second.returncode == 0, said.decode()
            returning.listen(lambda: returning.broken == 20)
    assert beats.get("joins") == beats.get("leaves") == 40


# players nobody here wrote


@pytest.mark.parametrize("rendition", ["opus", "aac"])
def test_players_play_it(programme: Programme, served: Edge, tmp_path: Path, rendition: str) -> None:
    url = f"http://127.0.0.1:{served.port}/s/talk/live?rendition={rendition}"
    wave = tmp_path / "heard.wav"
    commands = [
        [program("ffprobe"), "-v", "error", "-show_entries", "stream=codec_name,sample_rate", "-of", "csv=p=0", url],
        [program("mpv"), "--no-config", "--really-quiet", "--no-video", "--ao=pcm", f"--ao-pcm-file={wave}", url],
    ]
    players = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
    wait_for(lambda: served.counters.get("joins") >= 2)
    programme.fragments(6)
    programme.end()
    (probed, complaint), (_, muttering) = (player.communicate(timeout=60) for player in players)
    assert [player.returncode for player in players] == [0, 0]
    assert (probed.decode().strip(), complaint) == (f"{rendition},48000", b"")
    assert muttering == b""
    assert wave.stat().st_size > 5 * 0.64 * 48_000 * 2


def test_libav_decodes_it_to_the_sample(programme: Programme, served: Edge) -> None:
    with crowd(served.port, 1) as one:
        one.await_fragment(2)
        programme.fragments(5)
        programme.end()
        one.listen(lambda: one.heard[0].clean)
    with av.open(io.BytesIO(one.heard[0].body)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].pts == 2 * 30_720
    assert sum(frame.samples for frame in frames) == 6 * 30_720
