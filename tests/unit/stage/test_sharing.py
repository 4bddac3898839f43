"""Who hears the same is encoded for once, and nobody hears when that begins or ends."""

from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAME_SAMPLES
from rostra.space.grants import Role
from rostra.space.roster import Seat
from rostra.stage import mix, sharing
from rostra.stage.io.opus import Decoder
from rostra.stage.io.returns import Returns
from rostra.stage.mix import Array
from rostra.stage.rate import STEPS, Plan
from rostra.stage.sharing import JOIN_FRAMES, Fresh, Sharing
from unit.stage.test_opus import closeness, speech

PLAN = STEPS[0].plan


def after(*frames: dict[str, Hashable]) -> list[Sharing]:
    passed = [Sharing()]
    for keys in frames:
        passed.append(sharing.arrange(passed[-1], keys))
    return passed[1:]


def test_equal_keys_join_after_a_while_and_not_before() -> None:
    passed = after(*[{"a": 1, "b": 1, "c": 2}] * (JOIN_FRAMES + 2))
    assert [each.group for each in passed[0].fresh] == [0, 1, 2]
    assert dict(passed[JOIN_FRAMES - 1].groups) == {"a": 0, "b": 1, "c": 2}
    joined = passed[JOIN_FRAMES]
    assert dict(joined.groups) == {"a": 0, "b": 0, "c": 2}
    assert (joined.joined, joined.fresh) == ({0}, ())
    assert passed[-1].joined == frozenset()


def test_whoever_hears_something_else_leaves_at_once_and_the_others_keep_the_encoder() -> None:
    together = [{"a": 1, "b": 1, "c": 1}] * (2 * JOIN_FRAMES)
    parted = after(*together, {"a": 2, "b": 1, "c": 1})[-1]
    assert dict(parted.groups) == {"a": 3, "b": 0, "c": 0}
    assert parted.fresh == (Fresh(3, old=0),)


def test_all_may_change_together_and_stay_together() -> None:
    changed = after(*[{"a": 1, "b": 1}] * (JOIN_FRAMES + 5), {"a": 2, "b": 2})[-1]
    assert (len(set(changed.groups.values())), changed.fresh) == (1, ())


def test_one_who_goes_takes_nothing_along() -> None:
    gone = after(*[{"a": 1, "b": 1, "c": 1}] * (2 * JOIN_FRAMES), {"b": 1, "c": 1})[-1]
    assert (dict(gone.groups), gone.fresh) == ({"b": 0, "c": 0}, ())


@given(st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 2)), max_size=150))
def test_whatever_happens_a_group_hears_one_thing(frames: list[dict[str, int]]) -> None:
    before = Sharing()
    for keys in (frame for frame in frames for _ in range(9)):
        now = sharing.arrange(before, keys)
        assert now.groups.keys() == keys.keys()
        for seat, group in now.groups.items():
            assert all(keys[other] == keys[seat] for other, its in now.groups.items() if its == group)
            changed = group != before.groups.get(seat)
            assert not changed or group in now.joined or group in {each.group for each in now.fresh}
        for each in now.fresh:
            assert each.old is None or each.old in before.groups.values()
        before = now


class Listener:
    """Stands where a session would: decodes what it is sent."""

    def __init__(self) -> None:
        self.plan: Plan = PLAN
        self.decoder = Decoder()
        self.heard: list[Array] = []

    def send(self, payload: bytes, number: int) -> None:
        self.heard.append(self.decoder.decode(payload))


def sharp(pcm: Array) -> float:
    """What a click is made of: the largest second difference."""
    return float(np.abs(np.diff(pcm, 2)).max())


@pytest.mark.parametrize("moment", range(40, 100, 7))
def test_joining_and_parting_make_no_click(moment: int) -> None:
    """B talks until `moment`, is muted (from then on A and B's fellow listener C hear the same), and unmutes again."""
    a, b = speech(220).reshape(-1, 960), speech(260)[38_400:].reshape(-1, 960)
    shared, apart = Returns(), [Returns() for _ in "abc"]
    ones, others = [Listener() for _ in "abc"], [Listener() for _ in "abc"]
    again = moment + 70
    before = np.zeros((4, 3), np.float32)
    encoders, mixed = [], []
    for number in range(200):
        seats = [
            Seat("a", "A", Role.SPEAKER, "s", armed=True),
            Seat("b", "B", Role.SPEAKER, "s", armed=True, muted=moment <= number < again),
            Seat("c", "C", Role.SPEAKER, "s"),
        ]
        gains = mix.routes(seats, on_air=True)
        frames = np.stack([0.5 * a[number], 0.5 * b[number], np.zeros(FRAME_SAMPLES, np.float32)])
        heard = mix.blend(frames, before, gains)
        shared.send({str(row): (row, one) for row, one in enumerate(ones, 1)}, heard, before, gains, number)  # type: ignore[misc]
        for row, (alone, other) in enumerate(zip(apart, others, strict=True), 1):
            alone.send({"x": (row, other)}, heard, before, gains, number)  # type: ignore[dict-item]
        encoders.append(shared.encoders)
        mixed.append(heard[1:])
        before = gains
    assert (encoders[moment - 1], encoders[again - 1], encoders[-1]) == (3, 2, 3)
    joins = encoders.index(2)
    for row, (one, other) in enumerate(zip(ones, others, strict=True)):
        for at in (joins, again):
            window = slice(at * 960 - 480, (at + 3) * 960)
            mine, own = np.concatenate(one.heard)[window], np.concatenate(other.heard)[window]
            assert sharp(mine) < 1.4 * max(sharp(own), 0.01)
            said = np.concatenate([frames[row] for frames in mixed])[window]
            assert closeness(said, mine) > closeness(said, own) - 0.1
