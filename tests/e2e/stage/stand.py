"""The stand: a stage in a namespace, and speakers whom nobody here wrote, each behind a line that can be made bad.

Each speaks in a band of its own (`support.heard`), so that the one mix tells of all of them; the mix is recorded without
a pause, by the numbers of the grid, and what a condition did is measured from before it to after it.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from playwright.sync_api import Playwright

from e2e.stage.process import LATE_FRAMES, Stage, running, until, whip, write_wav
from rostra.kernel.shared.ring import Frame, Pcm
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES
from support.browsers import chromium, firefox, program
from support.heard import Band, Heard, compare, speech
from support.netem import Condition
from support.netns import Laboratory, Links, laboratory, listener
from support.sound import SoundCard

SPEECH_S: Final = 240
"""Longer than the module takes, so that every moment is like no other."""

BANDS: Final = {"chromium": Band(200, 800), "firefox": Band(1000, 1700), "ffmpeg": Band(1900, 3000)}
SAID: Final = {name: speech(SPEECH_S, band, seed) for seed, (name, band) in enumerate(BANDS.items())}

LOOK_S: Final = 2.0
"""How much of the mix is looked at to know a delay."""

SPEAK: Final = """async ([url, seat, file]) => {
  let media;
  if (file) {
    const context = new AudioContext({sampleRate: 48000});
    const source = context.createBufferSource(), ear = context.createMediaStreamDestination();
    source.buffer = await context.decodeAudioData(await (await fetch(file)).arrayBuffer());
    source.connect(ear);
    source.start();
    media = ear.stream;
    window.source = source;
  } else {
    const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
    media = await navigator.mediaDevices.getUserMedia({audio: plain});
  }
  window.speak = async (seat) => {
    const peer = new RTCPeerConnection();
    peer.ontrack = ({streams: [stream]}) => {
      const audio = new Audio();
      audio.srcObject = stream;
      audio.muted = true;
      audio.play();
    };
    for (const track of media.getTracks()) peer.addTrack(track, media);
    await peer.setLocalDescription(await peer.createOffer());
    const reply = await fetch(`${url}?seat=${seat}&name=${seat}`, {method: 'POST', body: peer.localDescription.sdp});
    await peer.setRemoteDescription({type: 'answer', sdp: await reply.text()});
    return peer;
  };
  window.peer = await window.speak(seat);
}"""

RETURN: Final = """(async () => {
  const stats = [...(await peer.getStats()).values()];
  const sound = stats.find((one) => one.type === 'inbound-rtp');
  return {state: peer.connectionState, samples: sound.totalSamplesReceived ?? 0,
    concealed: sound.concealedSamples ?? 0, packets: sound.packetsReceived, lost: sound.packetsLost};
})()"""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody on the stage. `evaluate` runs JavaScript in their page; None when they are no browser."""

    name: str
    evaluate: Callable[[str], Any] | None

    @property
    def band(self) -> Band:
        return BANDS[self.name]

    @property
    def said(self) -> Pcm:
        return SAID[self.name]


class Recorder(threading.Thread):
    """The programme's part, all the time: silence to the stage, on the air, and its mix on record."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="recorder")
        self._stage = stage
        self._frames: list[Pcm] = []
        self._begin = 0
        self._ended = threading.Event()
        self.missed = 0
        """Frames that the stage did not make."""

    def start(self) -> None:
        self._begin = time.monotonic_ns() // FRAME_NS
        super().start()

    def run(self) -> None:
        silence = Frame(np.zeros(FRAME_SAMPLES, np.float32), on_air=True)
        number = self._begin
        while not self._ended.is_set():
            time.sleep(max(0, number * FRAME_NS - time.monotonic_ns()) / 1e9)
            self._stage.play(number, silence)
            frame = self._stage.mixed(number - LATE_FRAMES)
            self.missed += frame is None and bool(self._frames)
            self._frames.append(np.zeros(FRAME_SAMPLES, np.float32) if frame is None else frame.pcm)
            number += 1

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def now(self) -> int:
        """The frame that the stage makes now; a mark on the record."""
        return time.monotonic_ns() // FRAME_NS - self._begin

    def take(self, begin: int, end: int) -> Pcm:
        """The mix from the mark `begin` to the mark `end`, as soon as that is recorded."""
        until(lambda: len(self._frames) >= end + LATE_FRAMES, "the mix is recorded", 60)
        return np.concatenate(self._frames[begin + LATE_FRAMES : end + LATE_FRAMES])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a condition did to one speaker. Delays in ms against that before it; `back_s`: until they returned, or NaN."""

    during: Heard
    grown_ms: float
    grown_ms_max: float
    left_ms: float
    back_s: float


class Stand:
    def __init__(self, lab: Laboratory, links: Links, stage: Stage, speakers: Sequence[Speaker]) -> None:
        self.lab = lab
        self.links = links
        self.stage = stage
        self.speakers = speakers
        self.recorder = Recorder(stage)

    def hears(self, speaker: Speaker, begin: int, end: int) -> Heard:
        """What the mix had of `speaker` between two marks."""
        return compare(self.recorder.take(begin, end), speaker.said, speaker.band)

    def delay_ms(self, speaker: Speaker, end: int) -> float:
        """The delay at `end`, from an origin that stays: the frames of the record against the places of what is said."""
        begin = end - round(LOOK_S * 50)
        return self.hears(speaker, begin, end).delay_ms() + begin * 20

    def settled(self) -> None:
        """Wait until everybody is heard as they speak."""
        for speaker in self.speakers:
            until(lambda one=speaker: self._is_clear(one), f"{speaker.name} is heard", 60)  # type: ignore[misc]

    def _is_clear(self, speaker: Speaker) -> bool:
        end = self.recorder.now()
        begin = end - round(LOOK_S * 50)
        if begin < 0:
            return False
        heard = self.hears(speaker, begin, end)
        return heard.likeness > 0.9 and heard.missing == 0

    def endure(
        self, begin: Callable[[], None], seconds: float, *, near_ms: float = 40.0, patience_s: float = 10.0
    ) -> dict[str, Outcome]:
        """What becomes of everybody when `begin` is called and, `seconds` later, all links are perfect again."""
        start = self.recorder.now()
        before = {one.name: self.delay_ms(one, start) for one in self.speakers}
        start = self.recorder.now()
        begin()
        time.sleep(seconds)
        self.links.set(Condition())
        end = self.recorder.now()
        back: dict[str, float] = {}
        while len(back) < len(self.speakers) and self.recorder.now() < end + patience_s * 50:
            now = self.recorder.now()
            for one in self.speakers:
                if one.name not in back and abs(self._last_ms(one, now) - before[one.name]) <= near_ms:
                    back[one.name] = max(0.0, (now - end) / 50)
        last = self.recorder.now()
        return {one.name: self._outcome(one, start, end, last, before[one.name], back) for one in self.speakers}

    def _last_ms(self, speaker: Speaker, end: int) -> float:
        """The delay of the last second."""
        begin = end - 50
        return self.hears(speaker, begin, end).delay_ms() + begin * 20

    def _outcome(
        self, one: Speaker, start: int, end: int, last: int, before_ms: float, back: dict[str, float]
    ) -> Outcome:
        during = self.hears(one, start, end)
        delays = [w.delay_ms for w in during.windows if w.delay_ms is not None]
        grown = [delay + start * 20 - before_ms for delay in delays] or [float("nan")]
        left = self._last_ms(one, last) - before_ms
        return Outcome(during, float(np.median(grown)), max(grown), left, back.get(one.name, float("nan")))

    def returns(self) -> dict[str, dict[str, float]]:
        """What the browsers say about what they hear."""
        return {one.name: one.evaluate(RETURN) for one in self.speakers if one.evaluate is not None}


@contextmanager
def stand(root: Path, playwright: Playwright, names: Sequence[str] = ("chromium", "firefox")) -> Iterator[Stand]:
    """Everything, with all speakers armed and heard."""
    with ExitStack() as made:
        lab = made.enter_context(laboratory("stage", *names))
        links = made.enter_context(lab.join({name: (name, "stage") for name in names}))
        stage = made.enter_context(running(root, lab.command("stage")))
        port = made.enter_context(lab.inside("stage", lambda: listener("0.0.0.0")))
        made.enter_context(whip(stage, port))
        speakers = []
        for name in names:
            url = f"http://{links.address(name, 'stage')}:{port.getsockname()[1]}/whip/stage-test"
            speakers.append(Speaker(name, START[name](made, root, playwright, lab, stage, url)))
        ready = Stand(lab, links, stage, speakers)
        for name in names:
            stage.await_seat(name)
            stage.call("arm", seat=name)
        ready.recorder.start()
        made.callback(ready.recorder.stop)
        ready.settled()
        yield ready


def _chromium(
    made: ExitStack, root: Path, playwright: Playwright, lab: Laboratory, stage: Stage, url: str
) -> Callable[[str], Any]:
    wrapped = lab.wrapped("chromium", program("chromium"), root / "chromium-inside")
    origin = url.rpartition("/whip")[0]
    microphone = write_wav(root / "chromium.wav", SAID["chromium"])
    browser = made.enter_context(
        chromium(playwright, microphone=microphone, executable=str(wrapped), trusted=origin)
    )
    page = browser.new_page()
    page.goto(url)
    page.evaluate(SPEAK, [url, "chromium", ""])
    return page.evaluate


def _firefox(
    made: ExitStack, root: Path, playwright: Playwright, lab: Laboratory, stage: Stage, url: str
) -> Callable[[str], Any]:
    folder = root / "firefox"
    folder.mkdir()
    write_wav(stage.folder.path / "voice.wav", SAID["firefox"])
    card = SoundCard(folder, "firefox")
    made.callback(card.close)

    def reach(host: str, port: int) -> socket.socket:
        return lab.inside("firefox", lambda: socket.create_connection((host, port)))

    page = made.enter_context(firefox(folder, card.environment("firefox"), lab.command("firefox"), reach))
    page.goto(url)
    page.evaluate(f"({SPEAK})({[url, 'firefox', '/voice.wav']})")
    return page.evaluate


START: Final[dict[str, Callable[..., Callable[[str], Any] | None]]] = {"chromium": _chromium, "firefox": _firefox}
