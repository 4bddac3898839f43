"""Which processes should run, and the loop that sees to it.

`wanted` is the schedule turned into processes; `Care` is what one process needs: started, restarted with a growing
pause when it keeps dying young, killed when its heartbeat stops. Both are values and functions over `now`, and tested
as such; `Supervisor` reads the clock, forks and reaps.

The supervisor reads `space.json` and the journals, nothing else: an event that was scheduled happens on time even if
the studio, the keeper and the database are gone. A hung process is killed *and reaped* before its successor starts, so
that the locks it held are free. The listening sockets are the supervisor's own: whoever connects while a worker or the
studio is being restarted waits in the kernel's queue, and is not refused.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import structlog

from rostra.kernel.errors import RostraError, Unavailable
from rostra.kernel.io import memory
from rostra.kernel.io.files import Lock, Stamp, make_private, stamp
from rostra.kernel.io.system import now
from rostra.kernel.shared import ring
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.ops import net
from rostra.ops.config import Config
from rostra.ops.front import certificate_files, servable
from rostra.ops.jobs import TURN_SECRET, Job, counters_path
from rostra.space import lifecycle
from rostra.space.io.folder import Folder, spaces
from rostra.space.lifecycle import LIVE, Life, State
from rostra.space.spec import Recording, Spec
from rostra.tls.protection import Way

log = structlog.get_logger()

PROGRAMME_LEAD_S: Final = 60
"""The programme runs this long before the doors, so that the first listener finds sound."""

STAGE_LEAD_S: Final = 1800
"""Speakers may meet in the green room this long before the doors."""

SILENCE_MS_MAX: Final = {
    "programme": 1500,
    "stage": 1500,
    "worker": 2500,
    "terminator": 2500,
    "keeper": 5000,
    "studio": 5000,
    "check": 5000,
    "certifier": 10_000,
}
"""How old a heartbeat may grow. All beat four times a second; the audible ones are given the least patience, and the
studio and the certifier the most, as nobody listening notices them."""

START_MS_MAX: Final = 30_000
"""Until its first heartbeat a process imports its libraries: under a second, but many may start at once on one core."""

YOUNG_MS: Final = 5000
PAUSES_MS: Final = (0, 0, 500, 1000, 2000, 5000)
"""Pauses before the next start of a process that died younger than `YOUNG_MS`, by how often it did so in a row."""

STOP_MS_MAX: Final = 8000
"""A process that was asked to stop may finish its work for this long."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A Space on disk: what was announced, where its life stands, and whether its recording is still to be cut."""

    spec: Spec
    life: Life
    uncut: bool = False


def wanted(announced: Iterable[Announced], workers: int, wall_ns: int) -> set[Job]:
    """The processes that should run at `wall_ns`."""
    jobs = {Job("studio"), Job("keeper"), Job("check")} | {Job("worker", str(n)) for n in range(workers)}
    for space in announced:
        life, spec = space.life, space.spec
        opens = life.starts_at_ns - spec.doors_s * SECOND_NS
        for role, lead_s in (("programme", PROGRAMME_LEAD_S), ("stage", STAGE_LEAD_S)):
            early = life.state is State.SCHEDULED and wall_ns >= opens - lead_s * SECOND_NS
            if early or life.state in LIVE or (space.uncut and role == "programme"):
                jobs.add(Job(role, spec.id))
    return jobs


def fronted(jobs: set[Job], way: Way, terminators: int, certified: bool) -> set[Job]:
    """The processes again, with those that TLS needs: a terminator or more before the workers, and with ACME one that
    sees to the certificate. Until the first one is there, nothing that needs it runs: who comes is refused by the
    kernel, browsers then ask on port 80, and there they are told to wait.
    """
    if way not in (Way.FILES, Way.ACME):
        return jobs
    before = {Job("certifier")} if way is Way.ACME else set()
    if not certified:
        return (jobs | before) - {Job("studio")}
    return jobs | before | {Job("terminator", str(n)) for n in range(terminators)}


@dataclass(slots=True)
class Care:
    """What one job needs. `pid` is 0 while it does not run; instants are monotonic ns."""

    job: Job
    pid: int = 0
    started_ns: int = 0
    next_start_ns: int = 0
    young_deaths: int = 0
    killed: bool = False

    def started(self, pid: int, now_ns: int) -> None:
        self.pid, self.started_ns, self.killed = pid, now_ns, False

    def ended(self, now_ns: int) -> None:
        """The process is gone and reaped: when may its successor start?"""
        young = now_ns - self.started_ns < YOUNG_MS * MS_NS
        self.young_deaths = self.young_deaths + 1 if young else 0
        pause = PAUSES_MS[min(self.young_deaths, len(PAUSES_MS) - 1)]
        self.pid, self.next_start_ns = 0, now_ns + pause * MS_NS

    def may_start(self, now_ns: int) -> bool:
        return self.pid == 0 and now_ns >= self.next_start_ns

    def hung(self, heartbeat_ns: int, now_ns: int) -> bool:
        """Whether the process has been silent too long. A heartbeat from before its start is its predecessor's."""
        if self.pid == 0 or self.killed:
            return False
        if heartbeat_ns < self.started_ns:
            return now_ns - self.started_ns > START_MS_MAX * MS_NS
        return now_ns - heartbeat_ns > SILENCE_MS_MAX[self.job.role] * MS_NS


class Supervisor:
    """The loop over every job of one data directory. Raises Unavailable `data.in_use` when another one has it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        make_private(config.data / "spaces")
        self._lock = Lock(config.data / "serve.lock")
        if not self._lock.acquire():
            raise Unavailable(
                "data.in_use",
                f"Another Rostra is serving {config.data}.",
                "Stop that one, or give this one a folder of its own with --data.",
            )
        self._protection = config.protection
        self._certificate, self._certificate_key = certificate_files(config)
        self._certified = self._is_certified()
        for port in self._ports():
            net.claim(config.bind, port)
        # What a supervisor that was killed left behind may be of another release.
        shutil.rmtree(memory.shared_folder(config.data), ignore_errors=True)
        self._shared = memory.shared_folder(config.data)
        self._upstream_port = 0
        self._listeners = self._listen()
        self._care: dict[Job, Care] = {}
        self._children: dict[Job, subprocess.Popen[bytes]] = {}
        self._beats: dict[Job, Counters] = {}
        self._stopping = False
        self._spaces: list[str] = []
        self._seen: dict[str, tuple[tuple[Stamp, Stamp], Announced]] = {}
        self._unreadable: set[str] = set()
        self._given_up: dict[str, tuple[Stamp, Stamp]] = {}

    def _ports(self) -> list[int]:
        config = self._config
        challenges = [config.protection.acme_port] if config.protection.way is Way.ACME else []
        return [config.studio_port, config.audience_port, *challenges]

    def _is_certified(self) -> bool:
        """Whether there is a certificate to serve. Raises OperatorError `tls.certificate` for files that do not do."""
        return self._protection.way is not Way.ACME or servable(self._certificate, self._config.names)

    def _listen(self) -> dict[Job, socket.socket]:
        """The sockets, by who gets them. Those that wait for a certificate take no connection yet."""
        config, take = self._config, self._certified
        listeners = {Job("studio"): net.listen(config.bind, config.studio_port, take=take)}
        if not self._protection.ours:
            return listeners | {
                Job("worker", str(n)): net.listen(config.bind, config.audience_port) for n in range(config.workers)
            }
        private = net.listen_privately(config.workers)
        self._upstream_port = private[0].getsockname()[1]
        listeners |= {Job("worker", str(n)): sock for n, sock in enumerate(private)}
        for n in range(config.terminators):
            listeners[Job("terminator", str(n))] = net.listen(config.bind, config.audience_port, take=take)
        if self._protection.way is Way.ACME:
            listeners[Job("certifier")] = net.listen(config.bind, self._protection.acme_port)
        return listeners

    def run_until_signal(self) -> None:
        """Supervise until SIGINT or SIGTERM, then stop every process in order."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        while not self._stopping:
            self.turn()
            time.sleep(0.05)
        self._stop_all()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def turn(self) -> None:
        """One look at everything."""
        moment = now()
        self._reap(moment.mono_ns)
        if not self._certified and self._is_certified():
            self._certified = True
            log.info("certified", names=self._config.names)
        jobs = fronted(
            wanted(self._announced(), self._config.workers, moment.wall_ns),
            self._protection.way,
            self._config.terminators,
            self._certified,
        )
        for job in jobs:
            care = self._care.setdefault(job, Care(job))
            if care.may_start(moment.mono_ns):
                self._try_to_start(care)
        for job, care in list(self._care.items()):
            if care.hung(self._heartbeat(job), moment.mono_ns):
                log.error("hung", job=job.name, pid=care.pid)
                care.killed = True
                self._children[job].kill()  # reaped in a later turn: a disk may hold it a while, and others need us
            if job not in jobs:
                self._retire(care)

    def _announced(self) -> Iterable[Announced]:
        with contextlib.suppress(OSError):
            self._spaces = spaces(self._config.data)
        for space in self._spaces:
            folder = Folder(self._config.data, self._shared, space)
            try:
                yield self._read(folder)
            except (RostraError, OSError) as error:
                if space not in self._unreadable:
                    log.error("space_unreadable", space=space, reason=str(error))
                self._unreadable.add(space)
                if space in self._seen:  # what cannot be read now is what it was: nobody is taken off air by a bad disk
                    yield self._seen[space][1]
            else:
                self._unreadable.discard(space)

    def _read(self, folder: Folder) -> Announced:
        """Read a Space again when one of its two files has changed."""
        stamps = stamp(folder.spec_json), stamp(folder.journal)
        seen = self._seen.get(folder.space)
        if seen is None or seen[0] != stamps:
            spec = folder.read_spec()
            announced = Announced(spec, folder.read_life() or lifecycle.begin(spec, 0))
            seen = self._seen[folder.space] = (stamps, announced)
        if seen[1].life.state not in (State.ENDED, State.REPLAY) or seen[1].life.first_on_air_ns is None:
            return seen[1]
        return replace(seen[1], uncut=self._uncut(folder, seen[1].spec))

    def _uncut(self, folder: Folder, spec: Spec) -> bool:
        """Whether a programme died between the end and the cutting of the recording: the next one only does that."""
        aac = folder.programmes / "floor" / "aac"
        cut = spec.recording is Recording.OFF or (aac / "recording.head").exists()
        care, stamps = self._care.get(Job("programme", folder.space)), self._seen[folder.space][0]
        if care is not None and care.young_deaths >= len(PAUSES_MS):
            self._given_up[folder.space] = stamps
        given_up = self._given_up.get(folder.space) == stamps
        return not cut and not given_up and (aac / "fragments.idx").exists()

    def _try_to_start(self, care: Care) -> None:
        """A machine that is out of memory or processes is asked again later; whoever runs, runs on."""
        try:
            self._start(care)
        except (OSError, RostraError) as error:
            log.error("not_started", job=care.job.name, reason=str(error))
            moment = now().mono_ns
            care.started(0, moment)
            care.ended(moment)

    def _start(self, care: Care) -> None:
        job = care.job
        arguments: dict[str, Any] = {"data": str(self._config.data), "key": job.key}
        passed: tuple[int, ...] = ()
        if (listener := self._listeners.get(job)) is not None:
            passed = (listener.fileno(),)
            arguments["listener"] = listener.fileno()
        elif job.role in ("programme", "stage"):
            self._make_rings(Folder(self._config.data, self._shared, job.key).make())
        arguments |= {
            "studio_base": self._config.studio_base,
            "audience_base": self._config.audience_base,
            "isolation": self._config.isolation,
            "stage": asdict(self._config.stage),
            "stun": self._config.relays.stun,
            "turn": self._config.relays.turn,
        }
        arguments |= self._told(job)
        environment = {name: value for name, value in os.environ.items() if name != TURN_SECRET}
        if job.role == "studio" and self._config.relays.secret:
            environment[TURN_SECRET] = self._config.relays.secret
        command = [sys.executable, "-m", "rostra.ops.wire", job.role, json.dumps(arguments)]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=passed, env=environment)
        self._children[job] = child
        care.started(child.pid, now().mono_ns)
        log.info("started", job=job.name, pid=child.pid)

    def _told(self, job: Job) -> dict[str, Any]:
        """What the processes that have to do with TLS are told of it."""
        protection = self._protection
        found: dict[str, Any] = {}
        if protection.ours and job.role in ("studio", "terminator", "certifier"):
            found = {"certificate": str(self._certificate), "certificate_key": str(self._certificate_key or "")}
        if job.role == "terminator":
            found["upstream_port"] = self._upstream_port
        elif job.role == "certifier":
            found |= {
                "acme_email": protection.acme_email,
                "acme_directory": protection.acme_directory,
                "names": self._config.names,
            }
        if job.role in ("studio", "worker"):
            found["proxies"] = [str(network) for network in protection.terminator]
        return found

    def _make_rings(self, folder: Folder) -> None:
        for path in (folder.mix_ring, folder.return_ring):
            buffer = memory.create(path, ring.SIZE)
            if bytes(buffer[:8]) != ring.MAGIC:
                ring.format_ring(buffer)

    def _reap(self, now_ns: int) -> None:
        for job, child in list(self._children.items()):
            if (code := child.poll()) is not None:
                del self._children[job]
                self._care[job].ended(now_ns)
                log.info("ended", job=job.name, pid=child.pid, code=code)

    def _heartbeat(self, job: Job) -> int:
        beats = self._beats.get(job)
        if beats is None:
            path = counters_path(self._shared, job)
            if not path.exists():
                return 0
            try:
                beats = self._beats[job] = Counters(memory.attach(path))
            except (RostraError, ValueError):  # not written yet
                return 0
        return beats.get(HEARTBEAT)

    def _retire(self, care: Care) -> None:
        """No longer wanted: a stage is asked to stop, a programme ends by itself, and both are then forgotten."""
        child = self._children.get(care.job)
        if child is None:
            del self._care[care.job]
            if not any(job.key == care.job.key for job in self._care):  # the other process of the Space has the rings
                shutil.rmtree(self._shared / care.job.key, ignore_errors=True)
        elif care.job.role == "stage":
            child.terminate()

    def _stop_all(self) -> None:
        """Audience last: whoever listens hears the programme's last fragments."""
        for roles in (("studio", "stage", "check"), ("programme",), ("worker", "keeper"), ("terminator", "certifier")):
            children = [child for job, child in self._children.items() if job.role in roles]
            for child in children:
                child.terminate()
            deadline = time.monotonic() + STOP_MS_MAX / 1000
            for child in children:
                try:
                    child.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        shutil.rmtree(self._shared, ignore_errors=True)
        self._lock.release()
