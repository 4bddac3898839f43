"""What a connection lets in: who pays, who is dropped, who has to go."""

from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import SECOND_NS
from rostra.stage import budget
from rostra.stage.budget import DATAGRAM_BYTES_MAX, PATIENCE_S, PEER_BURST, PEER_PER_S, STRANGERS_PER_S, Gate, Kind

PEER = ("192.0.2.1", 5000)
STRANGER = ("198.51.100.9", 666)
CHECK = bytes(20)
DTLS = bytes([22]) + bytes(60)


def media(ssrc: int = 7) -> bytes:
    return bytes([0x80, 111]) + bytes(6) + ssrc.to_bytes(4, "big") + bytes(40)


def gate() -> Gate:
    known = Gate()
    known.know(PEER)
    return known


def test_datagrams_are_told_apart_by_their_first_byte() -> None:
    kinds = {0: Kind.STUN, 3: Kind.STUN, 4: Kind.NONE, 19: Kind.NONE, 20: Kind.DTLS, 63: Kind.DTLS, 64: Kind.NONE}
    kinds |= {127: Kind.NONE, 128: Kind.MEDIA, 191: Kind.MEDIA, 192: Kind.NONE, 255: Kind.NONE}
    assert {first: budget.kind(bytes([first])) for first in kinds} == kinds
    assert budget.kind(b"") is Kind.NONE
    assert budget.stream(media(7)) == 7
    assert budget.stream(bytes([0x81, 201, 0, 1]) + (9).to_bytes(4, "big")) == 9
    assert budget.stream(b"\x80") == budget.stream(media()[:11]) == -1


def test_a_stranger_may_send_checks_and_the_peers_streams_within_a_budget_of_its_own() -> None:
    door = gate()
    assert door.admits(media(), PEER, 0)
    assert door.admits(CHECK, STRANGER, 0)
    assert door.admits(media(), STRANGER, 0), "the peer's address may have changed"
    assert not door.admits(media(8), STRANGER, 0)
    assert not door.admits(DTLS, STRANGER, 0)
    assert sum(door.admits(CHECK, (f"10.0.0.{n % 256}", n), 0) for n in range(5000)) == STRANGERS_PER_S - 2
    assert sum(door.admits(media(), PEER, 0) for n in range(100)) == 100, "the peer pays for nobody"
    assert door.admits(DTLS, PEER, 0)


def test_what_is_empty_too_long_or_no_webrtc_is_dropped_whoever_sends_it() -> None:
    door = gate()
    for data in (b"", b"GET / HTTP/1.1", media() + bytes(DATAGRAM_BYTES_MAX)):
        assert not door.admits(data, PEER, 0)
    assert (door.dropped.oversize, door.dropped.unknown) == (1, 2)


def test_a_peer_that_goes_on_flooding_is_expelled_and_a_jam_is_not_a_flood() -> None:
    jammed, flooding = gate(), gate()
    for second in range(1, 20):
        per_s = PEER_BURST if second == 3 else 50
        for n in range(per_s):
            assert jammed.admits(media(), PEER, second * SECOND_NS + n), "what a hung network lets go"
            jammed.authentic(second * SECOND_NS + n)
    assert not jammed.expelled
    for second in range(1, PATIENCE_S + 3):
        assert not flooding.expelled or second > PATIENCE_S
        for n in range(5000):
            if flooding.admits(media(), PEER, second * SECOND_NS + n * SECOND_NS // 5000):
                flooding.authentic(second * SECOND_NS + n * SECOND_NS // 5000)
    assert flooding.expelled == "flood"


def test_what_a_stranger_sends_in_the_peers_name_expels_nobody() -> None:
    door = gate()
    for second in range(1, 20):
        for n in range(2000):
            door.admits(media(), PEER, second * SECOND_NS + n)
        for n in range(50):
            door.authentic(second * SECOND_NS + n)
    assert door.dropped.excess > 20_000
    assert not door.expelled


def test_a_peer_that_begins_streams_without_end_or_sends_only_rubbish_is_expelled() -> None:
    streams, rubbish = gate(), gate()
    for second in range(1, PATIENCE_S + 3):
        for n in range(100):
            for ssrc in (7, second * 1000 + n):
                if streams.admits(media(ssrc), PEER, second * SECOND_NS + n):
                    streams.authentic(second * SECOND_NS + n)
            rubbish.spoilt(second * SECOND_NS + n, authentic=True)
    assert streams.dropped.streams == 100 * (PATIENCE_S + 2) + 1 - budget.STREAMS_MAX
    assert streams.expelled == "flood"
    assert rubbish.expelled == "malformed"


def test_rubbish_that_nobody_has_signed_expels_nobody() -> None:
    door = gate()
    for second in range(1, 20):
        for n in range(500):
            door.spoilt(second * SECOND_NS + n, authentic=False)
    assert not door.expelled


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 2 * SECOND_NS)), max_size=200))
def test_nothing_grows_and_no_second_lets_in_more_than_its_budget(sent: list[tuple[bytes, int, int]]) -> None:
    door = Gate()
    now_ns = let_in = 0
    for data, port, later_ns in sent:
        now_ns += later_ns
        if port % 3 == 0:
            door.know(("192.0.2.1", port))
        let_in += door.admits(data, ("192.0.2.1", port), now_ns)
    assert len(door._sources) <= budget.SOURCES_MAX
    assert len(door._streams) <= budget.STREAMS_MAX
    assert let_in <= PEER_BURST + STRANGERS_PER_S + (PEER_PER_S + STRANGERS_PER_S) * now_ns / SECOND_NS
    assert let_in + sum(getattr(door.dropped, name) for name in budget.Dropped.__slots__) == len(sent)
