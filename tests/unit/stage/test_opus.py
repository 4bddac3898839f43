"""libopus itself: what goes in comes out, what is lost is rebuilt, what is damaged is said to be."""

import numpy as np
import pytest

from rostra.kernel.errors import PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.stage.io.opus import Decoder, Encoder
from rostra.stage.jitter import packet_samples


def speech(frames: int) -> Pcm:
    """A pitch that glides, with harmonics: what SILK, which has the FEC, is chosen for."""
    at = np.arange(frames * 960) / 48_000
    pitch = 2 * np.pi * np.cumsum(140 + 60 * np.sin(2 * np.pi * 0.7 * at)) / 48_000
    voiced = sum(np.sin(n * pitch) / n for n in range(1, 12))
    return (0.15 * voiced * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at))).astype(np.float32)


def closeness(one: Pcm, other: Pcm) -> float:
    """Normalised correlation, at the best lag within 10 ms (the codec's own delay)."""
    lags = [np.dot(one[:-480], np.roll(other, -lag)[:-480]) for lag in range(480)]
    return float(max(lags) / (np.linalg.norm(one[:-480]) * np.linalg.norm(other[:-480]) + 1e-9))


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    encoder = Encoder()
    pcm = speech(100)
    return [encoder.encode(pcm[at * 960 : (at + 1) * 960]) for at in range(100)]


def test_what_is_encoded_is_decoded(packets: list[bytes]) -> None:
    decoder = Decoder()
    heard = np.concatenate([decoder.decode(packet) for packet in packets])
    assert len(heard) == 96_000
    assert closeness(speech(100), heard) > 0.75  # speech coding moves phases
    assert all(packet_samples(packet) == 960 for packet in packets)
    assert 25 < sum(map(len, packets)) * 8 / 2000 < 40  # kbit/s


def test_a_lost_frame_is_rebuilt_from_the_next_packet_better_than_it_is_guessed(packets: list[bytes]) -> None:
    whole = Decoder()
    truth = [whole.decode(packet) for packet in packets]

    def error(*, fec: bool) -> float:
        decoder, wrong = Decoder(), []
        for at, packet in enumerate(packets):
            if at % 10 == 9:
                continue
            if at % 10 == 0 and at:
                heard = decoder.recover(packet, 960) if fec else decoder.conceal(960)
                wrong.append(np.sum((heard - truth[at - 1]) ** 2) / np.sum(truth[at - 1] ** 2))
            decoder.decode(packet)
        return float(np.mean(wrong))

    assert error(fec=True) < 0.5 * error(fec=False)


def test_concealment_makes_just_what_is_asked_for(packets: list[bytes]) -> None:
    decoder = Decoder()
    decoder.decode(packets[0])
    assert [len(decoder.conceal(samples)) for samples in (120, 480, 960, 5760)] == [120, 480, 960, 5760]


def test_a_decoder_forgets_when_told_to(packets: list[bytes]) -> None:
    used, fresh = Decoder(), Decoder()
    for packet in packets[:50]:
        used.decode(packet)
    used.reset()
    assert np.array_equal(used.decode(packets[60]), fresh.decode(packets[60]))


def test_a_damaged_packet_is_said_to_be_damaged() -> None:
    with pytest.raises(PeerError) as damaged:
        Decoder().decode(bytes([31 << 3 | 3, 0]))
    assert damaged.value.code == "opus.damaged"
