import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.shared.index import Flag
from rostra.kernel.units import FRAGMENT_FRAMES, FRAGMENT_SAMPLES, FRAME_NS, FRAME_SAMPLES
from rostra.log.index import Sealed
from rostra.media.boxes import find, walk
from rostra.media.codec import AAC, CODECS, OPUS, media_time
from rostra.media.fragment import packet_spans, wall_of_ntp64
from rostra.programme.writer import Packager
from rostra.space.notices import SCHEME

due_numbers = st.tuples(st.integers(0, 10**6), st.integers(0, 8)).flatmap(
    lambda pair: st.sampled_from(
        [{"opus": pair[0] + pair[1], "aac": pair[0]}, {"opus": pair[0], "aac": pair[0] + pair[1]}]
    )
)


class Encoders:
    """Two encoders that run behind by their own look-ahead, and whose packets say which samples they hold."""

    def __init__(self, packager: Packager, behind: dict[str, int]) -> None:
        self.packager = packager
        self.behind = behind
        self.start = packager.first_frame * FRAME_SAMPLES
        self.given = dict.fromkeys(behind, self.start)

    def feed(self, mixed_to: int) -> list[Sealed]:
        """The fragments that are complete once all samples before `mixed_to` are mixed."""
        done = []
        for codec in CODECS:
            while self.given[codec.name] + codec.packet_samples + self.behind[codec.name] <= mixed_to:
                data = f"{codec.name} {self.given[codec.name]}".encode()
                done.append(self.packager.packet(codec.name, data))
                self.given[codec.name] += codec.packet_samples
        return [sealed for sealed in done if sealed]


lags = st.fixed_dictionaries({"opus": st.integers(0, 2000), "aac": st.integers(0, 5000)})


def mix(packager: Packager, encoders: Encoders, frames: range, flags: Flag = Flag.HOLD) -> list[Sealed]:
    sealed = []
    for frame in frames:
        packager.frame(frame, flags, frame * FRAME_NS)
        sealed += encoders.feed((frame + 1) * FRAME_SAMPLES)
    return sealed


def notices(sealed: Sealed) -> list[tuple[int, int, bytes]]:
    """(time, id, message) of a fragment's notices."""
    found = []
    for kind, start, end in walk(sealed.data):
        if kind == b"emsg":
            assert sealed.data[start + 24 : end].startswith(SCHEME.encode() + b"\0\0")
            time = int.from_bytes(sealed.data[start + 8 : start + 16], "big")
            identity = int.from_bytes(sealed.data[start + 20 : start + 24], "big")
            found.append((time, identity, sealed.data[start + 24 + len(SCHEME) + 2 : end]))
    return found


@given(due_numbers, lags, st.integers(0, 300))
def test_every_rendition_goes_on_exactly_where_it_stopped(
    due: dict[str, int], behind: dict[str, int], frames: int
) -> None:
    packager = Packager(due)
    encoders = Encoders(packager, behind)
    first = packager.first_frame
    assert first == min(due.values()) * FRAGMENT_FRAMES
    sealed = mix(packager, encoders, range(first, first + frames))
    for codec in CODECS:
        numbers = [one.number for one in sealed if one.rendition == codec.name]
        whole = (frames * FRAME_SAMPLES - behind[codec.name]) // FRAGMENT_SAMPLES + min(due.values())
        assert numbers == list(range(due[codec.name], whole))


@given(due_numbers, lags)
def test_every_packet_lies_in_the_fragment_of_its_samples_and_tfdt_says_so(
    due: dict[str, int], behind: dict[str, int]
) -> None:
    packager = Packager(due)
    first = packager.first_frame
    for sealed in mix(packager, Encoders(packager, behind), range(first, first + 200)):
        codec = OPUS if sealed.rendition == "opus" else AAC
        start = media_time(sealed.number)
        offset, sizes = packet_spans(sealed.data)
        wanted = [f"{codec.name} {start + at * codec.packet_samples}" for at in range(codec.packets_per_fragment)]
        assert sealed.data[offset:].decode() == "".join(wanted)
        assert sizes == [len(one) for one in wanted]
        tfdt, _ = find(sealed.data, (b"moof", b"traf", b"tfdt"))
        assert int.from_bytes(sealed.data[tfdt + 4 : tfdt + 12], "big") == start


@given(lags, st.lists(st.sampled_from([Flag.ON_AIR, Flag.HOLD, Flag.HOLD | Flag.FILLED]), min_size=160, max_size=160))
def test_a_fragment_has_the_flags_of_all_its_frames_and_the_time_of_its_first(
    behind: dict[str, int], flags: list[Flag]
) -> None:
    packager = Packager({"opus": 0, "aac": 0})
    encoders = Encoders(packager, behind)
    sealed = []
    for frame, flag in enumerate(flags):
        packager.frame(frame, flag, 10**18 + frame * FRAME_NS)
        sealed += encoders.feed((frame + 1) * FRAME_SAMPLES)
    assert sealed
    for one in sealed:
        first = one.number * FRAGMENT_FRAMES
        wanted = Flag(0)
        for flag in flags[first : first + FRAGMENT_FRAMES]:
            wanted |= flag
        assert one.flags == wanted
        assert one.wall_ns == 10**18 + first * FRAME_NS
        prft, _ = find(one.data, (b"prft",))
        assert abs(wall_of_ntp64(int.from_bytes(one.data[prft + 8 : prft + 16], "big")) - one.wall_ns) <= 1


@given(lags, st.lists(st.tuples(st.integers(0, 199), st.integers(0, 40)), max_size=12))
def test_every_rendition_tells_every_notice_once_in_its_fragment_or_as_soon_after_as_it_can(
    behind: dict[str, int], given_: list[tuple[int, int]]
) -> None:
    """A notice timed `late` frames back is told late only if its fragment was sealed when it came."""
    packager = Packager({"opus": 0, "aac": 0})
    encoders = Encoders(packager, behind)
    sealed: list[Sealed] = []
    sealed_before: dict[int, int] = {}
    for frame in range(320):
        packager.frame(frame, Flag.HOLD, 0)
        for at, (when, late) in enumerate(given_):
            if when == frame:
                sealed_before[at] = max((one.number for one in sealed), default=-1)
                packager.notice(max(0, frame - late), json.dumps(at).encode())
        sealed += encoders.feed((frame + 1) * FRAME_SAMPLES)
    for codec in CODECS:
        told = {
            int(message): (one.number, time)
            for one in sealed
            if one.rendition == codec.name
            for time, _, message in notices(one)
        }
        assert sorted(told) == list(range(len(given_)))
        for at, (when, late) in enumerate(given_):
            frame = max(0, when - late)
            number, time = told[at]
            assert time == frame * FRAME_SAMPLES
            assert number == max(frame // FRAGMENT_FRAMES, sealed_before[at] + 1)


def test_a_notice_has_the_same_id_in_both_renditions_and_no_other_has_it() -> None:
    packager = Packager({"opus": 3, "aac": 3})
    encoders = Encoders(packager, {"opus": 312, "aac": 1024})
    sealed = []
    for frame in range(96, 200):
        packager.frame(frame, Flag.HOLD, 0)
        packager.notice(frame, b"%d" % frame)
        sealed += encoders.feed((frame + 1) * FRAME_SAMPLES)
    seen: dict[bytes, set[int]] = {}
    for one in sealed:
        for _, identity, message in notices(one):
            seen.setdefault(message, set()).add(identity)
    assert all(len(ids) == 1 for ids in seen.values())
    assert len(set.union(*seen.values())) == len(seen)


def test_what_was_announced_is_forgotten_when_all_have_passed_it() -> None:
    """A week must not fill the memory."""
    packager = Packager({"opus": 0, "aac": 0})
    encoders = Encoders(packager, {"opus": 312, "aac": 2048})
    for frame in range(5000):
        packager.frame(frame, Flag.HOLD, 0)
        packager.notice(frame, b"{}")
        encoders.feed((frame + 1) * FRAME_SAMPLES)
    assert len(packager._plans) <= 2
    assert len(packager._emsgs) <= 2


@given(due_numbers, st.integers(0, 200))
def test_the_frames_that_are_left_complete_the_fragment(due: dict[str, int], frames: int) -> None:
    packager = Packager(due)
    frame = packager.first_frame + frames
    left = packager.frames_left(frame)
    assert 0 <= left < FRAGMENT_FRAMES
    assert (frame + left) % FRAGMENT_FRAMES == 0


def test_a_frame_out_of_order_is_a_broken_invariant() -> None:
    packager = Packager({"opus": 0, "aac": 0})
    packager.frame(0, Flag.HOLD, 0)
    with pytest.raises(AssertionError, match="frame 2 announced where 1 was due"):
        packager.frame(2, Flag.HOLD, 0)


def test_restarting_again_and_again_leaves_one_timeline_in_each_rendition() -> None:
    """Crashes at any moment between the two renditions' writes: the numbers of each never repeat and never skip."""
    due = {"opus": 0, "aac": 0}
    logs: dict[str, list[int]] = {"opus": [], "aac": []}
    for life in range(6):
        packager = Packager(due)
        encoders = Encoders(packager, {"opus": 312, "aac": 1024})
        first = packager.first_frame
        sealed = mix(packager, encoders, range(first, first + 150))
        for one in sealed[: len(sealed) - life % 3]:
            logs[one.rendition].append(one.number)
        due = {name: numbers[-1] + 1 if numbers else 0 for name, numbers in logs.items()}
    for numbers in logs.values():
        assert numbers[0] == 0
        assert all(after == before + 1 for before, after in pairwise(numbers))
