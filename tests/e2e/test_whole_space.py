"""The first whole Space: two microphones in Chromium, two ears in Chromium and Firefox, players, and what they heard.

Nothing is asked of the server that an ear can tell: what each browser played was recorded from a sound card and is
compared with its sources.
"""

import io
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page, Playwright, expect

from rostra.ear.align import Alignment, Dropout, align_loop, dropouts, slips
from rostra.kernel.units import SAMPLE_RATE
from rostra.programme import hold
from support.browsers import Firefox, chromium, firefox, program
from support.server import Server, Space, in_seconds, wait_for
from support.sound import SoundCard, Take
from support.voices import read_wav

Samples = npt.NDArray[np.float32]

SECOND = SAMPLE_RATE
PIECE = 2 * SECOND
"""Short enough that a browser which catches up, or conceals, leaves some of them as they were said."""
MUSIC_S = 12
TALK_S = 24


@dataclass
class Story:
    """What came of one Space: who was recorded when (seconds into each take), and what players made of it."""

    space: Space
    takes: dict[str, Take] = field(default_factory=dict)
    marks: dict[str, dict[str, float]] = field(default_factory=dict)
    voices: dict[str, Samples] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)
    probe: dict[str, Any] = field(default_factory=dict)
    mpv: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    replayed: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        """Remember where in each take this moment lies."""
        self.marks[name] = {sink: take.seconds for sink, take in self.takes.items()}

    def between(self, sink: str, begin: str, end: str) -> Samples:
        samples = self.takes[sink].samples()
        return samples[round(self.marks[begin][sink] * SECOND) : round(self.marks[end][sink] * SECOND)]


def join(page: Page, link: str, name: str) -> None:
    """What a speaker does: open the link, agree, open the microphone, join."""
    page.goto(link)
    page.locator("#name").fill(name)
    page.locator("#agreed").check()
    page.locator("[data-act=open-microphone]").click()
    page.locator("#plain").check()  # the sound as it is: this test compares waveforms
    page.locator("[data-act=join]").click()


@pytest.fixture(scope="module")
def story(
    server: Server, voices: dict[str, Path], playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    card = SoundCard(folder, "host", "guest", "chromium", "firefox")
    with ExitStack() as stack:
        stack.callback(card.close)
        space = server.create(starts_in_s=600, doors_s=598)
        story = Story(space, voices={name: read_wav(path) for name, path in voices.items()})
        host, guest = (
            stack.enter_context(
                chromium(playwright, microphone=voices[name], environment=card.environment(sink))
            ).new_page(reduced_motion="reduce")
            for name, sink in (("Voice A", "host"), ("Voice B", "guest"))
        )
        listener = stack.enter_context(chromium(playwright, environment=card.environment("chromium"))).new_page(
            reduced_motion="reduce"
        )
        fox = stack.enter_context(firefox(folder / "firefox", card.environment("firefox")))
        for sink in ("host", "guest", "chromium", "firefox"):
            story.takes[sink] = stack.enter_context(card.recording(sink, folder / f"{sink}.f32"))
        yield tell(story, host, guest, listener, fox, folder)


def tell(story: Story, host: Page, guest: Page, listener: Page, fox: Firefox, folder: Path) -> Story:
    space = story.space
    join(host, space.links["host"], "Voice A")
    join(guest, space.links["speaker"], "Voice B")
    space.await_seats("Voice A", "Voice B")
    expect(host.locator("[data-act=arm]")).to_have_count(2)
    for button in host.locator("[data-act=arm]").all():
        button.click()
    wait_for(lambda: all(seat["armed"] for seat in space.seats().values()), 10, "both seats armed")

    space.await_state("doors_open", 60)
    listener.goto(space.url)
    listener.locator("#play").click()
    fox.goto(space.url)
    fox.evaluate("document.querySelector('#play').click()")
    for playing in (lambda: plays(listener.evaluate), lambda: plays(fox.evaluate)):
        wait_for(playing, 30, "sound in a browser")
    note(story, "doors", listener, fox)
    story.mark("music")
    # However long the browsers took: from here the music plays, and the start is announced.
    space.command("reschedule", starts_at=in_seconds(MUSIC_S + 6))
    space.await_state("on_air", 60)
    story.mark("on air")
    wait_for(lambda: played(story, "on air", "chromium") > TALK_S, TALK_S + 15, "the talk")
    play_elsewhere(story, folder)
    note(story, "speaking", listener, fox)
    story.stats = {"chromium": listener.evaluate("rostra.stats()"), "firefox": fox.evaluate("rostra.stats()")}
    story.mark("end")

    host.locator("[data-act=end]").click()
    host.locator("[data-act=end-yes]").click()
    space.await_state("ended")
    for evaluate in (listener.evaluate, fox.evaluate):
        wait_for(lambda ask=evaluate: ask("document.querySelector('#space').dataset.state") == "ended", 20, "the end")
    note(story, "ended", listener, fox)
    host.locator("[data-act=approve]").click()
    wait_for(lambda: space.state == "replay", 20, "the replay to be published")
    listener.reload()
    fox.goto(space.url)
    for name, evaluate in (("chromium", listener.evaluate), ("firefox", fox.evaluate)):
        wait_for(
            lambda ask=evaluate: "replay" in ask("document.querySelector('#space').dataset.state"), 20, "the replay"
        )
        evaluate("document.querySelector('#play').click()")
        wait_for(
            lambda ask=evaluate: ask("document.querySelector('#recording').currentTime") > 1, 20, "the replay to play"
        )
        evaluate("void (document.querySelector('#recording').currentTime = 15)")
        wait_for(lambda ask=evaluate: ask("document.querySelector('#recording').currentTime") > 15.5, 20, "a seek")
        story.replayed[name] = evaluate("document.querySelector('#recording').duration")
    note(story, "replay", listener, fox)
    return story


def plays(evaluate: Any) -> bool:
    return bool(evaluate("document.querySelector('#live').currentTime > 0 && !document.querySelector('#live').paused"))


def played(story: Story, mark: str, sink: str) -> float:
    """Seconds recorded since a mark."""
    return story.takes[sink].seconds - story.marks[mark][sink]


def note(story: Story, name: str, listener: Page, fox: Firefox) -> None:
    """What the pages say, in words."""
    story.words[name] = [listener.inner_text("main"), fox.evaluate("document.querySelector('main').innerText")]


def play_elsewhere(story: Story, folder: Path) -> None:
    """mpv and ffprobe take the address that the page takes."""
    url, wav = f"{story.space.url}/live", folder / "mpv.wav"
    probed = subprocess.run(
        [program("ffprobe"), "-v", "error", "-show_streams", "-of", "json", "-read_intervals", "%+2", url],
        capture_output=True,
        check=True,
        timeout=60,
    )
    story.probe = json.loads(probed.stdout)["streams"][0]
    player = subprocess.Popen(
        [program("mpv"), "--no-config", "--no-video", "--ao=pcm", f"--ao-pcm-file={wav}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: wav.exists() and wav.stat().st_size > 7 * 4 * SECOND, 60, "mpv to play")
    finally:
        player.terminate()
        player.wait(10)
    story.mpv = wav_so_far(wav)


def wav_so_far(path: Path) -> Samples:
    """The samples of a WAV file whose writer was stopped: mono, float32, after a header of 44 bytes or more."""
    data = path.read_bytes()
    begin = data.index(b"data") + 8
    return np.frombuffer(data[begin : begin + (len(data) - begin) // 4 * 4], np.float32)


def best(pieces: list[Alignment]) -> Alignment:
    return max(pieces, key=lambda piece: piece.correlation)


def follows(pieces: list[Alignment], source: Samples) -> float:
    """How many of the pieces go on in the source where the one before ended, within 20 ms; 0 to 1.

    A voice that is there goes on. One that is not is found somewhere in each piece all the same, as voices resemble
    each other, but each time somewhere else: two neighbours meet by chance once in 150 times.
    """
    return float(np.mean(np.abs(slips(pieces, len(source), PIECE)) < SECOND // 50))


def gain_db(captured: Samples, source: Samples, at: Alignment) -> float:
    """How loud the source is within the captured mix: its projection, so that another voice does not count."""
    line = np.concatenate((source, source))[at.lag : at.lag + len(captured)].astype(np.float64)
    heard = captured[: len(line)].astype(np.float64)
    return float(20 * np.log10(np.dot(heard, line) / np.dot(line, line)))


@pytest.mark.browser
@pytest.mark.parametrize("sink", ["chromium", "firefox"])
def test_listeners_hear_the_hold_music_before_the_talk(story: Story, sink: str) -> None:
    """In quarters of a second: a page that catches up plays 3 % faster, and longer pieces are then like no other."""
    piece = SECOND // 4
    pieces = align_loop(story.between(sink, "music", "on air")[-MUSIC_S * SECOND :], hold.loop(), piece)
    likeness = np.array([piece.correlation for piece in pieces])
    slipped_ms = np.abs(slips(pieces, len(hold.loop()), piece)) * 1000 / SECOND
    level_db = np.array([piece.level_db for piece in pieces])
    p10, p50 = np.percentile(likeness, (10, 50))
    print(f"\n{sink}: hold music, likeness p10 {p10:.3f}, p50 {p50:.3f}, level {np.median(level_db):+.2f} dB")
    assert np.median(likeness) > 0.9
    assert np.median(slipped_ms) < 20, "the music goes on from piece to piece"
    assert np.all(np.abs(level_db) < 3)


@pytest.mark.browser
@pytest.mark.parametrize("sink", ["chromium", "firefox"])
@pytest.mark.parametrize("name", ["Voice A", "Voice B"])
def test_listeners_hear_both_voices(story: Story, sink: str, name: str) -> None:
    heard = story.between(sink, "on air", "end")[3 * SECOND :]
    source = story.voices[name]
    pieces = align_loop(heard, source, PIECE)
    at = best(pieces)
    start = pieces.index(at) * PIECE
    level = gain_db(heard[start : start + PIECE], source, at)
    goes_on = follows(pieces, source)
    print(f"\n{sink}: {name} correlation {[round(p.correlation, 2) for p in pieces]}, goes on in {goes_on:.2f}")
    print(f"level {level:+.2f} dB")
    assert at.correlation > 0.5, "two voices at once: each is half of what is heard"
    assert goes_on > 0.5
    assert abs(level) < 3


@pytest.mark.browser
@pytest.mark.parametrize("sink", ["chromium", "firefox"])
def test_nothing_drops_out(story: Story, sink: str) -> None:
    """Where the music, or either voice, sounds, there is sound: never 40 ms without."""
    music = story.between(sink, "music", "on air")[-MUSIC_S * SECOND :]
    assert longest_silence_ms(music) < 40
    missing = talk_missing(story.between(sink, "on air", "end")[3 * SECOND :], list(story.voices.values()))
    assert not missing, [f"{each.ms:.0f} ms at {each.start / SECOND:.2f} s" for each in missing]
    assert story.stats[sink]["gaps"] == 0, story.stats[sink]


def talk_missing(heard: Samples, voices: list[Samples]) -> list[Dropout]:
    """Dropouts of over 40 ms against the mix that the voices make where each was found, piece by piece."""
    found = [align_loop(heard, voice, PIECE) for voice in voices]
    missing = []
    for number, places in enumerate(zip(*found, strict=True)):
        piece = heard[number * PIECE : (number + 1) * PIECE]
        mix = sum(
            np.take(voice, np.arange(at.lag, at.lag + len(piece)), mode="wrap")
            for voice, at in zip(voices, places, strict=True)
        )
        level_db = float(10 * np.log10(np.mean(piece.astype(np.float64) ** 2) / np.mean(mix.astype(np.float64) ** 2)))
        missing += dropouts(piece, mix, Alignment(0, 1.0, level_db, len(piece)))
    return missing


def longest_silence_ms(samples: Samples) -> float:
    """The longest stretch below -50 dBFS, in steps of 5 ms."""
    steps = samples[: len(samples) // 240 * 240].reshape(-1, 240).astype(np.float64)
    quiet = np.sqrt(np.mean(steps**2, axis=1)) < 10 ** (-50 / 20)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False])).astype(np.int8)))
    return float(max(edges[1::2] - edges[::2], default=0) * 5)


@pytest.mark.browser
def test_a_speaker_hears_the_other_and_not_themself(story: Story) -> None:
    for sink, own, other in (("host", "Voice A", "Voice B"), ("guest", "Voice B", "Voice A")):
        heard = story.between(sink, "on air", "end")[3 * SECOND :]
        themself, another = (align_loop(heard, story.voices[name], PIECE) for name in (own, other))
        print(f"\n{sink}: hears the other with {best(another).correlation:.2f}, going on in", end=" ")
        print(f"{follows(another, story.voices[other]):.2f}; themself in {follows(themself, story.voices[own]):.2f}")
        assert best(another).correlation > 0.6
        assert follows(another, story.voices[other]) > 0.5
        assert follows(themself, story.voices[own]) < 0.3


@pytest.mark.browser
def test_speakers_hear_the_hold_music_too(story: Story) -> None:
    heard = story.between("guest", "music", "on air")
    at = best(align_loop(heard, hold.loop(), 4 * SECOND))
    print(f"\nguest hears the music with {at.correlation:.2f} at {at.level_db:+.1f} dB")
    assert at.correlation > 0.1, "under the other's voice"


@pytest.mark.browser
def test_the_talk_is_on_air_within_a_frame_of_its_instant_and_both_times_are_published(story: Story) -> None:
    on_air = next(entry for entry in story.space.journal() if entry["state"] == "on_air")
    print(f"\non air {on_air['on_air_offset_ms']:.3f} ms after the announced instant")
    assert 0 <= on_air["on_air_offset_ms"] < 20
    assert story.space.public()["programme"]["on_air_offset_ms"] == pytest.approx(on_air["on_air_offset_ms"], abs=0.01)
    for sink in ("chromium", "firefox"):
        print(f"{sink}: {story.stats[sink]}")
        assert 0 < story.stats[sink]["delay_ms"] < 4000


@pytest.mark.browser
def test_the_page_says_in_words_what_happens(story: Story) -> None:
    for text in story.words["doors"]:
        assert "Doors open, starts in" in text
    for text in story.words["speaking"]:
        assert "is speaking" in text
        assert "2 listening" in text or "3 listening" in text or "4 listening" in text
    for text in story.words["ended"]:
        assert "Ended" in text
    for text in story.words["replay"]:
        assert "listen again" in text


@pytest.mark.browser
def test_players_take_the_same_address(story: Story) -> None:
    assert (story.probe["codec_name"], story.probe["sample_rate"], story.probe["channels"]) == ("opus", "48000", 1)
    correlation = max(best(align_loop(story.mpv, voice, 4 * SECOND)).correlation for voice in story.voices.values())
    print(f"\nmpv heard a voice with {correlation:.2f}")
    assert correlation > 0.5


@pytest.mark.browser
def test_the_replay_is_at_the_same_address_and_opens_in_every_player(story: Story, tmp_path: Path) -> None:
    talked = (story.space.journal()[-2]["since_ns"] - story.space.first_on_air_ns()) / 1e9
    with urllib.request.urlopen(f"{story.space.url}/recording.m4a", timeout=30) as answer:
        file = tmp_path / "recording.m4a"
        file.write_bytes(answer.read())
    with av.open(io.BytesIO(file.read_bytes())) as container:
        samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    assert len(samples) / SECOND == pytest.approx(talked, abs=1.5)
    for duration in story.replayed.values():
        assert duration == pytest.approx(len(samples) / SECOND, abs=0.1)
    for name, voice in story.voices.items():
        correlation = best(align_loop(samples, voice, 4 * SECOND)).correlation
        print(f"\nrecording holds {name} with {correlation:.2f}")
        assert correlation > 0.5
    probed = subprocess.run(
        [program("ffprobe"), "-v", "error", "-show_format", "-of", "json", str(file)], capture_output=True, check=True
    )
    assert probed.stderr == b"", "ffprobe has nothing to complain about"
    mpv = [program("mpv"), "--no-config", "--no-video", "--ao=null", "--untimed", "--start=10", "--length=2", str(file)]
    assert subprocess.run(mpv, capture_output=True, check=False, timeout=60).returncode == 0
