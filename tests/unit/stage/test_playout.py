"""A voice through the encoder, a network and the whole receiving path: what was said is heard, and nothing clicks."""

from collections.abc import Callable, Container
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

import rostra.ops
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.stage.io.opus import Decoder, Encoder
from rostra.stage.io.playout import Playout
from rostra.stage.jitter import FLOOR, SLACK, Packet
from unit.stage.traces import model
from unit.stage.traces.model import Trace, trace
from unit.stage.traces.replay import packets

STEP_FACTOR = 1.25
"""How much larger than anything that the codec itself made of the source a step between two samples may be."""

EDGE_FACTOR = 1.3
"""The same for an edge: the second difference, measured against its mean over 4 ms around."""

FLOOR_MS = FLOOR * 1000 / SAMPLE_RATE
SLACK_MS = SLACK * 1000 / SAMPLE_RATE


@cache
def voice() -> Pcm:
    """One of the demonstration's speakers, with their pauses."""
    whole = []
    with av.open(str(Path(rostra.ops.__file__).parent / "voices/ben.ogg")) as file:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        for decoded in file.decode(audio=0):
            whole += [frame.to_ndarray()[0] for frame in resampler.resample(decoded)]
    line = np.concatenate(whole)
    return line[: len(line) // FRAME_SAMPLES * FRAME_SAMPLES]


@cache
def payloads(kbit_s: int) -> list[bytes]:
    encoder, line = Encoder(kbit_s), voice()
    return [encoder.encode(line[at : at + FRAME_SAMPLES]) for at in range(0, len(line), FRAME_SAMPLES)]


@cache
def sent(kbit_s: int) -> Pcm:
    """What a decoder makes of the source when nothing is lost: what hearing it can be compared with."""
    decoder = Decoder()
    return np.concatenate([decoder.decode(payload) for payload in payloads(kbit_s)])


def hear(arriving: Trace, kbit_s: int = 32) -> tuple[Pcm, Playout, list[float]]:
    """The sound, the player, and its delay (ms) after each tick."""
    playout, frames, delays = Playout(), [], []
    coming = packets(arriving, payloads(kbit_s))
    following = next(coming, None)
    for tick in range(round(arriving.length_ms / 20)):
        now_ms = tick * 20 + 7
        while following is not None and following[0] <= now_ms:
            playout.put(following[1], round(following[0] * 1e6))
            following = next(coming, None)
        frames.append(playout.frame(now_ms * 1_000_000))
        delays.append(playout.delay_ms or 0.0)
    return np.concatenate(frames), playout, delays


def steepest(line: Pcm) -> float:
    """The largest step from one sample to the next."""
    return float(np.abs(np.diff(line)).max())


def sharpest(line: Pcm) -> float:
    """The largest second difference, as a multiple of the mean around it: a click stands out of whatever it is in."""
    bends = np.abs(np.diff(line, 2))
    around = np.convolve(bends, np.full(192, 1 / 192), "same") + 3e-4
    return float((bends / around).max())


def lag_and_likeness(heard: Pcm, source: Pcm, reach: int = SAMPLE_RATE) -> tuple[int, float]:
    """How many samples `heard` is later than `source`, which is as long, and its correlation there."""
    size = 1 << (2 * len(source) - 1).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size)), size)[:reach]
    lag = int(np.argmax(products))
    later, earlier = heard[lag:], source[: len(source) - lag]
    norm = np.linalg.norm(later) * np.linalg.norm(earlier) + 1e-9
    return lag, float(np.dot(later, earlier) / norm)


def smooth(line: Pcm) -> Pcm:
    """Without what lies above 3 kHz, in which a third of a sample of lag would look like another sound."""
    return np.convolve(line, np.full(12, 1 / 12, np.float32), "same").astype(np.float32)


def spoken(
    heard: Pcm, source: Pcm, window: int = SAMPLE_RATE, reach: int = SAMPLE_RATE // 2
) -> list[tuple[int, int, float]]:
    """For each `window` of `heard` in which there is speech: where it begins, how late it is, how like the source."""
    found = []
    heard, source = smooth(heard), smooth(source)
    for at in range(reach, len(heard) - window + 1, window):
        ours, theirs = heard[at : at + window], source[at - reach : at + window]
        size = 1 << (len(theirs) + window).bit_length()
        products = np.fft.irfft(np.fft.rfft(theirs, size) * np.conj(np.fft.rfft(ours, size)), size)[: reach + 1]
        energies = np.concatenate([[0.0], np.cumsum(np.square(theirs, dtype=np.float64))])
        energies = energies[window:] - energies[:-window]
        likeness = products / (np.sqrt(energies) * np.linalg.norm(ours) + 1e-3)
        best = int(np.argmax(likeness))
        if np.sqrt(np.mean(ours**2)) > 0.01:
            found.append((at, reach - best, float(likeness[best])))
    return found


def assert_no_click(heard: Pcm, kbit_s: int = 32) -> None:
    assert np.isfinite(heard).all()
    assert steepest(heard) <= STEP_FACTOR * steepest(sent(kbit_s))
    assert sharpest(heard) <= EDGE_FACTOR * sharpest(sent(kbit_s))


def still(count: int) -> Trace:
    return trace("", np.full(count, 10.0))


def test_a_click_would_be_noticed() -> None:
    """The detectors themselves: half a frame left out, and a frame of silence, in the middle of speech."""
    line = sent(32)[: 20 * SAMPLE_RATE]
    loud = int(np.argmax(np.convolve(line**2, np.ones(2000), "same")))
    for broken in (
        np.concatenate([line[:loud], line[loud + 413 :]]),
        np.concatenate([line[:loud], np.zeros(FRAME_SAMPLES, np.float32), line[loud + FRAME_SAMPLES :]]),
    ):
        assert sharpest(broken) > 2 * EDGE_FACTOR * sharpest(line)


def test_on_a_good_network_a_speaker_comes_out_whole_at_the_least_delay() -> None:
    heard, playout, _ = hear(still(1000))
    assert_no_click(heard)
    found = spoken(heard[2 * SAMPLE_RATE :], sent(32)[2 * SAMPLE_RATE :])
    assert len(found) >= 8
    for _, lag, likeness in found:
        # 10 ms of way, up to the tick at 7 ms, the delay
        assert lag * 1000 / SAMPLE_RATE <= 10 + FLOOR_MS + SLACK_MS + 1
        assert likeness > 0.98
    assert playout.tally.lost == playout.tally.concealed == 0


def test_what_the_network_needs_is_in_the_properties() -> None:
    playout = Playout()
    assert playout.delay_ms is None
    assert playout.jitter_ms == 0
    _, playout, _ = hear(model.wild(np.random.default_rng(1), 500))
    assert playout.delay_ms == pytest.approx(200, abs=40)
    assert playout.jitter_ms == pytest.approx(60, abs=25)  # a third of the width, for even chances


@pytest.mark.parametrize("kbit_s", [32, 96])
@pytest.mark.parametrize("network", model.MODELS, ids=lambda network: network.__name__)
def test_no_network_makes_a_click(network: Callable[[np.random.Generator, int], Trace], kbit_s: int) -> None:
    """At 32 kbit/s Opus speaks with SILK, at 96 with CELT: they conceal differently."""
    heard, _, _ = hear(network(np.random.default_rng(2), 1500), kbit_s)
    assert_no_click(heard, kbit_s)


def test_shrinking_is_heard_as_nothing_but_a_shorter_delay() -> None:
    """300 ms of jam in the midst of speech: everything is said, nothing clicks, and the delay is back."""
    delays = np.full(1100, 10.0)
    delays[400:415] += 20.0 * np.arange(15, 0, -1)
    heard, playout, kept = hear(trace("", delays))
    assert_no_click(heard)
    assert max(kept) >= 280
    assert kept[415 + 5 * 50] <= FLOOR_MS + SLACK_MS + 20
    assert playout.tally.folded_samples >= 0.2 * SAMPLE_RATE
    assert playout.tally.skipped == playout.tally.lost == 0
    after = spoken(heard[15 * SAMPLE_RATE :], sent(32)[15 * SAMPLE_RATE :])
    assert len(after) >= 3
    assert all(likeness > 0.98 and lag < 0.08 * SAMPLE_RATE for _, lag, likeness in after)


def test_growing_is_heard_as_nothing_but_a_longer_delay() -> None:
    """Every fifth packet is overtaken from 4 s on: speech is slowed down until it is in time, nothing is missing."""
    delays = np.array([120.0 if n > 200 and n % 5 == 0 else 10.0 for n in range(1100)])
    heard, playout, kept = hear(trace("", delays, fifo=False))
    assert_no_click(heard)
    assert playout.tally.stretched_samples >= 0.05 * SAMPLE_RATE
    assert kept[-1] == pytest.approx(110 + 20, abs=30)
    after = spoken(heard[10 * SAMPLE_RATE :], sent(32)[10 * SAMPLE_RATE :])
    assert len(after) >= 5
    assert all(likeness > 0.9 for _, _, likeness in after)


@pytest.mark.parametrize("ppm", [300, -300])
def test_drifting_is_heard_as_nothing(ppm: int) -> None:
    """40 s of a clock that runs apart by 12 ms in that time: the lag stays, so does every sample."""
    slow = -ppm * 1e-6
    delays = 20 + np.random.default_rng(4).gamma(1.2, 1.5, 2000)
    heard, playout, _ = hear(trace("", delays, slow=slow))
    assert_no_click(heard)
    assert playout.tally.lost == playout.tally.concealed == 0
    found = spoken(heard[2 * SAMPLE_RATE :], sent(32)[2 * SAMPLE_RATE :], SAMPLE_RATE // 4)
    assert len(found) >= 60
    assert np.median([likeness for _, _, likeness in found]) > 0.99
    lates_ms = [(lag - slow * at) * 1000 / SAMPLE_RATE for at, lag, likeness in found if likeness > 0.95]
    assert max(lates_ms) - min(lates_ms) < SLACK_MS


def test_with_5_percent_lost_nearly_all_is_rebuilt_and_speech_stays_itself() -> None:
    heard, playout, _ = hear(model.loss(np.random.default_rng(5), 1500))
    tally = playout.tally
    assert tally.recovered >= 0.8 * tally.lost > 0
    assert tally.concealed < 0.01 * 1500
    likenesses = [likeness for _, _, likeness in spoken(heard[3 * SAMPLE_RATE :], sent(32)[3 * SAMPLE_RATE :])]
    assert len(likenesses) >= 12
    assert min(likenesses) > 0.85
    assert np.median(likenesses) > 0.95


def test_with_20_percent_lost_in_bursts_the_loudness_is_still_that_of_speech() -> None:
    """The envelope in frames of 20 ms correlates with the source's."""
    heard, _, _ = hear(model.bursts(np.random.default_rng(6), 1500))
    lag, _ = lag_and_likeness(heard, sent(32)[: len(heard)])
    envelopes = [
        np.sqrt(np.mean(line[: len(line) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES) ** 2, axis=1))
        for line in (heard[lag:], sent(32)[: len(heard) - lag])
    ]
    assert np.corrcoef(*envelopes)[0, 1] > 0.75


def test_garbage_in_a_packet_costs_that_packet_only() -> None:
    def through(damaged: Container[int]) -> Pcm:
        playout, frames = Playout(), []
        for number, payload in enumerate(payloads(32)[50:150]):
            sound = payload[:1] + b"\xff" * 40 if number in damaged else payload
            playout.put(Packet(1, number, number * FRAME_SAMPLES, sound), number * 20_000_000)
            frames.append(playout.frame(number * 20_000_000))
        return np.concatenate(frames)

    whole, heard = through(()), through((40,))
    assert np.isfinite(heard).all()
    _, likeness = lag_and_likeness(heard[60 * FRAME_SAMPLES :], whole[60 * FRAME_SAMPLES :])
    assert likeness > 0.95


def test_another_source_and_an_end_are_faded_not_cut() -> None:
    """Another encoder takes over in the midst of many a loud word, and later nothing comes any more."""
    source = payloads(32)
    loudness = np.mean(sent(32).reshape(-1, FRAME_SAMPLES) ** 2, axis=1)
    for loudest in np.argsort(loudness[200:1500])[-8:] + 200:
        playout, frames = Playout(), []
        for tick in range(160):
            now_ns = tick * 20_000_000
            if tick < 60:
                number = int(loudest) - 30 + tick if tick < 30 else tick
                playout.put(Packet(1 + tick // 30, number, number * FRAME_SAMPLES, source[number]), now_ns)
            frames.append(playout.frame(now_ns))
        heard = np.concatenate(frames)
        assert playout.tally.restarts == 1
        assert_no_click(heard)
        assert not heard[-SAMPLE_RATE // 2 :].any()
