"""The measure measures: what was done to a voice on purpose is what is found."""

import numpy as np
import pytest

from rostra.kernel.shared.ring import Pcm
from support.heard import Band, compare, speech

BANDS = [Band(200, 800), Band(1000, 1700), Band(1900, 3000)]
SAID = [speech(30, band, seed) for seed, band in enumerate(BANDS)]
SECOND = 48_000


def mixed(*voices: Pcm) -> Pcm:
    return np.sum([voice[: min(map(len, voices))] for voice in voices], axis=0, dtype=np.float32)


def test_each_voice_is_found_in_the_mix_of_all() -> None:
    mix = mixed(SAID[0][5 * SECOND :], 0.5 * SAID[1][9 * SECOND :], SAID[2])[: 8 * SECOND]
    for said, band, begins_s in zip(SAID, BANDS, (5, 9, 0), strict=True):
        heard = compare(mix, said, band)
        assert heard.likeness > 0.98
        assert heard.envelope > 0.98
        assert heard.missing == 0
        assert heard.delay_ms() == pytest.approx(-1000 * begins_s, abs=1)


def test_holes_are_counted() -> None:
    pcm = SAID[0][: 10 * SECOND].copy()
    frames = pcm.reshape(-1, 960)
    frames[np.random.default_rng(1).choice(500, 50, replace=False)] = 0
    heard = compare(pcm, SAID[0], BANDS[0])
    assert heard.missing == pytest.approx(0.1, abs=0.03)
    assert 0.6 < heard.envelope < 0.97


def test_a_delay_that_grows_and_returns_is_seen() -> None:
    said = SAID[1]
    pcm = np.concatenate([said[: 4 * SECOND], np.zeros(9600, np.float32), said[4 * SECOND : 8 * SECOND]])
    pcm = np.concatenate([pcm, said[8 * SECOND + 9600 : 12 * SECOND]])
    heard = compare(pcm, said, BANDS[1])
    assert heard.delay_ms(0, 3.5) == pytest.approx(0, abs=1)
    assert heard.delay_ms(4.7, 7.9) == pytest.approx(200, abs=1)
    assert heard.delay_ms(8.6) == pytest.approx(0, abs=1)
    assert heard.missing < 0.05


def test_another_voice_and_silence_are_found_nowhere() -> None:
    stranger = speech(8, BANDS[0], 99)
    for pcm in (stranger, np.zeros(8 * SECOND, np.float32)):
        heard = compare(pcm, SAID[0], BANDS[0])
        assert not [w for w in heard.windows if w.delay_ms is not None]
        assert np.isnan(heard.delay_ms())
        assert heard.likeness < 0.6
