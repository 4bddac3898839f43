"""The stand: a stage in a namespace, and speakers whom nobody here wrote, each behind a line that can be made bad.

Each speaks in a band of its own (`support.heard`), so that the one mix tells of all of them; the mix is always
recorded, by the numbers of the grid, and what a condition did is measured from before it to after it.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from playwright.sync_api import Playwright

from e2e.stage.process import Stage, running, until, whip, write_wav
from rostra.kernel.shared.ring import Frame, Pcm
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES
from support.browsers import chromium, firefox, program
from support.ffmpeg_whip import publishing
from support.heard import Band, Heard, compare, speech
from support.netns import Laboratory, Links, laboratory, listener
from support.sound import SoundCard

SPEECH_S: Final = 240
"""Longer than the module takes, so that every moment is like no other."""

BANDS: Final = {"chromium": Band(200, 800), "firefox": Band(1000, 1700), "ffmpeg": Band(1900, 3000)}
SAID: Final = {name: speech(SPEECH_S, band, seed) for seed, (name, band) in enumerate(BANDS.items())}

LATE_FRAMES: Final = 10
"""How long after its time a frame is read: the stage may be late by that much."""

LOOK_S: Final = 2.0
"""How much of the mix is looked at to know a delay."""

NEAR_MS: Final = 45.0
"""A delay this near to that before has returned: two frames of 20 ms, of which all delays are made, and a little."""

PATIENCE_S: Final = 12.0

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
    """What trouble did to one speaker. Delays in ms against that before it; `back_s`: until they returned, or NaN."""

    during: Heard
    grown_ms: float
    grown_ms_max: float
    left_ms: float
    back_s: float


def _outcome(during: Heard, origin_ms: float, left_ms: float, back_s: float) -> Outcome:
    grown = [window.delay_ms + origin_ms for window in during.windows if window.delay_ms is not None]
    median, most = (float(np.median(grown)), max(grown)) if grown else (float("nan"), float("nan"))
    return Outcome(during, median, most, left_ms, back_s)


class Stand:
    """A stage and its speakers. Marks are frames of the record; delays have an origin that stays."""

    def __init__(self, lab: Laboratory, links: Links, stage: Stage, speakers: Sequence[Speaker]) -> None:
        self.lab = lab
        self.links = links
        self.stage = stage
        self.speakers = speakers
        self.recorder = Recorder(stage)

    def heard(self, begin: int, end: int) -> dict[str, Heard]:
        """What the mix had of each between two marks."""
        mix = self.recorder.take(begin, end)
        return {one.name: compare(mix, one.said, one.band) for one in self.speakers}

    def delays_ms(self, seconds: float) -> dict[str, float]:
        """Everybody's delay in the last seconds."""
        end = self.recorder.now()
        begin = end - round(seconds * 50)
        return {name: heard.delay_ms() + begin * 20 for name, heard in self.heard(begin, end).items()}

    def settled(self, *names: str) -> None:
        """Wait until everybody (or those named) is heard as they speak."""
        until(lambda: not self._unclear(names), "all are heard", 60)

    def _unclear(self, names: Sequence[str]) -> list[str]:
        end = self.recorder.now()
        begin = end - round(LOOK_S * 50)
        if begin < 0:
            return list(names) or list(BANDS)
        heard = self.heard(begin, end)
        return [n for n in names or heard if not (heard[n].likeness > 0.9 and heard[n].missing == 0)]

    def endure(self, trouble: AbstractContextManager[None], seconds: float) -> dict[str, Outcome]:
        """What becomes of all when there is `trouble` for so long, and until their delays are what they were before."""
        before = self.delays_ms(LOOK_S)
        start = self.recorder.now()
        with trouble:
            time.sleep(seconds)
        end = self.recorder.now()
        back: dict[str, float] = {}
        now = end
        while len(back) < len(before) and now < end + PATIENCE_S * 50:
            now = self.recorder.now()
            left = {name: delay - before[name] for name, delay in self.delays_ms(1).items()}
            near = [name for name, ms in left.items() if abs(ms) <= NEAR_MS and name not in back]
            back |= dict.fromkeys(near, (now - end) / 50)
        return {
            name: _outcome(heard, start * 20 - before[name], left[name], back.get(name, float("nan")))
            for name, heard in self.heard(start, end).items()
        }

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
