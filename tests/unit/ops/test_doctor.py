"""What is read is judged in sentences that say what to do; what must be open follows from the configuration."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rostra.kernel.io.files import Lock
from rostra.ops import doctor, probes
from rostra.ops.config import Config
from rostra.ops.doctor import Check, Finding, Opening, Verdict
from rostra.ops.probes import Answer, Clock, Disk, Knock, Limits, Relayed, Seen, Sockets
from rostra.studio.ice import Servers
from support.server import free_port

PUBLIC = "203.0.113.7"
HERE = Config(Path("/srv/rostra"))
FAR = replace(HERE, bind="0.0.0.0", public_addresses=(PUBLIC,), udp_ports=(50_000, 50_999))
STUN = "stun:turn.example.org:3478"
KNOCK = Knock(PUBLIC, 50_000, "10.0.0.5", "turn:a", True, (32_768, 60_999))


@pytest.mark.parametrize(
    ("judge", "config", "read", "verdicts", "words"),
    [
        (doctor.judge_sockets, HERE, Sockets({}, False), "ok ok", "can be listened on"),
        (doctor.judge_sockets, HERE, Sockets({8000: "Taken."}, True), "ok ok", "is Rostra's, which is running"),
        (doctor.judge_sockets, HERE, Sockets({8001: "Taken."}, False), "ok fault", "--audience-port"),
        (doctor.judge_udp, HERE, (0, 0), "ok", "any UDP port"),
        (doctor.judge_udp, FAR, (1000, 1000), "ok", "1000 of 1000 ports are free"),
        (doctor.judge_udp, FAR, (400, 1000), "warning", "600 of 1000 ports are taken"),
        (doctor.judge_udp, FAR, (20, 20), "warning", "13 speakers take 26"),
        (doctor.judge_udp, FAR, (0, 1000), "fault", "every port is taken"),
        (doctor.judge_seen, HERE, Seen({}, ()), "ok", "none is needed"),
        (doctor.judge_seen, FAR, Seen({STUN: Answer(PUBLIC)}, ("10.0.0.5",)), "ok", "which is public_address"),
        (doctor.judge_seen, FAR, Seen({STUN: Answer("192.0.2.9")}, ()), "fault", "--public-address 192.0.2.9"),
        (doctor.judge_seen, HERE, Seen({STUN: Answer("192.0.2.9")}, ("10.0.0.5",)), "fault", "behind a NAT"),
        (doctor.judge_seen, HERE, Seen({STUN: Answer("192.0.2.9")}, ("192.0.2.9",)), "ok", "of this machine"),
        (doctor.judge_seen, HERE, Seen({STUN: Answer(problem="No answer.")}, ()), "fault", "No answer."),
        (doctor.judge_relayed, HERE, (), "warning", "cannot speak"),
        (doctor.judge_relayed, HERE, (Relayed("turn:a", "192.0.2.3"),), "ok", "relays from 192.0.2.3"),
        (doctor.judge_relayed, HERE, (Relayed("turn:a", "", "401.", True),), "fault", "static-auth-secret"),
        (doctor.judge_relayed, HERE, (Relayed("turn:a", "", "Silence."),), "fault", "Is it running?"),
        (doctor.judge_knock, HERE, None, "", ""),
        (doctor.judge_knock, FAR, KNOCK, "ok", "turn:a from outside came in"),
        (doctor.judge_knock, FAR, replace(KNOCK, by=""), "ok", "back through the router"),
        (doctor.judge_knock, FAR, replace(KNOCK, arrived=False), "fault", "forwards it to 10.0.0.5"),
        (doctor.judge_knock, FAR, replace(KNOCK, by="", arrived=False), "warning", "cannot be told"),
        (doctor.judge_clock, HERE, Clock(True, 0.01), "ok", "0.010 s"),
        (doctor.judge_clock, HERE, Clock(True, 2.0), "warning", "2.0 s"),
        (doctor.judge_clock, HERE, Clock(False, 0.0), "warning", "chrony"),
        (doctor.judge_limits, HERE, Limits(1024, False), "warning warning", "LimitNOFILE"),
        (doctor.judge_limits, HERE, Limits(20_000, True), "ok ok", "20000 files"),
        (doctor.judge_disk, HERE, Disk(10**10, 10**9), "ok ok", "10.0 GB free"),
        (doctor.judge_disk, HERE, Disk(10**9, 10**7), "warning warning", "shm-size"),
        (doctor.judge_disk, HERE, Disk(10**8, 0), "fault warning", "--data"),
    ],
)
def test_what_is_read_is_judged(judge: Any, config: Config, read: Any, verdicts: str, words: str) -> None:
    found = list(judge(config, read))
    assert [verdict.value for verdict, _, _ in found] == verdicts.split()
    assert words in " ".join(f"{sentence} {todo}" for _, sentence, todo in found)
    assert all(bool(todo) is (verdict is not Verdict.OK) for verdict, _, todo in found), "what is wrong can be mended"


def test_a_fault_is_told_to_programs_and_people() -> None:
    bad = Check("luck", lambda _config: 13, lambda _config, read: [(Verdict.FAULT, f"It is {read}.", "Wait.")])
    good = Check("sun", lambda _config: 1, lambda _config, _read: [(Verdict.WARNING, "It shines.", "Enjoy.")])
    found = doctor.examine(HERE, (bad, good))
    assert found[0] == Finding("luck", Verdict.FAULT, "It is 13.", "Wait.")
    assert json.loads(json.dumps(doctor.report(found)))["ok"] is False
    assert doctor.report(found[1:])["ok"] is True
    assert doctor.in_words(found).startswith("fault    luck       It is 13.\n                    Wait.\n")


def test_what_must_be_open_follows_from_the_configuration() -> None:
    ephemeral = (32_768, 60_999)
    assert doctor.openings(HERE, ephemeral) == []
    assert "nothing needs to be open" in doctor.openings_in_words(HERE, [], "")
    everything = doctor.openings(FAR, ephemeral)
    assert [(one.protocol, one.ports) for one in everything] == [
        ("tcp", "8000"),
        ("tcp", "8001"),
        ("udp", "50000-50999"),
    ]
    behind = replace(HERE, public_url="https://live.example.org")
    assert [one.ports for one in doctor.openings(behind, ephemeral)] == ["32768-60999"], "the terminator has the others"
    relayed = replace(FAR, relays=Servers(turn=("turn:a",), secret="s"))
    assert "turn:a" in doctor.openings_in_words(relayed, everything, "ufw")
    assert PUBLIC in doctor.openings_in_words(FAR, everything, "ufw")


def test_the_rules_are_ready_for_the_usual_firewalls() -> None:
    rules = doctor.rules([Opening("stage", "udp", "50000-50999", "speakers")])
    assert rules["ufw"] == ["ufw allow 50000:50999/udp comment 'Rostra stage'"]
    assert rules["nftables"] == ['nft add rule inet filter input udp dport 50000-50999 accept comment "Rostra stage"']
    assert rules["cloud"] == ["ingress UDP 50000-50999 from 0.0.0.0/0 and ::/0 (Rostra stage)"]


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_the_probes_read_this_machine(tmp_path: Path) -> None:
    here = replace(HERE, data=tmp_path, studio_port=free_port(), audience_port=free_port())
    assert probes.sockets(here) == Sockets({}, False)
    lock = Lock(tmp_path / "serve.lock")
    assert lock.acquire()
    with taken(here.studio_port):
        found = probes.sockets(here)
    lock.release()
    assert list(found.refused) == [here.studio_port]
    assert found.serving
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert probes.udp(replace(here, udp_ports=(port, port))) == (0, 1)
    assert probes.disk(replace(here, data=tmp_path / "not" / "yet")).data_bytes > 0
    assert probes.limits(here).files > 0
    assert probes.clock(here).error_s >= 0
    assert probes.ephemeral_ports()[0] < probes.ephemeral_ports()[1]


def test_a_server_that_is_not_there_is_said_to_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ANSWER_S", 0.3)
    relays = Servers((f"stun:127.0.0.1:{free_port()}",), (f"turn:127.0.0.1:{free_port()}?transport=tcp",), "s")
    here = replace(HERE, relays=relays)
    assert "no answer" in next(iter(probes.seen(here).answers.values())).problem
    (relayed,) = probes.relayed(here)
    assert "no answer" in relayed.problem
    assert not relayed.refused


def test_a_packet_to_our_own_address_comes_in(tmp_path: Path) -> None:
    found = probes.knock(replace(HERE, public_addresses=("127.0.0.1",)))
    assert found is not None
    assert found.arrived
    assert found.by == ""
    assert probes.knock(HERE) is None
