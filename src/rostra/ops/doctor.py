"""`rostra doctor` and `rostra ports`: is the machine as Rostra needs it, and can people reach it?

A check is a probe, which reads and judges nothing (`ops/probes.py`), and a judgement, which is a pure function of the
configuration and what was read. `CHECKS` is the whole examination: a new check is a row of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from rostra.ops import probes
from rostra.ops.config import EVERYWHERE, Config
from rostra.ops.probes import Clock, Disk, Knock, Limits, Relayed, Seen, Sockets

F = TypeVar("F")

SPEAKERS: Final = 13
"""A full stage, for whose connections and their successors a range of ports should do."""

DISK_LOW_BYTES: Final = 2_000_000_000
DISK_OUT_BYTES: Final = 200_000_000
"""A Space of an hour keeps some 50 MB: both renditions and their indexes. 2 GB is a month of evenings."""

SHM_BYTES_MIN: Final = 64_000_000
"""Rings of a megabyte a Space, 23 MB of hold music, counters; containers have 64 MB unless told otherwise."""

FILES_MIN: Final = 4096
"""Each listener is a descriptor of a worker."""

CLOCK_ERROR_S_MAX: Final = 0.5
"""Spaces begin by the wall clock, and half a second is what a listener's page cannot tell from the network."""


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """`todo` says what to do about it; empty when all is well."""

    check: str
    verdict: Verdict
    sentence: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Check(Generic[F]):
    name: str
    probe: Callable[[Config], F]
    judge: Callable[[Config, F], Iterable[tuple[Verdict, str, str]]]

    def findings(self, config: Config) -> list[Finding]:
        return [Finding(self.name, *found) for found in self.judge(config, self.probe(config))]


def examine(config: Config, checks: "Iterable[Check[Any]]") -> list[Finding]:
    """Every finding of the checks, in their order."""
    return [finding for check in checks for finding in check.findings(config)]


def report(findings: Iterable[Finding]) -> dict[str, Any]:
    """What `--json` prints: `ok` is false when there is a fault."""
    listed = [asdict(finding) for finding in findings]
    return {"ok": all(found["verdict"] != Verdict.FAULT for found in listed), "findings": listed}


def in_words(findings: Iterable[Finding]) -> str:
    lines = []
    for found in findings:
        lines.append(f"{found.verdict:8} {found.check:10} {found.sentence}")
        lines += [f"{'':19} {found.todo}"] if found.todo else []
    return "\n".join(lines)


# judgements

Judged = Iterable[tuple[Verdict, str, str]]


def judge_sockets(config: Config, read: Sockets) -> Judged:
    for port, name in ((config.studio_port, "studio"), (config.audience_port, "audience")):
        reason = read.refused.get(port)
        if reason is None:
            yield Verdict.OK, f"TCP {port} ({name}) can be listened on.", ""
        elif read.serving:
            yield Verdict.OK, f"TCP {port} ({name}) is Rostra's, which is running.", ""
        else:
            yield Verdict.FAULT, f"TCP {port} ({name}): {reason}", f"Choose another with --{name}-port, or free it."


def judge_udp(config: Config, read: tuple[int, int]) -> Judged:
    free, size = read
    if config.udp_ports is None:
        yield Verdict.OK, "The stage takes any UDP port.", ""
        return
    named = f"UDP {config.udp_ports[0]}-{config.udp_ports[1]}"
    if not free:
        yield Verdict.FAULT, f"{named}: every port is taken.", "Choose another range with --udp-ports."
    elif size < 2 * SPEAKERS:
        text = f"{named} are {size} ports; {SPEAKERS} speakers take {2 * SPEAKERS} while they all reconnect."
        yield Verdict.WARNING, text, "Widen udp_ports; all Spaces share the range."
    elif free < size / 2:
        yield Verdict.WARNING, f"{named}: {size - free} of {size} ports are taken.", "Widen udp_ports."
    else:
        yield Verdict.OK, f"{named}: {free} of {size} ports are free.", ""


def judge_seen(config: Config, read: Seen) -> Judged:
    """What STUN servers see us as, against what we say we are."""
    for server, answer in read.answers.items():
        known = {*config.public_addresses, *read.own}
        if answer.problem:
            todo = "Is it running? Is outgoing UDP to it, and its answers, let through?"
            yield Verdict.FAULT, f"STUN: {answer.problem}", todo
        elif answer.address in config.public_addresses:
            yield Verdict.OK, f"{server} sees {answer.address}, which is public_address.", ""
        elif config.public_addresses and _family(answer.address) in map(_family, config.public_addresses):
            text = f"{server} sees {answer.address}, and public_address says {', '.join(config.public_addresses)}."
            yield Verdict.FAULT, text, f"Set --public-address {answer.address}, if that stays."
        elif answer.address in known:
            yield Verdict.OK, f"{server} sees {answer.address}, an address of this machine.", ""
        else:
            text = f"{server} sees {answer.address}, which is none of this machine's: it is behind a NAT."
            yield Verdict.FAULT, text, f"Set --public-address {answer.address}, and forward the UDP ports to here."
    if not read.answers:
        yield Verdict.OK, "No STUN server is configured; none is needed where the stage is reached directly.", ""


def judge_relayed(_config: Config, read: tuple[Relayed, ...]) -> Judged:
    for relayed in read:
        if not relayed.problem:
            yield Verdict.OK, f"{relayed.url} relays from {relayed.address}.", ""
        elif relayed.refused:
            todo = "Make turn_secret its static-auth-secret (with use-auth-secret), and set both clocks."
            yield Verdict.FAULT, f"{relayed.url}: {relayed.problem}", todo
        else:
            todo = "Is it running? Is its port open, and does its certificate name it?"
            yield Verdict.FAULT, f"{relayed.url}: {relayed.problem}", todo
    if not read:
        text = "No TURN server is configured: speakers whose network blocks UDP cannot speak."
        yield Verdict.WARNING, text, "See docs/3-operate/network.md, TURN."


def judge_knock(config: Config, read: Knock | None) -> Judged:
    """Whether a datagram to the public address comes in: sent by the relay from outside, or else by ourselves."""
    if read is None:
        return
    ports = config.udp_ports or read.ephemeral
    open_them = f"Let UDP {ports[0]}-{ports[1]} in; a NAT forwards it to {read.base or 'this machine'}."
    if read.arrived:
        way = f"{read.by} from outside" if read.by else "us, back through the router"
        yield Verdict.OK, f"UDP {read.address}:{read.port} is open: a packet sent by {way} came in.", ""
    elif read.by:
        text = f"UDP {read.address}:{read.port} is closed: no packet that {read.by} sent came in."
        yield Verdict.FAULT, text, open_them
    else:
        text = f"Whether UDP {read.address}:{read.port} is open cannot be told: nothing came back through the router."
        yield Verdict.WARNING, text, f"{open_them} Many routers do not turn packets around; with TURN it can be told."


def judge_clock(_config: Config, read: Clock) -> Judged:
    if not read.synchronised:
        yield Verdict.WARNING, "The clock is not kept right by NTP.", "Start systemd-timesyncd or chrony."
    elif read.error_s > CLOCK_ERROR_S_MAX:
        yield Verdict.WARNING, f"The clock may be wrong by {read.error_s:.1f} s.", "See chronyc tracking."
    else:
        yield Verdict.OK, f"The clock is kept right (by NTP, to {read.error_s:.3f} s).", ""


def judge_limits(_config: Config, read: Limits) -> Judged:
    if read.files < FILES_MIN:
        text = f"A process may open {read.files} files, and each listener is one."
        yield Verdict.WARNING, text, "Raise it: ulimit -n 1048576, or LimitNOFILE=1048576 in the unit."
    else:
        yield Verdict.OK, f"A process may open {read.files} files.", ""
    if read.real_time:
        yield Verdict.OK, "Stage and programme may take real-time priority.", ""
    else:
        todo = "Run with CAP_SYS_NICE, or LimitRTPRIO=1 in the unit; needed only on a busy machine."
        yield Verdict.WARNING, "Stage and programme may not take real-time priority.", todo


def judge_disk(config: Config, read: Disk) -> Judged:
    text = f"{config.data} has {read.data_bytes / 1e9:.1f} GB free; an hour of a Space takes 0.05 GB."
    if read.data_bytes < DISK_OUT_BYTES:
        yield Verdict.FAULT, text, "Free some space, or name another folder with --data."
    elif read.data_bytes < DISK_LOW_BYTES:
        yield Verdict.WARNING, text, "Free some space."
    else:
        yield Verdict.OK, text, ""
    text = f"Shared memory has {read.shm_bytes / 1e6:.0f} MB free."
    if not read.shm_bytes:
        text = "There is no shared memory to write to: the mix goes over the disk."
        yield Verdict.WARNING, text, "Mount a tmpfs as /dev/shm (containers: --shm-size 256m)."
    elif read.shm_bytes < SHM_BYTES_MIN:
        yield Verdict.WARNING, text, "Make /dev/shm larger (containers: --shm-size 256m)."
    else:
        yield Verdict.OK, text, ""


def _family(address: str) -> bool:
    return ":" in address


REACH: Final[tuple[Check[Any], ...]] = (
    Check("tcp", probes.sockets, judge_sockets),
    Check("udp", probes.udp, judge_udp),
    Check("stun", probes.seen, judge_seen),
    Check("turn", probes.relayed, judge_relayed),
    Check("way in", probes.knock, judge_knock),
)
CHECKS: Final[tuple[Check[Any], ...]] = (
    *REACH,
    Check("clock", probes.clock, judge_clock),
    Check("limits", probes.limits, judge_limits),
    Check("space", probes.disk, judge_disk),
)


# what must be open


@dataclass(frozen=True, slots=True)
class Opening:
    """Ports that a firewall before this machine lets in. `ports` is `8000` or `50000-50999`."""

    what: str
    protocol: str
    ports: str
    who: str


def openings(config: Config, ephemeral: tuple[int, int]) -> list[Opening]:
    """What must be open on this machine. A terminator's own ports are the terminator's."""
    found = []
    if not config.loopback_only:
        found.append(Opening("studio", "tcp", str(config.studio_port), "hosts and speakers"))
        found.append(Opening("audience", "tcp", str(config.audience_port), "listeners"))
    if not config.stage.loopback:
        first, last = config.udp_ports or ephemeral
        found.append(Opening("stage", "udp", f"{first}-{last}", "speakers, and the TURN server"))
    return found


def elsewhere(config: Config) -> list[str]:
    """What must be open on other machines, in words."""
    if not config.relays.turn:
        return []
    return [
        f"on the TURN server, to speakers: {', '.join(config.relays.turn)}",
        "on the TURN server, to the stage: its relay ports (coturn: UDP 49152-65535)",
    ]


def rules(opened: Iterable[Opening]) -> dict[str, list[str]]:
    """The same for the usual firewalls."""
    made: dict[str, list[str]] = {"ufw": [], "nftables": [], "cloud": []}
    for one in opened:
        made["ufw"].append(f"ufw allow {one.ports.replace('-', ':')}/{one.protocol} comment 'Rostra {one.what}'")
        rule = f'{one.protocol} dport {one.ports} accept comment "Rostra {one.what}"'
        made["nftables"].append(f"nft add rule inet filter input {rule}")
        made["cloud"].append(f"ingress {one.protocol.upper()} {one.ports} from 0.0.0.0/0 and ::/0 (Rostra {one.what})")
    return made


def openings_in_words(config: Config, opened: list[Opening], firewall: str) -> str:
    if not opened:
        return "Rostra is for this machine alone (bind is loopback): nothing needs to be open."
    lines = [f"{one.protocol.upper()} {one.ports:12} {one.what:9} from {one.who}" for one in opened]
    lines += elsewhere(config)
    for name, made in rules(opened).items():
        if firewall in ("", name):
            lines += ["", f"{name}:", *(f"  {rule}" for rule in made)]
    if config.public_addresses and config.bind in EVERYWHERE:
        lines += [
            "",
            f"A NAT before this machine forwards the same ports to it ({', '.join(config.public_addresses)}).",
        ]
    return "\n".join(lines)
