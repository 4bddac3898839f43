"""Real peers on a real stage: what they say reaches the mix, and each hears the others, never themself."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from e2e.stage.process import Stage, likeness, running, samples, until, voice, whip, write_wav
from rostra.ear.io.speak import Report, speak
from rostra.kernel.shared.ring import Pcm
from support.browsers import chromium

SPEAK = """async ([url, seat, file]) => {
  const context = new AudioContext({sampleRate: 48000});
  let media;
  if (file) {
    const source = context.createBufferSource(), ear = context.createMediaStreamDestination();
    source.buffer = await context.decodeAudioData(await (await fetch(file)).arrayBuffer());
    source.loop = true;
    source.connect(ear);
    source.start();
    media = ear.stream;
  } else {
    const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
    media = await navigator.mediaDevices.getUserMedia({audio: plain});
  }
  const peer = new RTCPeerConnection();
  window.peer = peer;
  window.heard = [];
  peer.ontrack = ({streams: [stream]}) => {
    const audio = new Audio();
    audio.srcObject = stream;   // Chromium only decodes a remote track that an element plays
    audio.muted = true;
    audio.play();
    const node = context.createScriptProcessor(4096, 1, 1);
    node.onaudioprocess = (event) => window.heard.push(event.inputBuffer.getChannelData(0).slice());
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
  };
  for (const track of media.getTracks()) peer.addTrack(track, media);
  await peer.setLocalDescription(await peer.createOffer());
  const reply = await fetch(`${url}?seat=${seat}&name=${seat}`, {method: 'POST', body: peer.localDescription.sdp});
  await peer.setRemoteDescription({type: 'answer', sdp: await reply.text()});
}"""


HEARD = """async () => {
  const read = new FileReader();
  const done = new Promise((resolve) => { read.onload = resolve; });
  read.readAsDataURL(new Blob(window.heard.splice(0)));
  await done;
  return read.result.split(',')[1];
}"""


def heard(page: Page) -> Pcm:
    """What the page heard since it was last asked."""
    return np.frombuffer(base64.b64decode(page.evaluate(HEARD)), np.float32)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running(tmp_path) as stage:
        yield stage


@pytest.mark.browser
def test_two_pages_reach_the_mix_and_hear_each_other_only(stage: Stage, tmp_path: Path) -> None:
    ann, bob, music = voice(4, 1), voice(4, 2), voice(3, 3)
    microphone = write_wav(tmp_path / "ann.wav", ann)
    write_wav(stage.folder.path / "voice.wav", bob)
    with whip(stage) as url, sync_playwright() as playwright, chromium(playwright, microphone=microphone) as browser:
        pages = [browser.new_page(), browser.new_page()]
        for page, seat, file in zip(pages, ("ann", "bob"), ("", "/voice.wav"), strict=True):
            page.goto(url)
            page.evaluate(SPEAK, [url, seat, file])
            stage.await_seat(seat)

        silence = samples(stage.programme(1, music, on_air=False))
        assert not silence.any()  # nobody is armed
        assert heard(pages[0]).any()

        stage.call("arm", seat="ann")

        def ann_is_heard(*, on_air: bool) -> bool:
            """One try of two seconds: on a busy machine browsers and stage stumble, and what they make is unlike."""
            frames = stage.programme(2, music, on_air=on_air)
            mixed, bob_hears = samples(frames), heard(pages[1])[-48_000:]
            assert likeness(mixed, bob) < 0.4
            made = next(frame for frame in reversed(frames) if frame is not None)
            told = (made.armed, made.present, made.speaker) == (1, 1, "ann")
            return told and likeness(mixed, ann) > 0.9 and likeness(bob_hears, ann) > 0.7

        until(lambda: ann_is_heard(on_air=False), "Ann and the music", 30)
        until(lambda: ann_is_heard(on_air=True), "Ann on the air", 30)

        def reported() -> bool:
            """Chromium reports about every 5 s; what it says is a busy machine's affair."""
            known = [stage.seat(seat)["network"] for seat in ("ann", "bob")]
            return all(
                None not in (each["rtt_ms"], each["loss_in"], each["loss_out"], each["quality"]) for each in known
            )

        until(reported, "both networks are known", 60)
        assert np.abs(heard(pages[0])[-24_000:]).max() < 0.01  # she is the only one on the air
        stage.call("remove", seat="ann")
        until(
            lambda: pages[0].evaluate("peer.connectionState") in ("closed", "failed", "disconnected"), "Ann is let go"
        )


def test_a_speaker_from_a_file_comes_back_after_the_stage_was_killed(stage: Stage, tmp_path: Path) -> None:
    said = voice(4, 4)
    file = write_wav(tmp_path / "said.wav", said)
    reports: list[Report] = []
    events: list[str] = []
    with whip(stage) as url:
        speaker = threading.Thread(
            target=lambda: reports.append(
                speak(
                    url,
                    "token",
                    file,
                    seat="cleo",
                    name="Cleo",
                    for_s=14,
                    loop=True,
                    on_event=lambda event, _: events.append(event),
                )
            )
        )
        speaker.start()
        stage.await_seat("cleo")
        stage.call("arm", seat="cleo")
        frames = stage.programme(3, np.zeros(960, np.float32), on_air=True)
        assert likeness(samples(frames[55:]), said) > 0.85

        stage.restart(kill=True)
        assert stage.seat("cleo")["armed"]
        assert not stage.seat("cleo")["connected"]
        stage.await_seat("cleo")
        frames = stage.programme(3, np.zeros(960, np.float32), on_air=True)
        assert likeness(samples(frames[55:]), said) > 0.85
        assert stage.counters()["sessions"] == 1

        assert stage.stop() == 0
        speaker.join(20)
    assert reports[0].connections == 2
    assert reports[0].connected_ms is not None
    assert events[0] == "connected"
