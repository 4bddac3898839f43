from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAGMENT_NS, FRAGMENT_SAMPLES, FRAME_SAMPLES, SAMPLE_RATE, samples_to_ns
from rostra.media.codec import AAC, CODECS, OPUS, media_time

WEEK = 7 * 24 * 3600 * SAMPLE_RATE // FRAGMENT_SAMPLES

numbers = st.integers(0, WEEK)


@given(numbers)
def test_every_fragment_begins_with_a_whole_packet_in_both_codecs(number: int) -> None:
    for codec in CODECS:
        assert codec.first_packet(number) * codec.packet_samples == media_time(number)


def test_packets_of_both_codecs_meet_every_15360_samples_and_nowhere_between() -> None:
    meeting = [at for at in range(0, 2 * FRAGMENT_SAMPLES + 1, OPUS.packet_samples) if at % AAC.packet_samples == 0]
    assert meeting == [0, 15_360, 30_720, 46_080, 61_440]


@given(numbers)
def test_media_time_never_drifts_from_the_clock_over_a_week(number: int) -> None:
    assert samples_to_ns(media_time(number)) == number * FRAGMENT_NS


def test_a_fragment_is_a_whole_number_of_ticks() -> None:
    assert FRAGMENT_SAMPLES % FRAME_SAMPLES == 0
