"""A guest tests microphone and connection days before the Space, and the host sees how it went."""

import base64
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, Route, expect

from e2e.stage.process import likeness
from e2e.test_pages import KEPT, LOOKS, SIZES, name_of
from rostra.kernel.units import SAMPLE_RATE
from rostra.ops.wire import NICE_CHECK
from support.browsers import chromium, program
from support.server import Server, Space, free_port, wait_for
from support.voices import Samples, read_wav, silence, write_wav

DAYS_S = 3 * 86_400

HEAR = """
// Everything that the page's peer is sent, kept apart from what the page does with it.
window.heard = [];
const Peer = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Peer {
  constructor(...given) {
    super(...given);
    this.addEventListener('track', ({track}) => {
      const context = new AudioContext({sampleRate: 48000});
      const node = context.createScriptProcessor(4096, 1, 1);
      node.onaudioprocess = (event) => window.heard.push(event.inputBuffer.getChannelData(0).slice());
      context.createMediaStreamSource(new MediaStream([track])).connect(node).connect(context.destination);
    });
  }
};
"""

TAKE = """async () => {
  const read = new FileReader();
  const done = new Promise((resolve) => { read.onload = resolve; });
  read.readAsDataURL(new Blob(window.heard));
  await done;
  return read.result.split(',')[1];
}"""


def heard(page: Page) -> Samples:
    """What the page was sent so far, without the silence around it."""
    samples = np.frombuffer(base64.b64decode(page.evaluate(TAKE)), np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1]] if len(loud) else samples[:0]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return KEPT if os.environ.get("ROSTRA_PICTURES") else tmp_path


@pytest.fixture(scope="module")
def space(server: Server) -> Space:
    """Days away: neither stage nor programme runs."""
    return server.create(starts_in_s=DAYS_S, doors_s=600)


@pytest.fixture(scope="module")
def browser(playwright: Playwright, voices: dict[str, Path]) -> Iterator[Browser]:
    with chromium(playwright, microphone=voices["Voice A"]) as running:
        yield running


@pytest.fixture
def guest(browser: Browser, space: Space) -> Iterator[Page]:
    """The test, opened from the speaker's page as a guest would."""
    page = opened(browser, space)
    yield page
    page.close()


@pytest.fixture
def silent(space: Space, playwright: Playwright, tmp_path: Path) -> Iterator[Page]:
    """Another guest's page; their microphone gives nothing."""
    with chromium(playwright, microphone=write_wav(tmp_path / "silent.wav", silence(2))) as running:
        yield opened(running, space)


def opened(browser: Browser, space: Space) -> Page:
    page = browser.new_page(locale="en")
    page.add_init_script(HEAR)
    page.goto(space.links["speaker"])
    page.get_by_role("link", name="Test your microphone and connection").click()
    expect(page.locator("[data-act=check-start]")).to_be_visible(timeout=20_000)
    return page


def begin(page: Page) -> None:
    page.locator("[data-act=check-start]").click()


def record(page: Page) -> None:
    page.locator("[data-act=check-record]").click(timeout=60_000)


def states(page: Page) -> dict[str, str]:
    steps = page.locator(".check-step").evaluate_all("(all) => all.map(({dataset: {step, state}}) => [step, state])")
    return dict(steps)


def result(space: Space, name: str) -> dict[str, Any]:
    """What the host sees of the guest with that name."""
    return next(check for check in space.get("/checks")["checks"] if check["name"] == name)


@pytest.mark.browser
def test_a_guest_hears_what_the_server_heard_and_the_host_sees_the_verdict(
    guest: Page, space: Space, browser: Browser, voices: dict[str, Path], silent: Page, pictures: Path
) -> None:
    """While another guest tests, whose microphone is silent: each is told their own."""
    begin(silent)
    guest.locator(".field input").first.fill("Grace")
    guest.locator("[data-act=check-start]").press("Enter")
    guest.locator("#check-plain").check(timeout=20_000)  # nothing between the voice and us that makes it unlike itself
    record(silent)
    record(guest)
    picture(guest, pictures, "check-recording", ("phone", "light", "en"))
    for page in (silent, guest):
        expect(page.locator(".check-verdict")).to_be_visible(timeout=60_000)

    back, said = heard(guest), read_wav(voices["Voice A"])
    grace, other = result(space, "Grace"), result(space, "")
    print(f"\n{len(back) / SAMPLE_RATE:.2f} s came back, likeness {likeness(back, said):.3f}; {grace['measured']}")
    assert 4 < len(back) / SAMPLE_RATE < 6, "five seconds, but for a pause at either end"
    assert likeness(back, said) > 0.7
    assert (grace["verdict"], grace["advice"], grace["measured"]["way"]) == ("good", [], "udp"), grace
    assert -35 < grace["measured"]["level_db"] < -10
    assert states(guest) == dict.fromkeys(states(guest), "good") | {"relay": "skipped"}
    expect(guest.locator("#announcer")).to_have_text("You are ready: you sound good, and the connection holds.")
    expect(guest.locator(".check-verdict h2")).to_be_focused()

    assert (other["verdict"], other["advice"]) == ("failed", ["nothing_heard"])
    expect(silent.locator(".check-advice li")).to_have_text([re.compile("^The server heard no voice")])
    assert states(silent)["level"] == "failed"
    assert len(heard(silent)) == 0, "nobody hears another's test"
    assert not list(space.server.data.rglob("*.wav")), "nothing is kept"

    for look in LOOKS:
        picture(guest, pictures, "check", look)
    host = browser.new_page(locale="en", viewport=SIZES["desktop"])
    host.goto(space.links["host"])
    expect(host.locator(".checks > li")).to_have_count(2, timeout=20_000)
    expect(host.locator(".checks > li[data-verdict=good] .seat-name")).to_have_text("Grace")
    expect(host.locator(".checks > li[data-verdict=failed]")).to_contain_text("The server heard no voice")
    expect(host.locator(".links .check-line")).to_have_text(["Not tested yet", re.compile("Ready|Does not work")])
    host.screenshot(path=pictures / "check-host-desktop-light.png", full_page=True)
    host.close()


@pytest.mark.browser
def test_where_udp_is_blocked_a_relay_carries_the_test_and_without_one_the_guest_is_told(
    guest: Page, browser: Browser, space: Space, tmp_path: Path
) -> None:
    stuck = opened(browser, space)
    with relaying(tmp_path) as port:
        for page, relay in ((stuck, free_port()), (guest, port)):
            page.route("**/whip/*/check*", without_udp)
            page.route("**/ice", telling(relay_at(relay)))
            page.locator(".field input").first.fill(f"relay {relay}")
            begin(page)
        record(guest)
        for page in (stuck, guest):
            expect(page.locator(".check-verdict")).to_be_visible(timeout=60_000)
        name = f"relay {port}"
    assert (states(guest)["direct"], states(guest)["relay"]) == ("poor", "good")
    found = result(space, name)
    assert (found["verdict"], found["advice"], found["measured"]["way"]) == ("usable", ["relay_only"], "relay"), found
    expect(guest.locator(".check-advice li")).to_have_text([re.compile("^Your network blocks the direct way")])

    assert [states(stuck)[step] for step in ("microphone", "direct", "relay")] == ["good", "poor", "poor"]
    expect(stuck.locator(".check-advice li")).to_have_text([re.compile("^This network lets no live sound through")])
    expect(stuck.locator(".check-verdict")).to_have_attribute("data-verdict", "failed")
    stuck.close()


@pytest.mark.browser
def test_when_the_check_dies_in_the_middle_the_guest_is_told_and_begins_again(
    guest: Page, server: Server, space: Space
) -> None:
    before = len(server.starts("check"))
    assert os.getpriority(os.PRIO_PROCESS, server.pid("check")) == NICE_CHECK, "below whoever is on the air"
    begin(guest)
    record(guest)
    expect(guest.locator("[data-step=recording] .check-word")).to_have_text("Speak now:", timeout=20_000)
    server.kill("check")
    expect(guest.locator("#problem-text")).to_have_text("The test was interrupted, or its time was up.", timeout=20_000)
    expect(guest.locator("[data-act=check-again]")).to_be_focused()
    server.await_restart("check", before)
    guest.locator("[data-act=check-again]").press("Enter")
    expect(guest.locator("[data-act=check-record]")).to_be_visible(timeout=60_000)
    expect(guest.locator("#problem")).to_be_hidden()
    assert states(guest)["direct"] == "good"


def picture(page: Page, pictures: Path, name: str, look: tuple[str, str, str]) -> None:
    """The same page as another screen shows it; nothing is wider than that."""
    size, scheme, language = look
    page.set_viewport_size(SIZES[size])
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    if page.evaluate("document.documentElement.lang") != language:
        page.locator("#language").click()
        expect(page.locator("html")).to_have_attribute("lang", language)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, look
    page.screenshot(path=pictures / name_of(name, look), full_page=True)


def without_udp(route: Route) -> None:
    """What a firewall does to the straight way: neither side learns an address of the other that it can reach."""
    if route.request.method != "POST" or "typ relay" in (route.request.post_data or ""):
        return route.continue_()
    offer = re.sub(r"a=candidate:.*\r\n", "", route.request.post_data or "")
    answer = route.fetch(post_data=offer)
    unreachable = re.sub(r"(a=candidate:\S+ 1 udp \d+ )\S+ \d+", r"\g<1>127.0.0.1 9", answer.text())
    return route.fulfill(response=answer, body=unreachable)


def telling(body: dict[str, Any]) -> Callable[[Route], None]:
    return lambda route: route.fulfill(json=body)


def relay_at(port: int) -> dict[str, Any]:
    server = {"urls": [f"turn:127.0.0.1:{port}?transport=tcp"], "username": "guest", "credential": "secret"}
    return {"ice_servers": [server], "expires_at": None}


@contextmanager
def relaying(folder: Path) -> Iterator[int]:
    """coturn, over TCP as where UDP is blocked; its port."""
    port = free_port()
    options = ["-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", str(port), "--lt-cred-mech", "-u", "guest:secret"]
    options += ["-r", "test", "--no-tls", "--no-dtls", "--no-udp", "--no-cli", "--allow-loopback-peers"]
    options += ["--pidfile", str(folder / "pid"), "--log-file", "stdout", "--db", str(folder / "db")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program("turnserver"), *options], stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(lambda: listens(port), 20, "coturn")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
