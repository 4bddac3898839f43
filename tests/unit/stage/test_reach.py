"""What a stage may send to strangers, and how much: addresses by their class, and a bucket of checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import SECOND_NS
from rostra.stage.reach import PORT_MIN, PORTS_NEVER, Allowance, may_send, published, usable, walk


@pytest.mark.parametrize(
    ("address", "fit"),
    [
        ("198.51.100.7", True),
        ("8.8.8.8", True),
        ("2001:db8::7", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.178.20", True),
        ("fd12:3456::7", True),
        ("100.64.0.9", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("::", False),
        ("169.254.1.1", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("224.0.0.251", False),
        ("239.255.255.250", False),
        ("ff02::fb", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("2001::1", False),
        ("0177.0.0.1", False),
        ("2130706433", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_addresses_are_judged_by_their_class(address: str, fit: bool) -> None:
    assert may_send(address, 50_000, loopback=False) is fit


def test_loopback_is_for_stages_that_are_there_themselves() -> None:
    assert may_send("127.0.0.1", 50_000, loopback=True)
    assert may_send("::1", 50_000, loopback=True)
    assert not may_send("169.254.169.254", 50_000, loopback=True)


def test_services_are_never_asked() -> None:
    for port in (0, 22, 53, 123, 443, PORT_MIN - 1, *PORTS_NEVER, 65_536):
        assert not may_send("198.51.100.7", port, loopback=True), port
    assert may_send("198.51.100.7", PORT_MIN, loopback=False)


@pytest.mark.parametrize(
    ("candidate", "fit"),
    [
        ("1 1 udp 2122260223 192.0.2.7 50000 typ host", True),
        ("1 1 UDP 1 2001:db8::7 50000 typ relay raddr :: rport 9", True),
        ("1 2 udp 1 192.0.2.7 50000 typ host", False),
        ("1 1 tcp 1 192.0.2.7 9 typ host tcptype active", False),
        ("1 1 udp 1 127.0.0.1 50000 typ host", False),
        ("1 1 udp 1 a1b2c3d4.local 50000 typ host", False),
        ("1 1 udp 1 example.com 50000 typ host", False),
        ("1 1 udp 1 192.0.2.7 0 typ host", False),
        ("1 1 udp 1 192.0.2.7 65536 typ host", False),
        ("1 1 udp x 192.0.2.7 50000 typ host", False),
        ("1 1 udp 1 192.0.2.7 50000 typ prflx", False),
        ("1 1 udp 1 192.0.2.7 50000", False),
        ("1 1 udp 1 192.0.2.7 " + "9" * 5000 + " typ host", False),
        ("", False),
    ],
)
def test_a_usable_candidate_is_udp_to_such_an_address(candidate: str, fit: bool) -> None:
    assert usable(candidate, loopback=False) is fit


@given(st.text(max_size=80), st.booleans())
def test_no_candidate_upsets_it(text: str, loopback: bool) -> None:
    usable(text, loopback=loopback)
    usable(f"1 1 udp 1 {text} 50000 typ host", loopback=loopback)


@given(st.lists(st.integers(0, SECOND_NS // 2), max_size=300), st.integers(1, 40), st.integers(1, 60))
def test_an_allowance_is_never_exceeded(gaps_ns: list[int], per_s: int, burst: int) -> None:
    allowance, now_ns = Allowance(per_s, burst, total=100), 10 * SECOND_NS
    taken: list[int] = []
    for gap in gaps_ns:
        now_ns += gap
        if allowance.left(now_ns):
            allowance.take()
            taken.append(now_ns)
    assert len(taken) <= 100
    for at in taken:
        within = [other for other in taken if at <= other < at + SECOND_NS]
        assert len(within) <= burst + per_s + 1


def test_a_clock_that_stands_still_gives_nothing_back() -> None:
    allowance = Allowance(25, 2)
    for left in (True, True, False, False):
        assert allowance.left(SECOND_NS) is left
        if left:
            allowance.take()
    assert allowance.left(2 * SECOND_NS)


@given(st.integers(1, 60_000), st.integers(0, 300), st.integers(0, 70_000))
def test_a_walk_meets_every_port_once_and_the_last_freed_last(first: int, more: int, start: int) -> None:
    found = list(walk(first, first + more, start))
    assert sorted(found) == list(range(first, first + more + 1))
    assert list(walk(first, first + more, start + 1))[-1] == found[0]


@pytest.mark.parametrize(
    ("public", "sources", "chosen", "pairs"),
    [
        (("203.0.113.7",), ("10.0.0.5",), (), {"10.0.0.5": "203.0.113.7"}),
        (("203.0.113.7",), ("10.0.0.5",), ("10.0.0.9",), {"10.0.0.9": "203.0.113.7"}),
        (("203.0.113.7",), ("203.0.113.7",), (), {}),
        (("203.0.113.7",), (), (), {}),
        (
            ("203.0.113.7", "2001:db8::7"),
            ("10.0.0.5", "fd00::5"),
            (),
            {"10.0.0.5": "203.0.113.7", "fd00::5": "2001:db8::7"},
        ),
        ((), ("10.0.0.5",), (), {}),
    ],
)
def test_a_public_address_stands_for_what_the_nat_aims_at(
    public: tuple[str, ...], sources: tuple[str, ...], chosen: tuple[str, ...], pairs: dict[str, str]
) -> None:
    assert published(public, sources, chosen) == pairs
