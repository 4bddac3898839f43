"""The stand: a stage in a namespace, and speakers whom nobody here wrote, each behind a line that can be made bad.

Each speaks in a band of its own (`support.heard`), so that the one mix tells of all of them; the mix is always
recorded, by the numbers of the grid, and what a condition did is measured from before it to after it.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from playwright.sync_api import Playwright

from e2e.stage.process import Stage, running, until, whip, write_wav
from rostra.kernel.shared.ring import Frame, Pcm
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES
from support.browsers import chromium, firefox, program
from support.ffmpeg_whip import publishing
from support.heard import RATE, Band, Heard, lay, narrowed, speech
from support.netns import Laboratory, Links, laboratory, listener
from support.sound import SoundCard

SPEECH_S: Final = 240
"""Longer than the module takes, so that every moment is like no other."""

BANDS: Final = {"chromium": Band(200, 800), "firefox": Band(1000, 1700), "ffmpeg": Band(1900, 3000)}
SAID: Final = {name: speech(SPEECH_S, band, seed) for seed, (name, band) in enumerate(BANDS.items())}
SOURCES: Final = {name: narrowed(SAID[name], band) for name, band in BANDS.items()}

LATE_FRAMES: Final = 10
"""How long after its time a frame is read: the stage may be late by that much."""

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
  window.come_again = async (seat, times) => {   // without a goodbye: the new connection takes the old one's place
    let old = null;
    for (let made = 0; made < times; made++) {
      const next = await window.speak(seat);
      while (next.connectionState !== 'connected') {
        if (['failed', 'closed'].includes(next.connectionState)) throw new Error(next.connectionState);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      if (old && made % 2) old.close();
      old = next;
    }
    old.close();
  };
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
    """What trouble did to one speaker. Delays are beyond the usual: the median and the greatest meanwhile, and
    what was left of it in the second after.
    """

    during: Heard
    grown_ms: float
    grown_ms_max: float
    left_ms: float


class Stand:
    """A stage and its speakers. Marks are frames of the record; delays have an origin that stays."""

    def __init__(self, lab: Laboratory, links: Links, stage: Stage, speakers: Sequence[Speaker]) -> None:
        self.lab = lab
        self.links = links
        self.stage = stage
        self.speakers = speakers
        self.recorder = Recorder(stage)
        self.usual_ms: dict[str, float] = {}
        """Everybody's delay when all was well, the least so far: FFmpeg begins with a burst and is behind at first."""

    def heard(self, begin: int, end: int) -> dict[str, Heard]:
        """What the mix had of each between two marks; its delays are from the begin of the record."""
        mix = self.recorder.take(begin, end)
        return {one.name: self._heard(one, mix, begin) for one in self.speakers}

    def _heard(self, one: Speaker, mix: Pcm, begin: int) -> Heard:
        usual_ms = self.usual_ms.get(one.name)
        around = None if usual_ms is None else round((begin * 20 - usual_ms) * RATE / 1000)
        heard = lay(narrowed(mix, one.band), SOURCES[one.name], around)
        windows = [w if w.delay_ms is None else replace(w, delay_ms=w.delay_ms + begin * 20) for w in heard.windows]
        return replace(heard, windows=tuple(windows))

    def last(self, seconds: float) -> dict[str, Heard]:
        """What the mix had of each until now."""
        end = self.recorder.now()
        return self.heard(end - round(seconds * 50), end)

    def grown_ms(self) -> dict[str, float]:
        """By how much each delay is greater than usual; NaN for who is not to be recognised."""
        return {name: heard.delay_ms() - self.usual_ms[name] for name, heard in self.last(1).items()}

    def settled(self) -> None:
        """Wait until everybody is heard without a hole."""
        until(lambda: self.recorder.now() > LOOK_S * 50 and self._is_clear(), "all are heard", 60)
        for name, heard in self.last(LOOK_S).items():
            self.usual_ms[name] = min(self.usual_ms.get(name, float("inf")), heard.delay_ms())

    def _is_clear(self) -> bool:
        heard = self.last(LOOK_S).values()
        return all(one.silent == 0 and all(w.delay_ms is not None for w in one.windows) for one in heard)

    def endure(self, trouble: AbstractContextManager[None], seconds: float) -> dict[str, Outcome]:
        """What becomes of everybody when there is `trouble` for so long, and a second after."""
        start = self.recorder.now()
        with trouble:
            time.sleep(seconds)
        end = self.recorder.now()
        until(lambda: self.recorder.now() >= end + 50, "a second more")
        left = self.grown_ms()
        outcomes = {}
        for name, heard in self.heard(start, end).items():
            grown = [w.delay_ms - self.usual_ms[name] for w in heard.windows if w.delay_ms is not None]
            median, most = (float(np.median(grown)), max(grown)) if grown else (float("nan"), float("nan"))
            outcomes[name] = Outcome(heard, median, most, left[name])
        return outcomes

    def returns(self) -> dict[str, dict[str, float]]:
        """What the browsers say about what they hear."""
        return {one.name: one.evaluate(RETURN) for one in self.speakers if one.evaluate is not None}


@contextmanager
def stand(root: Path, playwright: Playwright, names: Sequence[str] = tuple(BANDS)) -> Iterator[Stand]:
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
    browser = made.enter_context(chromium(playwright, microphone=microphone, executable=str(wrapped), trusted=origin))
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


def _ffmpeg(made: ExitStack, root: Path, playwright: Playwright, lab: Laboratory, stage: Stage, url: str) -> None:
    file = write_wav(root / "ffmpeg.wav", SAID["ffmpeg"])
    inside = lab.command("ffmpeg")
    made.enter_context(publishing(f"{url}?seat=ffmpeg&name=ffmpeg", "token", file, root / "ffmpeg", inside=inside))


START: Final[dict[str, Callable[..., Callable[[str], Any] | None]]] = {
    "chromium": _chromium,
    "firefox": _firefox,
    "ffmpeg": _ffmpeg,
}
