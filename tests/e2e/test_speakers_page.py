"""The speaker's page, as a browser drives it and as the stage hears it: devices, keys, calls, networks, phones.

What a microphone carries is read off the stage's own meter of the seat, not off the page.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Response, expect

from support.browsers import chromium, firefox
from support.server import Server, Space, wait_for

pytestmark = pytest.mark.browser

LOUD_DB, SILENT_DB = -40.0, -60.0
LONG_MS = 30_000

WATCHED = """
// Keeps what the page asked the browser for, so that a test can take a microphone away as a system would.
window.given = []; window.peers = []; window.locks = []; window.refuse = null;
const media = navigator.mediaDevices;
const ask = media.getUserMedia.bind(media);
media.getUserMedia = async (wanted) => {
  if (window.refuse) throw new DOMException('refused by the test', window.refuse);
  const stream = await ask(wanted);
  window.given.push(stream);
  return stream;
};
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) { super(...options); window.peers.push(this); }
};
Object.defineProperty(navigator, 'wakeLock', { value: { request: async (kind) => {
  const lock = { kind, released: false, release() { this.released = true; } };
  window.locks.push(lock);
  return lock;
} } });
"""
MICROPHONE = "window.given.at(-1).getAudioTracks()[0]"
END = f"""(refuse) => {{
  // As a system ends a track, and gives no other: with the error that getUserMedia then raises.
  window.refuse = refuse;
  const track = {MICROPHONE};
  track.stop();
  track.dispatchEvent(new Event('ended'));
}}"""


@pytest.fixture(scope="module")
def browser(playwright: Playwright, voices: dict[str, Path]) -> Iterator[Browser]:
    with chromium(playwright, microphone=voices["Voice B"]) as running:
        yield running


@pytest.fixture(scope="module")
def space(server: Server) -> Space:
    """Its doors are open; who is armed is on air."""
    made = server.create(starts_in_s=4, doors_s=3)
    wait_for(lambda: server.starts(f"stage-{made.id}"), 20, "the stage")
    return made


class Voice:
    """Somebody on the stage, as the stage hears them."""

    def __init__(self, space: Space, name: str) -> None:
        self._space = space
        self.name = name

    @property
    def seat(self) -> dict[str, Any]:
        return self._space.seats()[self.name]

    def is_loud(self) -> None:
        wait_for(lambda: self.seat["level_db"] > LOUD_DB, 30, f"{self.name} to be heard")

    def is_silent(self) -> None:
        """For longer than the voice ever pauses."""
        quiet_since: list[float] = []

        def look() -> bool:
            if self.seat["level_db"] > SILENT_DB:
                quiet_since.clear()
                return False
            quiet_since.append(time.monotonic())
            return quiet_since[-1] - quiet_since[0] > 1

        wait_for(look, 30, f"{self.name} to be silent")


class Speaker(Voice):
    """Somebody with a page in Chromium."""

    def __init__(self, page: Page, space: Space, name: str) -> None:
        super().__init__(space, name)
        self.page = page

    def act(self, name: str) -> Any:
        return self.page.locator(f"#place [data-act={name}]")

    def says(self, words: str) -> None:
        expect(self.page.locator("#place").get_by_text(words)).to_be_visible(timeout=LONG_MS)

    def says_no_more(self, words: str) -> None:
        expect(self.page.locator("#place").get_by_text(words)).to_be_hidden(timeout=LONG_MS)


@pytest.fixture
def speaker(browser: Browser, space: Space, request: pytest.FixtureRequest) -> Iterator[Callable[..., Speaker]]:
    """Joins somebody; whatever the page complained of fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def join(role: str = "speaker", *, expected: int = 0, **look: Any) -> Speaker:
        page = browser.new_page(**{"reduced_motion": "reduce", "locale": "en", **look})
        pages.append(page)

        def look_at(got: Response) -> None:
            if failed(got) and got.status != expected:
                complaints.append(f"{got.status} {got.url}")

        page.on("response", look_at)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if is_error(said) else None)
        page.add_init_script(WATCHED)
        name = re.sub(r"\W+", " ", request.node.name)[-40:] + str(len(pages))
        page.goto(space.links[role])
        page.locator("#name").fill(name)
        page.locator("#agreed").check()
        page.locator("[data-act=open-microphone]").click()
        page.locator("[data-act=join]").click()
        expect(page.locator("#place [data-act=leave]")).to_be_visible(timeout=LONG_MS)
        space.await_seats(name)
        one = Speaker(page, space, name)
        expect(page.locator(f"[data-seat='{one.seat['id']}']")).to_be_visible(timeout=LONG_MS)
        return one

    yield join
    for page in pages:
        page.close()
    assert complaints == []


def failed(got: Response) -> bool:
    """An error; but who hangs up may find that the stage has noticed before (404)."""
    return got.status >= 400 and got.request.method != "DELETE"


def is_error(said: ConsoleMessage) -> bool:
    return said.type == "error" and "Failed to load resource" not in said.text


Joins = Callable[..., Speaker]


def test_another_microphone_is_heard_on_the_same_line(speaker: Joins) -> None:
    one = speaker()
    one.is_loud()
    before = one.page.evaluate(f"{MICROPHONE}.id")
    one.page.locator("#place details summary").click()
    choice = one.act("microphone")
    offered = choice.locator("option").evaluate_all("all => all.map((one) => one.value)")
    other = next(value for value in offered if value not in ("default", choice.input_value()))
    choice.select_option(other)
    wait_for(lambda: one.page.evaluate(f"{MICROPHONE}.id") != before, 20, "another microphone")
    expect(choice).to_have_value(other)
    wait_for(lambda: one.page.evaluate("window.given.at(-2).getAudioTracks()[0].readyState") == "ended", 20, "the old")
    one.is_loud()
    assert one.page.evaluate("window.peers.length") == 1, "the line is the same"


def test_a_microphone_that_ends_is_said_and_comes_back_by_itself(speaker: Joins) -> None:
    one = speaker()
    one.is_loud()
    one.page.evaluate(END, "NotReadableError")
    one.says("The microphone is gone. Your place is kept")
    one.says("Nobody hears you at the moment.")
    one.is_silent()
    assert one.seat["connected"], "the seat is kept"
    one.page.evaluate("window.refuse = null")
    one.says_no_more("The microphone is gone")
    one.is_loud()
    assert one.page.evaluate("window.peers.length") == 1


def test_a_microphone_that_was_forbidden_is_asked_for_with_one_button(speaker: Joins) -> None:
    one = speaker()
    one.page.evaluate(END, "NotAllowedError")
    one.says("This page may no longer use the microphone")
    one.page.evaluate("window.refuse = null")
    one.act("mend").click()
    one.says_no_more("This page may no longer use the microphone")
    one.is_loud()


def test_an_incoming_call_is_said_and_over_when_it_is_over(speaker: Joins) -> None:
    """A system mutes the track, and unmutes it: the events are made here, for no browser takes a call in a test."""
    one = speaker()
    muted = (
        "Object.defineProperty({0}, 'muted', {{ value: {1}, configurable: true }}); {0}.dispatchEvent(new Event('{2}'))"
    )
    one.page.evaluate(muted.format(MICROPHONE, "true", "mute"))
    one.says("Your device has taken the microphone")
    expect(one.act("mend")).to_be_visible()
    one.page.evaluate(muted.format(MICROPHONE, "false", "unmute"))
    one.says_no_more("Your device has taken the microphone")


PLUG = """(names) => {
  const fake = names.map((label) => ({ kind: 'audioinput', deviceId: label, label, groupId: '' }));
  const list = window.listDevices ??= navigator.mediaDevices.enumerateDevices.bind(navigator.mediaDevices);
  navigator.mediaDevices.enumerateDevices = async () => [...await list(), ...fake];
  navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
}"""
UNPLUG = """(id) => {
  const list = window.listDevices ??= navigator.mediaDevices.enumerateDevices.bind(navigator.mediaDevices);
  navigator.mediaDevices.enumerateDevices = async () => (await list()).filter((device) => device.deviceId !== id);
  navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
}"""


def test_what_is_plugged_in_is_offered_and_what_was_chosen_is_taken_up_again(speaker: Joins) -> None:
    one = speaker()
    one.page.locator("#place details summary").click()
    one.page.evaluate(PLUG, ["Headset"])
    one.says("Headset was plugged in.")
    assert one.act("use-device").is_visible()
    choice = one.act("microphone")
    found = choice.locator("option").evaluate_all("all => all.map((one) => [one.value, one.textContent])")
    chosen, name = next((value, name) for value, name in found if value not in ("default", "Headset"))
    choice.select_option(chosen)
    wait_for(lambda: one.page.evaluate(f"{MICROPHONE}.getSettings().deviceId") == chosen, 20, "the choice")
    one.page.evaluate(UNPLUG, chosen)
    one.says(f"{name} is gone.")
    wait_for(lambda: one.page.evaluate(f"{MICROPHONE}.getSettings().deviceId") != chosen, 20, "another")
    one.is_loud()
    one.page.evaluate(UNPLUG, "nothing")
    one.says(f"{name} is back, and in use again.")
    wait_for(lambda: one.page.evaluate(f"{MICROPHONE}.getSettings().deviceId") == chosen, 20, "the choice again")
    one.is_loud()


def test_push_to_talk_opens_the_microphone_while_held_and_not_while_typing(speaker: Joins) -> None:
    one = speaker("host")
    one.page.locator("#place details summary").click()
    one.page.locator("#push").check()
    one.is_silent()
    one.page.locator("h1").click()
    one.page.keyboard.down(" ")
    expect(one.act("talk")).to_have_attribute("aria-pressed", "true")
    one.is_loud()
    one.page.keyboard.up(" ")
    one.is_silent()

    field = one.page.get_by_label("For whom")
    field.click()
    one.page.keyboard.down(" ")
    expect(one.act("talk")).to_have_attribute("aria-pressed", "false")
    one.page.keyboard.up(" ")
    expect(field).to_have_value(" ")

    one.act("talk").hover()
    one.page.mouse.down()
    one.is_loud()
    one.page.mouse.up()
    one.is_silent()
    one.act("talk").dispatch_event("click", {"detail": 0})
    expect(one.act("talk")).to_have_attribute("aria-pressed", "true")
    one.page.evaluate("dispatchEvent(new Event('blur'))")
    expect(one.act("talk")).to_have_attribute("aria-pressed", "false")


def test_the_cough_key_silences_while_held_and_letters_in_fields_do_not(speaker: Joins) -> None:
    one = speaker("host")
    one.is_loud()
    one.page.locator("h1").click()
    one.page.keyboard.down("c")
    expect(one.act("cough")).to_have_attribute("aria-pressed", "true")
    one.is_silent()
    assert not one.seat["muted"], "a cough is nobody's business"
    one.page.keyboard.up("c")
    one.is_loud()
    field = one.page.get_by_label("For whom")
    field.click()
    one.page.keyboard.type("cm")
    expect(one.act("mute-self")).to_have_attribute("aria-pressed", "false")
    expect(field).to_have_value("cm")
    one.page.locator("h1").click()
    one.page.keyboard.press("m")
    expect(one.act("mute-self")).to_have_attribute("aria-pressed", "true")
    wait_for(lambda: one.seat["muted"], 20, "the stage to know")


def test_talking_while_muted_is_told(speaker: Joins) -> None:
    one = speaker()
    unheard = one.page.locator("#place .unheard")
    one.is_loud()
    expect(unheard).to_be_hidden()
    one.act("mute-self").click()
    expect(unheard).to_have_text("You are talking, but you are muted.", timeout=LONG_MS)
    one.is_silent()
    one.act("mute-self").click()
    expect(unheard).to_be_hidden(timeout=LONG_MS)
    one.is_loud()


def test_a_host_mutes_and_the_speaker_is_told_who_it_was(speaker: Joins, space: Space) -> None:
    one = speaker()
    space.post(f"/seats/{one.seat['id']}", {"muted": True})
    one.says("A host muted you. Unmute when you want to speak.")
    one.act("mute-self").click()
    wait_for(lambda: not one.seat["muted"], 20, "the stage to know")
    one.says_no_more("A host muted you.")
    one.is_loud()


BAD_NETWORK = """() => {
  // The browser's counters as a line would have them that loses a share of what is sent.
  let [sent, lost] = [0, 0];
  window.loss = 0.25;
  RTCPeerConnection.prototype.getStats = async () => {
    sent += 25; lost += 25 * window.loss;
    return new Map(Object.entries({
      out: { type: 'outbound-rtp', packetsSent: sent },
      told: { type: 'remote-inbound-rtp', packetsLost: Math.round(lost) },
      in: { type: 'inbound-rtp', packetsReceived: sent, packetsLost: 0 },
      pair: { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.123 },
    }));
  };
}"""


def test_the_network_is_put_into_words(speaker: Joins) -> None:
    one = speaker()
    one.says("Your connection is good.")
    one.page.evaluate(BAD_NETWORK)
    one.says("You may not be understood. Come closer to the router, or use a cable.")
    one.says("Round trip 123 ms")


def test_hosts_see_who_is_not_understood(speaker: Joins, space: Space) -> None:
    """With the roster's network as the stage tells it, put into the stream of events on its way to the page."""
    one = speaker("host")
    one.page.evaluate(
        """() => {
          const parse = JSON.parse;
          JSON.parse = (text) => {
            const view = parse(text);
            const network = { quality: 'poor', rtt_ms: 40, loss_in: 0.2, loss_out: 0 };
            for (const seat of view?.stage?.seats ?? []) seat.network = network;
            return view;
          };
        }"""
    )
    mark = one.page.locator(f"[data-seat='{one.seat['id']}'] .seat-link")
    expect(mark).to_have_text("May not be understood", timeout=LONG_MS)


def test_a_changed_network_makes_another_call_before_the_old_one_is_given_up(speaker: Joins, space: Space) -> None:
    one = speaker()
    one.is_loud()
    seat = one.seat["id"]
    one.page.evaluate("dispatchEvent(new Event('online'))")
    missing = 0
    deadline = time.monotonic() + 30
    while one.page.evaluate("window.peers.map((peer) => peer.connectionState).join()") != "closed,connected":
        assert time.monotonic() < deadline
        missing += not one.seat["connected"]
    one.is_loud()
    assert one.seat["id"] == seat
    assert missing == 0, "the seat was never without a connection"
    assert one.page.evaluate("window.peers.length") == 2


def test_a_stage_that_dies_is_found_again_by_itself(speaker: Joins, space: Space) -> None:
    one = speaker(expected=503)
    one.is_loud()
    seat, server, stage = one.seat["id"], space.server, f"stage-{space.id}"
    before = len(server.starts(stage))
    server.kill(stage)
    server.await_restart(stage, before)
    wait_for(lambda: one.page.evaluate("window.peers.length") > 1, 30, "the page to notice")
    wait_for(lambda: one.seat["connected"], 30, "the seat to be taken again")
    one.says_no_more("The connection to the stage broke.")
    assert one.seat["id"] == seat
    one.is_loud()


def test_the_page_stays_awake_and_warns_only_who_is_live(speaker: Joins, space: Space) -> None:
    one = speaker()
    leaves = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert one.page.evaluate("window.locks.filter((lock) => !lock.released).length") == 1
    assert one.page.evaluate(leaves), "nobody is kept who is not on air"
    space.arm(one.name)
    space.await_state("on_air")
    expect(one.page.locator(".you-live")).to_have_text("You are live", timeout=LONG_MS)
    wait_for(lambda: not one.page.evaluate(leaves), 20, "a warning")
    one.page.evaluate("window.locks.at(-1).released = true")  # as a browser does when the page is hidden
    one.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait_for(lambda: one.page.evaluate("window.locks.filter((lock) => !lock.released).length") == 1, 20, "a new lock")
    one.act("leave").click()
    wait_for(lambda: one.page.evaluate("window.locks.every((lock) => lock.released)"), 20, "the lock to be let go")
    assert one.page.evaluate(leaves)


@pytest.mark.parametrize("language", ["en", "ar"])
def test_on_a_phone_the_microphone_is_under_the_thumb(speaker: Joins, language: str) -> None:
    size = {"width": 360, "height": 640}
    one = speaker(viewport=size, locale=language, has_touch=True, is_mobile=True)
    for place in ("top", "bottom"):
        one.page.evaluate(f"scrollTo(0, {0 if place == 'top' else 'document.body.scrollHeight'})")
        box = one.act("mute-self").bounding_box()
        assert box["y"] > size["height"] / 2
        assert box["y"] + box["height"] <= size["height"]
        assert box["height"] >= 48
    one.act("mute-self").tap()
    wait_for(lambda: one.seat["muted"], 20, "the stage to know")
    one.act("mute-self").tap()
    one.is_loud()
    box = one.act("cough").bounding_box()
    with touching(one.page, box["x"] + 20, box["y"] + 20):
        expect(one.act("cough")).to_have_attribute("aria-pressed", "true")
        one.is_silent()
    one.is_loud()
    assert one.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@contextmanager
def touching(page: Page, x: float, y: float) -> Iterator[None]:
    """A finger that stays."""
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    yield
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


FAKE_MICROPHONE = """
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.peerconnection.ice.loopback", true);
"""
"""A microphone with a tone, given without a question, and 127.0.0.1 as an address to be reached at."""


def calls(space: Space, seat: str) -> int:
    """How many connections the stage has had for a seat."""
    log = space.server.log_path.read_text().splitlines()
    return sum("session_connected" in line and seat in line for line in log)


def test_firefox_speaks_mutes_and_changes_its_network(space: Space, tmp_path: Path) -> None:
    one = Voice(space, "Fox")
    (tmp_path / "user.js").write_text(FAKE_MICROPHONE)
    with firefox(tmp_path) as fox:

        def press(act: str) -> None:
            """As soon as it is there and may be pressed."""
            button = f"document.querySelector('[data-act={act}]')"
            wait_for(lambda: fox.evaluate(f"{button}?.checkVisibility() && !{button}.disabled"), 30, act)
            fox.evaluate(f"void {button}.click()")

        fox.goto(space.links["speaker"])
        wait_for(lambda: fox.evaluate("document.querySelector('#agreed')?.checkVisibility()"), 30, "the form")
        fox.evaluate("void (document.querySelector('#name').value = 'Fox')")
        fox.evaluate("void document.querySelector('#agreed').click()")
        press("open-microphone")
        press("join")
        space.await_seats("Fox", timeout_s=60)
        one.is_loud()
        press("mute-self")
        one.is_silent()
        press("mute-self")
        one.is_loud()
        fox.evaluate("void dispatchEvent(new Event('online'))")
        wait_for(lambda: calls(space, one.seat["id"]) == 2, 30, "another call")
        wait_for(lambda: one.seat["connected"], 30, "the seat")
        one.is_loud()
