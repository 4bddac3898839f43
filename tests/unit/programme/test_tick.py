"""A programme's real process, its log decoded: the talk begins on the frame, the music never stops, nothing is lost."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rostra.kernel.errors import PeerError
from rostra.kernel.io.system import now
from rostra.kernel.shared.index import Flag
from rostra.kernel.units import FRAGMENT_FRAMES, FRAME_NS, FRAME_SAMPLES, MS_NS, SECOND_NS
from rostra.media.codec import CODECS
from rostra.programme import hold
from rostra.programme.io.tick import LAG, run
from rostra.programme.transitions import FADE_FRAMES, MISSING_MAX
from rostra.space import lifecycle
from rostra.space.lifecycle import Cause, Event, Life, State
from support.programme import Samples, Space, Stage, lag, likeness, space, speech, until

RENDITIONS = [codec.name for codec in CODECS]


class Story:
    """Music, talk, a stage that falls silent, music, talk, the end: played once, examined by many tests."""

    def __init__(self, folder: Path) -> None:
        with space(folder) as played:
            process = played.start()
            stage = Stage(played.folder)
            self.starts_at_ns = now().wall_ns + 2 * SECOND_NS
            played.ask("reschedule", starts_at_ns=self.starts_at_ns)
            until(lambda: played.state() == "on_air")
            played.wait_for_frame(played.ask("status")["frame"] + 100)
            stage.stop()
            until(lambda: played.state() == "holding")
            played.wait_for_frame(played.ask("status")["frame"] + 75)
            self.stage, stage = stage, Stage(played.folder)
            until(lambda: played.state() == "on_air")
            played.wait_for_frame(played.ask("status")["frame"] + 50)
            self.status = played.ask("status")
            self.end = played.ask("end")
            self.code = process.wait(60)
            stage.stop()
            self.journal = played.journal()
            reader = played.reader()
            self.records, self.anchor = list(reader.records), reader.header.anchor
            self.numbers = {name: [record.number for record in played.reader(name).records] for name in RENDITIONS}
            self.heard = {name: played.heard(name) for name in RENDITIONS}
            self.files = {path.name for path in (played.folder.programmes / "floor" / "aac").iterdir()}
            self.counters = played.counters.read()
        self.grid = self.anchor.mono_ns // FRAME_NS

    def line(self, event: str, skip: int = 0) -> dict[str, Any]:
        return [line for line in self.journal if line["event"] == event][skip]

    def said(self, start: int, end: int) -> Samples:
        """What the stage said in the frames [start, end) of the timeline."""
        return np.concatenate([speech(self.grid + frame - LAG) for frame in range(start, end)])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


def music(start: int, end: int) -> Samples:
    return np.concatenate([hold.loop()] * 2)[start * FRAME_SAMPLES : end * FRAME_SAMPLES]


def cut(heard: Samples, start: int, end: int) -> Samples:
    return heard[start * FRAME_SAMPLES : end * FRAME_SAMPLES]


def test_it_ends_by_itself_with_a_recording(story: Story):
    assert story.code == 0
    assert story.end["state"] == "replay"
    assert {"recording.head", "recording.json"} <= story.files


def test_it_is_on_air_with_the_first_frame_at_or_after_the_announced_instant(story: Story):
    line = story.line("start_due")
    begins_ns = story.anchor.wall_ns + line["on_air_frame"] * FRAME_NS
    assert begins_ns - line["starts_at_ns"] == pytest.approx(line["on_air_offset_ms"] * MS_NS, abs=2 * MS_NS)
    assert 0 <= line["on_air_offset_ms"] < 20
    assert line["starts_at_ns"] == story.starts_at_ns


@pytest.mark.parametrize("rendition", RENDITIONS)
def test_no_fragment_is_missing(story: Story, rendition: str):
    assert story.numbers[rendition] == list(range(len(story.records)))


@pytest.mark.parametrize("rendition", RENDITIONS)
def test_before_air_there_is_music_and_nobody(story: Story, rendition: str):
    first = story.line("start_due")["on_air_frame"]
    heard, source = cut(story.heard[rendition], 10, first), music(10, first)
    assert lag(heard, source) == 0
    assert likeness(heard, source) == pytest.approx(1, abs=0.05)
    assert likeness(cut(heard - source, 0, 60), story.said(10, 70)) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("rendition", RENDITIONS)
def test_the_talk_begins_in_the_frame_on_air_and_in_step(story: Story, rendition: str):
    first = story.line("start_due")["on_air_frame"]
    heard = story.heard[rendition]
    full = cut(heard, first + FADE_FRAMES, first + 90)
    assert lag(full, story.said(first + FADE_FRAMES, first + 90)) == 0
    assert likeness(full, story.said(first + FADE_FRAMES, first + 90)) == pytest.approx(1, abs=0.2)
    before = cut(heard, first - 4, first) - music(first - 4, first)
    rising = []
    for at in range(first, first + FADE_FRAMES, 2):
        # Of what is heard, the music is taken away at its gain: in 40 ms it may resemble the talk by chance.
        music_gain = np.cos(np.pi / 2 * (at + 1 - first) / FADE_FRAMES)
        talk = cut(heard, at, at + 2) - np.float32(music_gain) * music(at, at + 2)
        rising.append(likeness(talk, story.said(at, at + 2)))
    assert likeness(before, story.said(first - 4, first)) == pytest.approx(0, abs=0.12)
    assert rising[0] == pytest.approx(np.sin(np.pi / 20), abs=0.2)
    assert rising[-1] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("rendition", RENDITIONS)
def test_60_ms_after_the_stage_is_gone_the_music_begins(story: Story, rendition: str):
    missing = story.stage.end - story.grid + LAG
    line = story.line("stage_lost")
    assert line["frame"] == missing + MISSING_MAX - 1
    assert line["cause"] == "stage_lost"
    full = line["frame"] + FADE_FRAMES
    heard, source = cut(story.heard[rendition], full, full + 50), music(full, full + 50)
    assert lag(heard, source) == 0
    assert likeness(heard, source) == pytest.approx(1, abs=0.05)
    assert np.abs(heard - source).max() < 0.2, "and nothing else sounds"


def test_a_stage_that_is_back_is_on_air_again(story: Story):
    assert story.line("present")["cause"] == "speakers_back"
    assert story.line("present")["state"] == "on_air"


def test_flags_say_what_the_fragments_hold(story: Story):
    first = story.line("start_due")["on_air_frame"]
    change = first // FRAGMENT_FRAMES
    flags = [record.flags for record in story.records]
    assert set(flags[:change]) == {Flag.HOLD}
    assert flags[change] & Flag.ON_AIR
    assert flags[change + 2] == Flag.ON_AIR
    assert not any(flag & Flag.FILLED for flag in flags)


@pytest.mark.parametrize("rendition", RENDITIONS)
def test_it_fades_out_and_ends_in_silence_on_a_whole_fragment(story: Story, rendition: str):
    heard = story.heard[rendition]
    assert len(heard) == len(story.records) * FRAGMENT_FRAMES * FRAME_SAMPLES
    ended = story.line("end")["frame"]
    assert len(story.records) == -(-(ended + 50) // FRAGMENT_FRAMES)
    levels = [float(np.sqrt(np.mean(cut(heard, at, at + 10) ** 2))) for at in range(ended, ended + 50, 10)]
    assert levels == sorted(levels, reverse=True)
    assert np.abs(cut(heard, ended + 53, len(heard) // FRAME_SAMPLES)).max(initial=0) < 0.01


def test_status_says_what_goes_on(story: Story):
    assert story.status["state"] == "on_air"
    assert story.status["speaking"] == {"seat": "seat1", "name": ""}
    assert -30 < story.status["loudness_lufs"] < -5
    assert sum(story.status["late_ticks"].values()) > 100
    assert story.counters["fragments"] == 2 * len(story.records)
    assert story.counters["disk_errors"] == 0


def test_after_a_kill_the_timeline_goes_on_and_the_hole_is_music(tmp_path: Path):
    with space(tmp_path) as played:
        played.start()
        stage = Stage(played.folder)
        until(lambda: played.ask("status")["present"] == 1)
        played.ask("go")
        played.wait_for_frame(played.ask("status")["frame"] + 75)
        until(lambda: len(played.reader().records) >= 3)
        os.kill(played.process.pid, signal.SIGKILL)
        played.process.wait()
        before = played.reader()
        time.sleep(2.5)
        played.start()
        anchor = before.header.anchor
        due = anchor.frames_due(now())
        assert played.state() == "on_air", "what was on air is on air again"
        played.wait_for_frame(due + 70)
        records = list(played.reader().records)
        heard = {name: played.heard(name) for name in RENDITIONS}
        aac = [record.number for record in played.reader("aac").records]
        played.process.send_signal(signal.SIGTERM)
        assert played.process.wait(30) == 0
        stage.stop()
    assert [record.number for record in records] == list(range(len(records)))
    assert aac == list(range(len(aac)))
    assert {record.epoch for record in records} == {1, 2}
    assert records[: len(before.records)] == list(before.records)
    filled = [record.number for record in records if record.flags & Flag.FILLED]
    assert filled
    assert filled[0] == before.records[-1].number + 1
    assert filled == list(range(filled[0], filled[-1] + 1))
    start, end = (filled[0] * FRAGMENT_FRAMES + 5, (filled[-1]) * FRAGMENT_FRAMES)
    for sound in heard.values():
        hole, source = cut(sound, start, end), music(start, end)
        assert lag(hole, source) == 0
        assert likeness(hole, source) == pytest.approx(1, abs=0.05)
        live = filled[-1] * FRAGMENT_FRAMES + FRAGMENT_FRAMES + 20
        talk = np.concatenate([speech(anchor.mono_ns // FRAME_NS + at - LAG) for at in range(live, live + 20)])
        assert lag(cut(sound, live, live + 20), talk) == 0


def test_asked_to_stop_it_leaves_a_log_that_a_successor_continues(tmp_path: Path):
    with space(tmp_path) as played:
        for epoch in (1, 2):
            process = played.start()
            until(lambda epoch=epoch: played.reader().records and played.reader().records[-1].epoch == epoch)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert played.folder.read_life().state is State.DOORS_OPEN
        numbers = [record.number for record in played.reader().records]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("state", [State.ENDED, State.CANCELLED])
def test_a_space_that_is_over_needs_no_programme(tmp_path: Path, state: State):
    over = Space(tmp_path)
    over.folder.journal.write_bytes(lifecycle.encode(Life(state, Cause.HOST, 0, 0), Event.END))
    assert run(over.folder, over.counters) == 0
    assert not over.folder.programmes.exists()


def test_what_makes_no_sense_is_refused_with_a_reason(tmp_path: Path):
    with space(tmp_path) as played:
        played.start()
        for verb, code in (("go", "space.nobody_armed"), ("music", "space.state"), ("dance", "command.unknown")):
            with pytest.raises(PeerError) as refused:
                played.ask(verb)
            assert refused.value.code == code
        with pytest.raises(PeerError) as refused:
            played.ask("reschedule")
        assert refused.value.code == "command.malformed"
        assert played.ask("cancel")["state"] == "cancelled"
        assert played.process.wait(30) == 0
        assert played.folder.read_life().state is State.CANCELLED


def test_killed_while_it_ends_the_successor_cuts_the_recording(tmp_path: Path):
    with space(tmp_path) as played:
        played.start()
        stage = Stage(played.folder)
        until(lambda: played.ask("status")["present"] == 1)
        played.ask("go")
        played.wait_for_frame(played.ask("status")["frame"] + 75)
        until(lambda: any(record.flags & Flag.ON_AIR for record in played.reader("aac").records))
        played.ask("end")
        until(lambda: played.folder.read_life().state is State.REPLAY)
        os.kill(played.process.pid, signal.SIGKILL)
        played.process.wait()
        stage.stop()
        aac = played.folder.programmes / "floor" / "aac"
        assert not (aac / "recording.head").exists()
        assert run(played.folder, played.counters) == 0
        assert (aac / "recording.head").exists()
        assert (aac / "recording.json").exists()
