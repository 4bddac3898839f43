"""A guest tests microphone and connection days before the Space, and the host sees how it went."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from e2e.stage.process import likeness
from support.browsers import chromium
from support.server import Server, Space
from support.voices import Samples, read_wav

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


def opened(browser: Browser, space: Space) -> Page:
    page = browser.new_page(locale="en")
    page.add_init_script(HEAR)
    page.goto(space.links["speaker"])
    page.get_by_role("link", name="Test your microphone and connection").click()
    expect(page.locator("[data-act=check-start]")).to_be_visible(timeout=20_000)
    return page


def run(page: Page) -> None:
    """Begin, be quiet, press, speak; until there is a verdict."""
    page.locator("[data-act=check-start], [data-act=check-again]").locator("visible=true").click()
    record(page)
    expect(page.locator(".check-verdict")).to_be_visible(timeout=60_000)


def record(page: Page) -> None:
    button = page.locator("[data-act=check-record]")
    expect(button).to_be_enabled(timeout=60_000)
    button.click()


def states(page: Page) -> dict[str, str]:
    steps = page.locator(".check-step").evaluate_all("(all) => all.map(({dataset: {step, state}}) => [step, state])")
    return dict(steps)


def latest(space: Space) -> dict[str, Any]:
    return dict(space.get("/checks")["checks"][0])


@pytest.mark.browser
def test_a_guest_hears_what_the_server_heard_and_the_host_sees_the_verdict(
    guest: Page, space: Space, browser: Browser, voices: dict[str, Path], server: Server
) -> None:
    guest.locator(".field input").first.fill("Grace")
    run(guest)
    found = latest(space)
    print(found, states(guest))
    said = read_wav(voices["Voice A"])
    back = heard(guest)
    print(len(back) / 48_000, likeness(back, said))
    print(guest.locator("main").inner_text())
