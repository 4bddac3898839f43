"""What each kind of process may do: a table, and what to say of the layers that hold it.

A row is the whole of what a role needs once it has begun; `rostra.kernel.io.sandbox` takes the rest away. The stage
and the decoder read what strangers send, so they get least. `docs/5-internals/isolation.md` has the same table for
people, threat by threat.
"""

import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import rostra
from rostra.kernel.io.sandbox import Isolation, Rules
from rostra.kernel.shared.counters import Counters
from rostra.space.io.folder import Folder

Mode = Literal["auto", "required", "off"]
"""Whether a layer that the kernel lacks is only told (`auto`), or the process refuses to run (`required`)."""

GIB: Final = 1 << 30

STAGE_MEMORY_BYTES_MAX: Final = 2 * GIB
"""Measured: 82 MB for an empty stage and 14 MB for each connection, of which there are 64 at most; nearly all of that
is stacks that nobody touches, and 87 MB are resident with six speakers."""

STAGE_DESCRIPTORS_MAX: Final = 8192
"""64 connections with a socket for each address of the machine, and most machines have fewer than twenty."""

DECODER_MEMORY_BYTES_MAX: Final = 1 * GIB


def runtime() -> tuple[Path, ...]:
    """What an interpreter reads that imports late: the program, its libraries, the system's, and a few files."""
    paths = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths.add(Path(rostra.__file__).parent)
    system = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
    files = ("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom", "/proc/self/fd")
    return (*sorted(paths), *map(Path, (*system, *files)))


def rules(role: str, data: Path, shared: Path, space: str = "") -> Rules | None:
    """The row of `role`; None for a role that is not confined: the studio holds keys, database and network by itself.

    A stage has mapped its rings and opened its socket before it enters, and needs nothing of shared memory any more. It
    may connect what sockets it can make, and those are UDP's: so it can ask the routing table for its own address, and
    can reach no command socket of another process.
    """
    folder = Folder(data, shared, space)
    rows = {
        "stage": Rules(
            change=(folder.stage,),
            udp=True,
            connect=True,
            keep_capabilities=False,
            descriptors_max=STAGE_DESCRIPTORS_MAX,
            memory_bytes_max=STAGE_MEMORY_BYTES_MAX,
        ),
        # the guest's test: a stage without a Space
        "check": Rules(
            udp=True,
            connect=True,
            keep_capabilities=False,
            descriptors_max=STAGE_DESCRIPTORS_MAX,
            memory_bytes_max=STAGE_MEMORY_BYTES_MAX,
        ),
        # one upload, from a descriptor to a descriptor
        "decoder": Rules(keep_capabilities=False, descriptors_max=64, memory_bytes_max=DECODER_MEMORY_BYTES_MAX),
        "programme": Rules(
            read=tuple(shared.glob("hold-*.f32")),
            change=(folder.path, folder.shared),
            unix=True,
        ),
        "worker": Rules(read=(data / "spaces",)),
        "keeper": Rules(read=(shared,), change=(data / "spaces",), unix=True, connect=True),
    }
    row = rows.get(role)
    return None if row is None else replace(row, read=(*runtime(), *row.read))


def publish(counters: Counters, isolation: Isolation) -> None:
    """Leave what holds where others can read it."""
    counters.set("isolation/landlock", isolation.landlock)
    counters.set("isolation/seccomp", isolation.seccomp)
    counters.set("isolation/missing", len(isolation.missing))
    counters.set("isolation/threads", isolation.threads)
