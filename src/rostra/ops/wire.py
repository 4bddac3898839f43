"""The only place where parts meet: one function a role, each the whole of a process.

`python -m rostra.ops.wire ROLE '{"data": …, "key": …}'` is what the supervisor starts. Imports stand inside the
functions so that each process loads only what it is made of: a worker never imports PyAV, the programme never opens a
socket.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from rostra.kernel.errors import OperatorError
from rostra.kernel.io import memory, sandbox
from rostra.kernel.io.system import now
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.ops import confine, logs
from rostra.ops.jobs import TURN_SECRET, Job, open_counters
from rostra.space.io.folder import Folder

if TYPE_CHECKING:
    from rostra.tls.io.context import Served

NICE_WORKER: Final = 10
"""Measured: eight busy workers made the programme's 20 ms tick 113 ms late at p99; at nice 10, 6 ms (DESIGN 4)."""

NICE_CHECK: Final = 15
"""A guest's test days before may stutter; who is on the air or listening may not."""

REAL_TIME: Final = 1
"""The lowest real-time priority (SCHED_RR), for stage and programme: they miss a frame when they wait 20 ms for a core.
A lower nice value would not do, as Linux weighs it only within a session (sched_autogroup). Taken where the system
allows it (root, CAP_SYS_NICE, `LimitRTPRIO=1` in a systemd unit), done without where it does not. Should one run wild,
the kernel leaves 5 % of the time to the others."""

_PR_SET_PDEATHSIG: Final = 1
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Task:
    """What the supervisor tells a process. `key` is a Space's id or a worker's number; `listener` a descriptor.

    `certificate` is empty where a process speaks plain HTTP, `certificate_key` where one file holds both;
    `upstream_port` is where the workers listen, `proxies` the networks of a declared terminator.
    """

    data: Path
    key: str
    studio_base: str
    audience_base: str
    listener: int = -1
    isolation: confine.Mode = "auto"
    stage: dict[str, Any] = field(default_factory=dict)
    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    certificate: str = ""
    certificate_key: str = ""
    upstream_port: int = 0
    proxies: tuple[str, ...] = ()
    acme_email: str = ""
    acme_directory: str = ""
    names: tuple[str, ...] = ()


def studio(task: Task, shared: Path, counters: Counters) -> int:
    import uvicorn
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    from rostra.studio.ice import Servers
    from rostra.studio.io.asgi import make_app
    from rostra.studio.io.behind import Behind
    from rostra.studio.io.desk import Desk

    served = _served(task)

    def beat() -> None:
        counters.set(HEARTBEAT, now().mono_ns)
        if served is not None:
            served.look()

    with closing(Desk(task.data, shared, task.audience_base, task.studio_base)) as desk:
        app: Any = make_app(
            desk,
            relays=Servers(tuple(task.stun), tuple(task.turn), os.environ.get(TURN_SECRET, "")),
            beat=beat,
            closing=lambda: server.should_exit,
        )
        if (admits := _admits(task)) is not None:  # who calls is what the terminator says, and only it may say so
            believing: Any = ProxyHeadersMiddleware(app, trusted_hosts=list(task.proxies))
            app = Behind(believing, admits)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,  # addresses may carry a token (`?token=` of an unapproved recording)
                log_config=None,
                server_header=False,
                h11_max_incomplete_event_size=16_384,
                limit_concurrency=1000,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=3,
                ssl_context_factory=None if served is None else lambda *_: served.entrance(),
                proxy_headers=False,
            )
        )
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again once it has stopped
        server.run(sockets=[socket.socket(fileno=task.listener)])
    return 0


def stage(task: Task, shared: Path, counters: Counters) -> int:
    from rostra.stage import Options
    from rostra.stage.io import webrtc

    _go_first()
    webrtc.run(
        Folder(task.data, shared, task.key),
        counters,
        Options(**task.stage),
        confine=lambda: _confine("stage", task, shared, counters),
    )
    return 0


def check(task: Task, shared: Path, counters: Counters) -> int:
    from rostra.stage import Options
    from rostra.stage.io import check as testing

    os.nice(NICE_CHECK)
    testing.run(
        task.data,
        counters,
        Options(**task.stage),
        confine=lambda: _confine("check", task, shared, counters),
    )
    return 0


def programme(task: Task, shared: Path, counters: Counters) -> int:
    from rostra.programme.io import music, tick

    _go_first()
    music.load(shared)  # made in a folder that the programme may not write to
    _confine("programme", task, shared, counters)
    return tick.run(Folder(task.data, shared, task.key), counters)


def worker(task: Task, shared: Path, counters: Counters) -> int:
    from rostra.audience.io import epoll
    from rostra.audience.settings import Settings

    os.nice(NICE_WORKER)
    _confine("worker", task, shared, counters)
    epoll.run(task.data, shared, socket.socket(fileno=task.listener), counters, Settings(), _admits(task))
    return 0


def terminator(task: Task, _shared: Path, counters: Counters) -> int:
    from rostra.tls.io import terminator as tls
    from rostra.tls.settings import Settings

    os.nice(NICE_WORKER)
    served = _served(task)
    assert served is not None
    tls.run(served, socket.socket(fileno=task.listener), ("127.0.0.1", task.upstream_port), counters, Settings())
    return 0


def certifier(task: Task, shared: Path, counters: Counters) -> int:
    from rostra.tls.io import certifier as acme

    wanted = acme.Wanted(
        task.acme_directory, task.acme_email, tuple(task.names), Path(task.certificate), task.audience_base
    )
    acme.run(wanted, shared, socket.socket(fileno=task.listener), counters)
    return 0


def _admits(task: Task) -> Callable[[str], bool] | None:
    """Who may connect: the declared terminator and nobody else, if there is one."""
    from rostra.tls.protection import admits, networks

    callers = networks(",".join(task.proxies))
    return partial(admits, callers) if callers else None


def _served(task: Task) -> "Served | None":
    from rostra.tls.io.context import Served

    if not task.certificate:
        return None
    return Served(Path(task.certificate), Path(task.certificate_key) if task.certificate_key else None)


def keeper(task: Task, shared: Path, counters: Counters) -> int:
    from rostra.keeper.io import loop

    _confine("keeper", task, shared, counters)
    loop.run(task.data, shared, counters)
    return 0


def _go_first() -> None:
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME))


def _confine(role: str, task: Task, shared: Path, counters: Counters) -> None:
    """Give up what the role does not need, and say which layers hold it. Raises OperatorError `isolation.missing`."""
    rules = confine.rules(role, task.data, shared, task.key)
    if rules is None or task.isolation == "off":
        log.warning("not_confined", reason="switched off")
        return
    held = sandbox.enter(rules)
    confine.publish(counters, held)
    say = log.info if held.whole else log.warning
    say("confined", landlock=held.landlock, seccomp=held.seccomp, missing=list(held.missing), threads=held.threads)
    if task.isolation == "required" and not held.whole:
        raise OperatorError(
            "isolation.missing",
            f"This kernel cannot hold the {role}: {', '.join(held.missing) or 'threads run already'}.",
            "Use Linux 5.13 or newer with Landlock and seccomp, or set isolation to auto.",
        )


ROLES: Final[dict[str, Callable[[Task, Path, Counters], int]]] = {
    role.__name__: role for role in (studio, stage, check, programme, worker, keeper, terminator, certifier)
}


def main(role: str, arguments: str) -> int:
    """Run one role until it ends or is asked to (SIGTERM)."""
    # OpenBLAS would start threads when NumPy is imported, before the role is confined; its work here is for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # outlive the supervisor, and the ports stay taken
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which stops us in order
    told = json.loads(arguments)
    task = Task(**(told | {"data": Path(told["data"])}))
    job = Job(role, task.key)
    logs.configure(job.name)
    shared = memory.shared_folder(task.data)
    return ROLES[role](task, shared, open_counters(shared, job))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
