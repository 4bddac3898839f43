"""HTTPS on both ports, with clients that nobody here wrote, and a proxy in the place of our terminator."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, expect

from rostra.kernel.io import memory
from rostra.kernel.shared.counters import Counters
from rostra.kernel.units import SAMPLE_RATE
from rostra.ops.jobs import Job, counters_path
from support.browsers import chromium, program
from support.certificates import Authority, serial_of
from support.server import Server, Space, free_port, run, serving, wait_for
from support.stranger import Stranger

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> tuple[Path, Path]:
    """Certificate and key for localhost."""
    found = authority.file.with_name("cert.pem"), authority.file.with_name("key.pem")
    authority.sign(*found, "localhost")
    return found


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, files: tuple[Path, Path]
) -> Iterator[Server]:
    certificate, key = files
    told = ("--certificate", str(certificate), "--certificate-key", str(key))
    with serving(tmp_path_factory.mktemp("data"), *told, trust=authority.file) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def trust(authority: Authority) -> Iterator[None]:
    """What this process and those that it starts trust."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.file))
        yield


@pytest.fixture(scope="module")
def space(server: Server) -> Space:
    """Its doors are open: hold music, for as long as these tests take."""
    made = server.create(starts_in_s=3000, doors_s=2999)
    await_sound(made)
    return made


def await_sound(space: Space) -> None:
    """A first listener may come a moment before the first fragment; `Stranger` asks again."""
    with Stranger(space.url) as listener:
        listener.await_fragments(1)


def counted(server: Server, name: str) -> int:
    """A counter, summed over the terminators."""
    shared = memory.shared_folder(server.data)
    paths = [counters_path(shared, Job("terminator", str(n))) for n in range(os.cpu_count() or 1)]
    return sum(Counters(memory.attach(path)).get(name) for path in paths)


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("curl"), "--silent", "--show-error", "--max-time", "20", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_what_is_printed_begins_with_https(server: Server, space: Space) -> None:
    assert server.owner_link.startswith(f"https://localhost:{server.studio_port}/#")
    assert space.url == f"https://localhost:{server.audience_port}/s/{space.id}"
    assert space.links["speaker"].startswith(f"https://localhost:{server.studio_port}/#")


def test_both_ports_speak_modern_tls_and_nothing_older(server: Server, space: Space, authority: Authority) -> None:
    trusted = ("--cacert", str(authority.file))
    for port in (server.audience_port, server.studio_port):
        for version, maximum, works in (
            ("--tlsv1.3", "1.3", True),
            ("--tlsv1.2", "1.2", True),
            ("--tlsv1.0", "1.1", False),
        ):
            done = curl(*trusted, version, "--tls-max", maximum, f"https://localhost:{port}/readyz")
            assert (done.returncode == 0) is works, (port, version, done.stderr)
        assert curl(f"https://localhost:{port}/readyz", "--cacert", "/dev/null").returncode != 0, "who trusts nobody"
        client = [program("openssl"), "s_client", "-connect", f"localhost:{port}", "-servername", "localhost"]
        client += ["-CAfile", str(authority.file), "-verify_return_error", "-alpn", "h2,http/1.1"]
        seen = subprocess.run(
            client,
            input="",
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert "Verify return code: 0 (ok)" in seen.stdout, seen.stdout + seen.stderr
        assert "ALPN protocol: http/1.1" in seen.stdout
    page = curl(*trusted, space.url)
    assert "<html" in page.stdout


def test_who_speaks_plain_http_is_told(server: Server) -> None:
    done = curl("--include", f"http://localhost:{server.audience_port}/")
    assert done.stdout.startswith("HTTP/1.1 400 ")
    assert "https://" in done.stdout


def test_a_stranger_listens_over_tls(space: Space) -> None:
    done = run("listen", space.url, "--for", "3s", "--json")
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert heard["fragments"] >= 3
    assert heard["gaps"] == 0


def test_players_take_the_address(space: Space, authority: Authority, tmp_path: Path) -> None:
    url, wav = f"{space.url}/live", tmp_path / "heard.wav"
    trusted = ["-tls_verify", "1", "-ca_file", str(authority.file)]
    shown = subprocess.run(
        [program("ffprobe"), "-v", "error", *trusted, "-show_streams", "-of", "json", "-read_intervals", "%+2", url],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["streams"][0]["codec_name"] == "opus"
    mpv = [program("mpv"), "--no-config", "--no-video", "--ao=pcm", f"--ao-pcm-file={wav}"]
    mpv += ["--tls-verify=yes", f"--tls-ca-file={authority.file}", url]
    player = subprocess.Popen(mpv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: wav.exists() and wav.stat().st_size > 2 * 4 * SAMPLE_RATE, 60, "mpv to play")
    finally:
        player.terminate()
        player.wait(20)


def test_a_replaced_certificate_is_served_and_nobody_is_disturbed(
    server: Server, space: Space, authority: Authority, files: tuple[Path, Path]
) -> None:
    with Stranger(space.url) as listener:
        serial = authority.sign(*files, "localhost")
        for port in (server.audience_port, server.studio_port):
            wait_for(lambda port=port: shown(authority, port) == serial, 20, "the new certificate")
        listener.await_fragments(3)
    assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1))


def shown(authority: Authority, port: int) -> int:
    """The serial number of the certificate that a port shows."""
    with (
        socket.create_connection(("localhost", port), 10) as plain,
        authority.trusting.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        return serial_of(sock)


@pytest.mark.browser
def test_the_page_plays_and_comes_back_by_itself_when_the_terminators_are_killed(
    playwright: Playwright, server: Server, space: Space
) -> None:
    with chromium(playwright) as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(space.url)
        page.locator("#play").click()
        expect(page.locator("#space")).to_have_attribute("data-sound", "playing", timeout=20_000)
        assert page.evaluate("isSecureContext")
        jobs = [f"terminator-{n}" for n in range(os.cpu_count() or 1)]
        before = {job: len(server.starts(job)) for job in jobs}
        for job in jobs:
            server.kill(job, signal.SIGKILL)
        for job in jobs:
            server.await_restart(job, before[job])
        wait_for(lambda: counted(server, "active") >= 1, 30, "the page to come back")
        expect(page.locator("#space")).to_have_attribute("data-sound", "playing", timeout=30_000)
        at = page.evaluate("document.querySelector('#live').currentTime")
        wait_for(
            lambda: page.evaluate("document.querySelector('#live').currentTime") > at + 2, 30, "the sound to go on"
        )
        assert counted(server, "bytes_down") > 0


@pytest.mark.browser
def test_a_speaker_joins_over_https(
    playwright: Playwright, server: Server, space: Space, voices: dict[str, Path]
) -> None:
    with chromium(playwright, microphone=voices["Voice A"]) as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(space.links["speaker"])
        page.locator("#name").fill("Over HTTPS")
        page.locator("#agreed").check()
        page.locator("[data-act=open-microphone]").click()
        page.locator("[data-act=join]").click()
        space.await_seats("Over HTTPS", timeout_s=45)


# a proxy in our terminator's place


@contextmanager
def haproxy(folder: Path, pem: Path, audience: tuple[int, int], studio: tuple[int, int]) -> Iterator[None]:
    """HAProxy with the file that we ship; ports and the certificate are changed where it says CHANGE."""
    config = (DEPLOY / "haproxy.cfg").read_text()
    for shipped, ours in (
        (":443 ", f"127.0.0.1:{audience[0]} "),
        (":8443 ", f"127.0.0.1:{studio[0]} "),
        ("127.0.0.1:8001", f"127.0.0.1:{audience[1]}"),
        ("127.0.0.1:8000", f"127.0.0.1:{studio[1]}"),
        ("/etc/haproxy/rostra.pem", str(pem)),
        ("maxconn 100000", "maxconn 1000"),
    ):
        assert shipped in config, f"the shipped file has no “{shipped}” any more"
        config = config.replace(shipped, ours)
    file = folder / "haproxy.cfg"
    file.write_text(config)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program("haproxy"), "-db", "-f", str(file)], stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, (folder / "haproxy.log").read_text()
    finally:
        process.terminate()
        process.wait(20)


def test_haproxy_ends_tls_before_plain_workers(tmp_path: Path, authority: Authority) -> None:
    pem = tmp_path / "rostra.pem"
    authority.sign(pem, pem, "localhost")
    audience, studio = free_port(), free_port()
    told = ("--terminator", "127.0.0.1", "--public-url", f"https://localhost:{audience}")
    told += ("--studio-url", f"https://localhost:{studio}")
    with serving(tmp_path / "data", *told) as server:
        assert server.owner_link.startswith(f"https://localhost:{studio}/#")
        space = server.create(starts_in_s=3000, doors_s=2999)
        assert space.url.startswith(f"https://localhost:{audience}/s/")
        with haproxy(tmp_path, pem, (audience, server.audience_port), (studio, server.studio_port)):
            trusted = ("--cacert", str(authority.file))
            wait_for(lambda: curl(*trusted, f"https://localhost:{studio}/readyz").returncode == 0, 20, "HAProxy")
            await_sound(space)
            done = run("listen", space.url, "--for", "3s", "--json")
            assert done.returncode == 0, done.stderr
            heard = json.loads(done.stdout.splitlines()[-1])
            assert heard["gaps"] == 0
            assert heard["fragments"] >= 3
            denied = curl(*trusted, "--include", f"https://localhost:{studio}/api/v1/spaces")
            assert re.match(r"HTTP/\S+ 401", denied.stdout), denied.stdout


def test_whoever_comes_past_the_terminator_is_turned_away(tmp_path: Path) -> None:
    """The tests' own machine speaks from 127.0.0.1, and the terminator, so it was declared, from 127.0.0.9."""
    told = ("--terminator", "127.0.0.9", "--public-url", "https://live.example.org")
    with serving(tmp_path / "data", *told, "--studio-url", "https://studio.example.org", ready=False) as server:
        via = ("--interface", "127.0.0.9", "--include")
        for port in (server.studio_port, server.audience_port):
            wait_for(lambda port=port: " 200 " in curl(*via, f"http://127.0.0.1:{port}/readyz").stdout[:20], 60)
        assert "HTTP/1.1 403" in curl("--include", f"http://127.0.0.1:{server.studio_port}/readyz").stdout
        past = curl("--include", f"http://127.0.0.1:{server.audience_port}/readyz")
        assert past.returncode != 0
        assert past.stdout == ""
