"""A stage's sockets: ports of the configured range and no others, given back, and few packets to strangers."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aioice.ice
import pytest
from aioice.candidate import Candidate
from aioice.ice import Connection

from rostra.kernel.errors import Unavailable
from rostra.space.grants import Role
from rostra.stage import Options, reach
from rostra.stage.io import hooks
from rostra.stage.io.datagrams import Datagrams, source
from rostra.stage.io.session import Session
from rostra.stage.negotiation import read_offer

OFFER = (Path(__file__).parent / "offers" / "chromium.sdp").read_bytes().decode()
LOOPBACK = "127.0.0.1"


@contextmanager
def free_range(size: int) -> Iterator[tuple[int, int]]:
    """So many UDP ports in a row that nobody has."""
    for first in range(40_000, 60_000, size):
        taken = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(size)]
        try:
            for offset, sock in enumerate(taken):
                sock.bind((LOOPBACK, first + offset))
        except OSError:
            continue
        finally:
            for sock in taken:
                sock.close()
        yield first, first + size - 1
        return
    pytest.fail("no free ports")


@pytest.fixture
def gather(monkeypatch: pytest.MonkeyPatch) -> Callable[[Datagrams], None]:
    original = Connection.get_component_candidates
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [LOOPBACK])
    monkeypatch.setattr(Connection, "get_component_candidates", original)  # put back at the end
    return lambda datagrams: hooks.gather_with(datagrams.gather)


def ports(answer: str) -> list[int]:
    return [int(line.split(" ")[5]) for line in answer.split("\r\n") if line.startswith("a=candidate:")]


def session() -> Session:
    return Session("s", "seat", "Ann", Role.SPEAKER, read_offer(OFFER), lambda _session: None)


def test_ports_come_from_the_range_and_are_given_back(gather: Callable[[Datagrams], None]) -> None:
    async def story(first: int, last: int) -> None:
        datagrams = Datagrams(Options(udp_ports=(first, last)))
        gather(datagrams)
        sessions = [session() for _ in range(3)]
        taken = [port for each in sessions for port in ports(await each.answer())]
        assert sorted(taken) == list(range(first, last + 1))
        full = session()
        with pytest.raises(Unavailable) as refused:
            await full.answer()
        assert refused.value.code == "stage.no_ports"
        await full.close()
        await sessions[1].close()
        fourth = session()
        assert ports(await fourth.answer()) == [taken[1]], "what was freed is used again"
        for each in (sessions[0], sessions[2], fourth):
            await each.close()

    with free_range(3) as (first, last):
        asyncio.run(story(first, last))


def test_another_process_s_port_is_passed_over(gather: Callable[[Datagrams], None]) -> None:
    async def story(first: int, last: int) -> None:
        gather(Datagrams(Options(udp_ports=(first, last))))
        for _ in range(4):  # from wherever the walk begins
            one = session()
            assert ports(await one.answer()) == [last]
            await one.close()

    with free_range(2) as (first, last), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, first))
        asyncio.run(story(first, last))


def test_chosen_addresses_are_used_alone_and_one_that_has_gone_is_left_out(gather: Callable[[Datagrams], None]) -> None:
    async def story() -> None:
        gather(Datagrams(Options(addresses=("127.0.0.2", "192.0.2.77"))))
        one = session()
        answer = await one.answer({"127.0.0.2": "203.0.113.7"})
        hosts = [line.split(" ")[4] for line in answer.split("\r\n") if line.startswith("a=candidate:")]
        assert hosts == ["203.0.113.7", "127.0.0.2"]
        assert len(set(ports(answer))) == 1
        await one.close()

    asyncio.run(story())


def remote(host: str, port: int) -> Candidate:
    return Candidate("f", 1, "udp", 1, host, port, "host")


def checked(options: Options, targets: list[Candidate], withheld: int) -> Datagrams:
    """Let a connection check `targets` until so many packets were withheld."""

    async def story() -> Datagrams:
        datagrams = Datagrams(options)
        connection = Connection(ice_controlling=False)
        connection._local_candidates = await datagrams.gather(connection, 1, [LOOPBACK])
        connection._local_candidates_end = True
        connection.remote_username, connection.remote_password = "abcd", "p" * 22
        for target in targets:
            await connection.add_remote_candidate(target)
        checking = asyncio.ensure_future(connection.connect())
        async with asyncio.timeout(20):
            while datagrams.withheld < withheld:
                await asyncio.sleep(0.01)
        await connection.close()
        with pytest.raises(ConnectionError):
            await checking
        return datagrams

    return asyncio.run(story())


def test_strangers_are_sent_no_more_than_the_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "CHECKS_BURST", 5)
    monkeypatch.setattr(reach, "CHECKS_PER_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind((LOOPBACK, 0))
        victim.setblocking(False)
        port = victim.getsockname()[1]
        checked(Options(), [remote(LOOPBACK, port), *(remote(LOOPBACK, p) for p in range(50_000, 50_040))], withheld=30)
        received = 0
        while received < 100:
            try:
                victim.recv(2000)
            except BlockingIOError:
                break
            received += 1
    assert 1 <= received <= 5


def test_a_check_that_was_asked_for_by_a_forged_packet_is_withheld_too() -> None:
    assert checked(Options(loopback=False), [remote(LOOPBACK, 50_001)], withheld=1).withheld >= 1


def test_two_connections_meet_and_are_not_counted_once_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """More goes to and fro than strangers are allowed: consent checks of hours, here as many requests in a row."""
    monkeypatch.setattr(reach, "CHECKS_TOTAL", 12)

    async def story() -> int:
        datagrams = Datagrams(Options())
        ends = [Connection(ice_controlling=True), Connection(ice_controlling=False)]
        for end in ends:
            end._local_candidates = await datagrams.gather(end, 1, [LOOPBACK])
            end._local_candidates_end = True
        for end, other in (ends, ends[::-1]):
            end.remote_username, end.remote_password = other.local_username, other.local_password
            for candidate in other.local_candidates:
                await end.add_remote_candidate(candidate)
            await end.add_remote_candidate(None)
        await asyncio.gather(*(end.connect() for end in ends))
        pair = ends[0]._nominated[1]
        key = ends[0].remote_password.encode()
        for _ in range(40):
            request = ends[0].build_request(pair, nominate=False)
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
        for end in ends:
            await end.close()
        return datagrams.withheld

    assert asyncio.run(story()) == 0


def test_the_way_out_is_known_without_sending() -> None:
    assert source("127.0.0.9") == LOOPBACK
    assert source("255.255.255.255") == "", "the kernel refuses broadcast"
