"""The laboratory's own trial: what programs that know nothing of it (ping, the kernel's UDP) meet on its links."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.netem import Bursts, Condition
from support.netns import Laboratory, Links, laboratory
from support.server import wait_for

pytestmark = pytest.mark.namespace
UP, DOWN = [("line", "up")], [("line", "down")]


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    with laboratory("here", "there") as lab:
        yield lab


@pytest.fixture(scope="module")
def links(lab: Laboratory) -> Iterator[Links]:
    with lab.join({"line": ("here", "there")}) as links:
        yield links


def ping_ms(lab: Laboratory, address: str, count: int, every_s: float = 0.02) -> list[float]:
    """The round trips that came back."""
    done = lab.run("here", "ping", "-n", "-c", str(count), "-i", str(every_s), "-W", "5", address)
    return [float(found) for found in re.findall(r"time=([\d.]+) ms", done.stdout)]


def udp_numbers(lab: Laboratory, links: Links, count: int, *, pace_s: float = 0.001) -> list[int]:
    """Which of `count` numbered datagrams arrive over the link, in the order of their arrival."""
    address = links.address("line", "there")
    taken = links.counts()["line", "up"].taken

    def bound() -> socket.socket:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.bind((address, 0))
        return receiver

    with lab.inside("there", bound) as receiver:
        target = receiver.getsockname()
        with lab.inside("here", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            for number in range(count):
                sender.sendto(number.to_bytes(4, "big").ljust(100), target)
                time.sleep(pace_s)
        wait_for(lambda: links.counts()["line", "up"].taken == taken + count, 20, "all to be on their way")
        wait_for(lambda: not links.waiting(), 20, "the line to be empty")
        receiver.settimeout(0.2)
        numbers = []
        while True:
            try:
                numbers.append(int.from_bytes(receiver.recv(200)[:4], "big"))
            except TimeoutError:
                return numbers


def test_delay_is_added_each_way_and_taken_away_again(lab: Laboratory, links: Links) -> None:
    there = links.address("line", "there")
    with links.like(Condition(delay_ms=60), UP), links.like(Condition(delay_ms=30), DOWN):
        trips = ping_ms(lab, there, 10)
    assert len(trips) == 10
    assert min(trips) >= 90
    assert min(ping_ms(lab, there, 10)) < 60


def test_what_is_lost_is_what_the_model_lost(lab: Laboratory, links: Links) -> None:
    before = links.counts()["line", "up"]
    with links.like(Condition(loss=0.1, bursts=Bursts(0.1, 4))):
        numbers = udp_numbers(lab, links, 1500)
        after = links.counts()["line", "up"]
    assert (after.taken - before.taken, after.delivered - before.delivered) == (1500, len(numbers))
    assert 0.14 < 1 - len(numbers) / 1500 < 0.25  # 19 %, less what is lost for both reasons


def test_jitter_reorders_and_an_ordered_way_does_not(lab: Laboratory, links: Links) -> None:
    with links.like(Condition(delay_ms=40, jitter_ms=30)):
        numbers = udp_numbers(lab, links, 300)
    assert sorted(numbers) == list(range(300)) != numbers
    with links.like(Condition(delay_ms=40, jitter_ms=30, ordered=True)):
        assert udp_numbers(lab, links, 300) == list(range(300))


def test_duplicates_arrive(lab: Laboratory, links: Links) -> None:
    with links.like(Condition(duplicate=1)):
        assert sorted(udp_numbers(lab, links, 100)) == sorted([*range(100), *range(100)])


def test_a_slow_line_bloats_and_then_drops(lab: Laboratory, links: Links) -> None:
    """100 datagrams of 128 bytes at once into 64 kbit/s are 1.6 s of line; the queue has room for 0.4 s."""
    with links.like(Condition(rate_kbit_s=64, queue_ms=400), UP):
        numbers = udp_numbers(lab, links, 100, pace_s=0)
    assert numbers == sorted(numbers)
    assert 25 <= len(numbers) <= 40


def test_a_stall_holds_back_and_a_cut_line_loses(lab: Laboratory, links: Links) -> None:
    links.stall(0.5, UP)
    began = time.monotonic()
    assert udp_numbers(lab, links, 20, pace_s=0) == list(range(20))
    assert time.monotonic() - began >= 0.5
    with links.like(Condition(down=True)):
        assert udp_numbers(lab, links, 20) == []
    assert udp_numbers(lab, links, 20) == list(range(20))


def test_the_kernel_drops_at_random_by_nftables(lab: Laboratory, links: Links) -> None:
    with lab.drop_at_random("there", 0.2):
        assert 0.1 < 1 - len(udp_numbers(lab, links, 1000)) / 1000 < 0.3
    assert len(udp_numbers(lab, links, 100)) == 100


ABANDON = """
import sys, time
from support.netns import laboratory
with laboratory("a", "b") as lab, lab.join({"line": ("a", "b")}) as links:
    print(links.pid, lab.file("a"), flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_when_a_test_is_killed() -> None:
    """The forwarder ends by itself; the names of the namespaces go with the next laboratory."""
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(tests)}
    with subprocess.Popen([sys.executable, "-c", ABANDON], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        pid, file = child.stdout.readline().split()
        child.send_signal(signal.SIGKILL)
        child.wait()
    wait_for(lambda: not Path(f"/proc/{pid.decode()}").exists(), 20, "the forwarder's end")
    assert Path(file.decode()).exists()
    with laboratory("c"):
        assert not Path(file.decode()).exists()
