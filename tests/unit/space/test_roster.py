"""Seats: nobody reaches air by sound or by a reconnection alone."""

from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import PeerError
from rostra.space import roster
from rostra.space.grants import Role
from rostra.space.roster import Roster

SEATS = ("a", "b", "c")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from(SEATS), st.sampled_from(["s1", "s2", "s3", "s4"])),
        st.tuples(st.just("leave"), st.sampled_from(["s1", "s2", "s3", "s4"])),
        st.tuples(st.sampled_from(["arm", "disarm", "mute", "unmute", "remove"]), st.sampled_from(SEATS)),
        st.tuples(st.just("restart")),
    ),
    max_size=60,
)


def apply(seats: Roster, step: tuple[str, ...]) -> Roster:
    match step:
        case "join", seat, session:
            return roster.joined(seats, seat, seat.upper(), Role.SPEAKER, session)
        case "leave", session:
            return roster.left(seats, session)
        case "arm" | "disarm" as verb, seat:
            return roster.armed(seats, seat, verb == "arm")
        case "mute" | "unmute" as verb, seat:
            return roster.muted(seats, seat, verb == "mute")
        case "remove", seat:
            return roster.removed(seats, seat)
        case _:
            return roster.disconnected(roster.decode(roster.encode(seats)))


@given(steps)
def test_only_an_armed_connected_unmuted_seat_is_audible_and_only_arming_arms(history: list[tuple[str, ...]]) -> None:
    seats = Roster()
    armed: set[str] = set()
    for step in history:
        try:
            after = apply(seats, step)
        except PeerError:
            continue
        if step[0] == "arm":
            armed.add(step[1])
        elif step[0] in ("disarm", "remove"):
            armed.discard(step[1])
        assert {seat.id for seat in after.seats if seat.armed} == armed
        for seat in after.seats:
            assert seat.audible == (seat.armed and seat.session != "" and not seat.muted)
        seats = after


@given(steps)
def test_seats_are_never_twice_on_the_roster(history: list[tuple[str, ...]]) -> None:
    seats = Roster()
    for step in history:
        try:
            seats = apply(seats, step)
        except PeerError:
            continue
        ids = [seat.id for seat in seats.seats]
        assert len(ids) == len(set(ids))


def test_the_same_seat_is_found_after_a_lost_connection_and_an_old_session_cannot_close_the_new() -> None:
    seats = roster.armed(roster.joined(Roster(), "a", "Voice A", Role.SPEAKER, "s1"), "a", True)
    seats = roster.joined(seats, "a", "", Role.SPEAKER, "s2")
    assert roster.left(seats, "s1") == seats
    seat = seats.find("a")
    assert seat is not None
    assert (seat.name, seat.session, seat.armed) == ("Voice A", "s2", True)
