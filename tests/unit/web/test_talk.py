"""When the microphone is open, which keys mean it, and who is talking unheard: the studio's pure modules."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from support.scripts import call
from support.voices import normalised, say

RATE = 48_000
STEP_MS = 66


def asked(key: str, code: str = "", *, push: bool = False, to: str = "free", chosen: bool = False, **more: Any) -> Any:
    event = {"key": key, "code": code, **more}
    return call(
        "studio/talk.js",
        "return module.asked(event, where)",
        event=event,
        where={"push": push, "to": to, "chosen": chosen},
    )


def test_the_microphone_is_open_when_switch_mode_and_held_keys_agree() -> None:
    states = [
        dict(zip(("push", "muted", "talking", "coughing"), row, strict=True))
        for row in product((False, True), repeat=4)
    ]
    opened = call("studio/talk.js", "return states.map(module.opens)", states=states)
    for state, is_open in zip(states, opened, strict=True):
        wanted = state["talking"] if state["push"] else not state["muted"]
        assert is_open == (wanted and not state["coughing"]), state


def test_keys_mean_something_by_what_is_printed_on_them() -> None:
    assert asked("m", "KeyM") == asked("M", "KeyM") == "mute"
    assert asked("c", "KeyC") == "cough"
    assert asked("m", "Semicolon") == "mute", "where M lies elsewhere"
    assert asked("q", "KeyM") is None, "what lies where M would be"
    assert asked("ة", "KeyM") == "mute", "in a script without these letters, where M lies"
    assert asked("x", "KeyX") is None
    assert asked("m", "KeyM", held=True) is None, "a key that repeats was pressed once"


def test_no_key_means_anything_while_typing() -> None:
    fields = [{"tag": "input", "type": "text"}, {"tag": "input", "type": "datetime-local"}, {"tag": "textarea"}]
    fields += [{"tag": "select"}, {"tag": "div", "editable": True}]
    assert call("studio/talk.js", "return fields.map(module.goesTo)", fields=fields) == ["typed"] * len(fields)
    for key, push in ((" ", True), ("m", False), ("c", False)):
        assert asked(key, "", push=push, to="typed") is None


def test_the_space_bar_presses_what_was_chosen_by_keyboard_and_talks_otherwise() -> None:
    assert asked(" ", "Space", push=True) == "talk"
    assert asked(" ", "Space", push=False) is None, "without the mode it scrolls, as ever"
    assert asked(" ", "Space", push=True, to="pressed", chosen=True) is None
    assert asked(" ", "Space", push=True, to="pressed", chosen=False) == "talk", "clicked, then held to talk"
    assert asked("m", "KeyM", push=True) is None
    pressed = [{"tag": "button"}, {"tag": "a"}, {"tag": "summary"}, {"tag": "input", "type": "checkbox"}]
    assert call("studio/talk.js", "return elements.map(module.goesTo)", elements=pressed) == ["pressed"] * len(pressed)


def told(sound: npt.NDArray[np.float32]) -> float:
    """The share of steps in which the page would say "you are talking", as its analyser measures `sound`."""
    step, window = RATE * STEP_MS // 1000, 1024
    pieces = [sound[at : at + window] for at in range(0, len(sound) - window, step)]
    levels = [float(10 * np.log10(np.mean(piece.astype(np.float64) ** 2) + 1e-12)) for piece in pieces]
    heard = call(
        "studio/unheard.js",
        "const judge = new module.Unheard(); return levels.map((level, i) => judge.heard(level, i * step));",
        levels=levels,
        step=STEP_MS,
    )
    return float(np.mean(heard))


@pytest.fixture(scope="module")
def voice() -> npt.NDArray[np.float32]:
    """Half a minute of talk."""
    text = "This is somebody who talks, and has not noticed that nobody hears a word of it. Shall we begin then?"
    return np.tile(normalised(say(text)), 5)[: 30 * RATE]


def test_what_was_said_before_one_muted_was_heard() -> None:
    body = """
    const judge = new module.Unheard();
    let told = false;
    speech.forEach((level, i) => (told = judge.heard(level, i * 66)));
    judge.closed(speech.length * 66);
    const after = Array.from({ length: 60 }, (_, i) => judge.heard(-70, (speech.length + i) * 66));
    return [told, after.some(Boolean)];
    """
    speech = [-20 - 25 * (i % 4 == 0) for i in range(100)]
    assert call("studio/unheard.js", body, speech=speech) == [True, False]


def noise(seconds: float, level_db: float) -> npt.NDArray[np.float32]:
    made = np.random.default_rng(7).standard_normal(int(seconds * RATE)) * 10 ** (level_db / 20)
    return made.astype(np.float32)


@pytest.mark.parametrize("loudness_db", [0, -12, -20])
def test_talking_is_noticed_loud_and_soft_and_in_a_noisy_room(voice: npt.NDArray[np.float32], loudness_db: int) -> None:
    spoken = voice * np.float32(10 ** (loudness_db / 20))
    assert told(spoken) > 0.9
    assert told(spoken + noise(30, loudness_db - 45)[: len(spoken)]) > 0.85


def steady() -> npt.NDArray[np.float32]:
    """A fan that is switched on after ten seconds."""
    return np.concatenate((noise(10, -70), noise(20, -30)))


def typing() -> npt.NDArray[np.float32]:
    """Eight keys a second, each a click of 12 ms."""
    made = noise(30, -65)
    click = noise(0.012, -25) * np.linspace(1, 0, int(0.012 * RATE), dtype=np.float32)
    for at in np.arange(0, 29.9, 0.125):
        begin = int(at * RATE)
        made[begin : begin + len(click)] += click
    return made


def doors() -> npt.NDArray[np.float32]:
    """Something falls every four seconds."""
    made = noise(30, -62)
    thud = noise(0.4, -12) * np.exp(-np.linspace(0, 8, int(0.4 * RATE))).astype(np.float32)
    for at in range(1, 29, 4):
        made[at * RATE : at * RATE + len(thud)] += thud
    return made


@pytest.mark.parametrize("sound", [steady, typing, doors, lambda: noise(30, -55)], ids=["fan", "keys", "thuds", "hiss"])
def test_noise_is_not_talking(sound: Any) -> None:
    assert told(sound()) == 0


def test_a_pause_between_sentences_does_not_hide_the_sentence_and_silence_does(
    voice: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    pause, end = noise(1.5, -70), noise(10, -70)
    assert told(np.concatenate((voice[: 10 * RATE], pause, voice[: 10 * RATE]))) > 0.9
    spoken = voice[: 10 * RATE]
    assert told(np.concatenate((spoken, end))) < 0.75
