"""Who may do what."""

import pytest

from rostra.space.grants import Grant, Role, Verb, allows


@pytest.mark.parametrize("role", [Role.HOST, Role.COHOST, Role.SPEAKER])
@pytest.mark.parametrize("verb", list(Verb))
def test_a_link_holds_for_its_own_space_only(role: Role, verb: Verb) -> None:
    assert not allows(Grant("l", role, "mine"), verb, "another")


def test_a_speaker_speaks_and_reads_and_no_more() -> None:
    granted = {verb for verb in Verb if allows(Grant("l", Role.SPEAKER, "s"), verb, "s")}
    assert granted == {Verb.READ_SPACE, Verb.SPEAK}


def test_the_owner_may_do_everything_everywhere() -> None:
    assert all(allows(Grant("l", Role.OWNER), verb, "any") for verb in Verb)
