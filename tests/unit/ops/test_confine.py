"""What a confined process cannot do any more, tried from inside one; each wall also without the other."""

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rostra.kernel.io import sandbox
from rostra.kernel.io.sandbox import Rules
from rostra.ops import confine

INSIDE = """
import ctypes, json, os, socket, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from rostra.kernel.io import sandbox
from rostra.ops import confine

role, root, port, parent, without = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
data, shared, mine = root / "data", root / "shared", root / "data/spaces/mine"
if without == "landlock":
    sandbox.landlock_abi = lambda: 0
if without == "seccomp":
    sandbox._filter_calls = lambda rules: False
held = sandbox.enter(confine.rules(role, data, shared, "mine"))
libc = ctypes.CDLL(None, use_errno=True)

def traced():
    if libc.ptrace(16, parent, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")

def dropped(address=("127.0.0.1", port)):
    with socket.socket() as sock:
        sock.connect(address)

def called(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))

def replaced():
    (mine / "stage/.new").write_text("x")
    (mine / "stage/.new").replace(mine / "stage/roster.json")

def threaded():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(replaced).result()

def found():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", 9))

attempts = {
    "own roster": replaced,
    "own roster from a thread": threaded,
    "udp": found,
    "late import": lambda: __import__("colorsys"),
    "read another Space": lambda: (data / "spaces/other/space.json").read_text(),
    "write another Space": lambda: (data / "spaces/other/stage/roster.json").write_text("{}"),
    "remove another Space's file": lambda: (data / "spaces/other/stage/roster.json").unlink(),
    "move another Space's file here": lambda: os.replace(data / "spaces/other/space.json", mine / "stage/x"),
    "hide another Space": lambda: (data / "spaces/other").chmod(0),
    "read the database": lambda: (data / "rostra.db").read_bytes(),
    "write the database": lambda: (data / "rostra.db").open("r+b").close(),
    "read a key": lambda: (data / "keys/links.key").read_bytes(),
    "write its own Space's log": lambda: (mine / "programmes/fragments.m4s").open("ab").close(),
    "cut its own Space's log": lambda: os.truncate(mine / "programmes/fragments.m4s", 0),
    "read its own Space's journal": lambda: (mine / "journal.jsonl").read_text(),
    "make a file beside its own": lambda: (mine / "new").write_text("x"),
    "write a ring": lambda: (shared / "mine/mix.ring").open("r+b").close(),
    "read a process's memory": lambda: open(f"/proc/{parent}/mem", "rb").close(),
    "read its environment": lambda: open(f"/proc/{parent}/environ", "rb").close(),
    "write to /tmp": lambda: Path("/tmp/rostra-confined").write_text("x"),
    "run a program": lambda: subprocess.run(["/bin/true"], check=True),
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "fork": lambda: os.fork() or os._exit(0),
    "tcp": dropped,
    "tcp, listening": lambda: socket.socket().bind(("127.0.0.1", 0)),
    "a command socket": lambda: called(mine / "programme.sock"),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "ptrace": traced,
    "signal another process": lambda: os.kill(parent, 0),
    "slow another process": lambda: os.sched_setaffinity(parent, {0}),
    "a core dump": lambda: __import__("resource").setrlimit(4, (1, 1)),
}

def attempt(act):
    try:
        act()
    except PermissionError:
        return "denied"
    except (OSError, ValueError) as error:
        return "denied" if isinstance(error, ValueError) else type(error).__name__
    return "done"

told = {name: attempt(act) for name, act in attempts.items()}
print(json.dumps({"landlock": held.landlock, "seccomp": held.seccomp, "missing": held.missing, "told": told}))
"""

ALLOWED_TO_A_STAGE = {"own roster", "own roster from a thread", "udp", "late import"}

ONLY_LANDLOCK = {
    "read another Space",
    "write another Space",
    "remove another Space's file",
    "move another Space's file here",
    "read the database",
    "write the database",
    "read a key",
    "write its own Space's log",
    "cut its own Space's log",
    "read its own Space's journal",
    "make a file beside its own",
    "write a ring",
    "read a process's memory",
    "read its environment",
    "write to /tmp",
}
"""What seccomp alone cannot tell from a process's own files."""

ONLY_SECCOMP = {"hide another Space", "fork", "a command socket", "a raw socket", "slow another process"}
"""What Landlock does not look at."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for space in ("mine", "other"):
        folder = tmp_path / "data/spaces" / space
        for name in ("space.json", "stage/roster.json", "journal.jsonl", "programmes/fragments.m4s"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}")
        (tmp_path / "shared" / space).mkdir(parents=True)
        (tmp_path / "shared" / space / "mix.ring").write_text("ring")
    (tmp_path / "data/keys").mkdir()
    (tmp_path / "data/keys/links.key").write_text("secret")
    (tmp_path / "data/rostra.db").write_text("rows")
    return tmp_path


def inside(root: Path, role: str, without: str = "") -> dict[str, Any]:
    """What became of the attempts, made by a child confined as `role`."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as programme:
        where = os.open(root / "data/spaces/mine", os.O_PATH)
        programme.bind(f"/proc/self/fd/{where}/programme.sock")
        os.close(where)
        programme.listen()
        arguments = [role, str(root), str(server.getsockname()[1]), str(os.getpid()), without]
        done = subprocess.run(
            [sys.executable, "-c", INSIDE, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        (root / "data/spaces/mine/programme.sock").unlink()
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def done(found: dict[str, Any]) -> set[str]:
    assert set(found["told"].values()) <= {"done", "denied"}, found
    return {name for name, outcome in found["told"].items() if outcome == "done"}


def test_a_stage_does_its_work_and_nothing_else(root: Path) -> None:
    found = inside(root, "stage")
    assert found["seccomp"], "this kernel has no seccomp filters"
    if sandbox.landlock_abi() == 0:
        assert found["missing"] == ["landlock"], "what is missing is told"
        assert done(found) - ALLOWED_TO_A_STAGE <= ONLY_LANDLOCK
        return
    assert found["missing"] == []
    assert done(found) == ALLOWED_TO_A_STAGE
    assert (root / "data/spaces/other/stage/roster.json").read_text() == "{}"


def test_without_landlock_it_is_told_and_the_calls_are_still_denied(root: Path) -> None:
    found = inside(root, "stage", without="landlock")
    assert (found["landlock"], found["missing"]) == (0, ["landlock"])
    assert done(found) - ALLOWED_TO_A_STAGE <= ONLY_LANDLOCK


def test_without_seccomp_it_is_told_and_the_files_are_still_denied(root: Path) -> None:
    found = inside(root, "stage", without="seccomp")
    assert "seccomp" in found["missing"]
    assert found["landlock"] == sandbox.landlock_abi()
    if found["landlock"] >= 6:
        assert done(found) - ALLOWED_TO_A_STAGE <= ONLY_SECCOMP


@pytest.mark.parametrize("role", ["check", "decoder", "programme", "worker", "keeper"])
def test_the_other_roles_keep_away_from_keys_programs_and_the_network(root: Path, role: str) -> None:
    found = inside(root, role)
    kept = {"read the database", "write the database", "read a key", "run a program", "become a program", "fork"}
    kept |= {"ptrace", "signal another process", "tcp", "a raw socket", "hide another Space"}
    if sandbox.landlock_abi():
        assert not done(found) & kept
    else:
        assert found["missing"] == ["landlock"]
    sends = done(found) & {"udp", "a command socket"}
    assert sends == {"check": {"udp"}, "keeper": {"a command socket"}}.get(role, set())


def test_a_decoder_has_nothing_and_a_worker_only_reads(root: Path) -> None:
    if sandbox.landlock_abi() == 0:
        assert inside(root, "decoder")["missing"] == ["landlock"]
        return
    assert done(inside(root, "decoder")) == {"late import"}
    reads = {"late import", "read another Space", "read its own Space's journal"}
    assert done(inside(root, "worker")) - {"a core dump"} == reads  # root may lift a limit of its own


def test_the_studio_is_not_confined_and_the_table_says_so(tmp_path: Path) -> None:
    assert confine.rules("studio", tmp_path, tmp_path) is None


REQUIRED = """
import sys
from pathlib import Path
from rostra.kernel.errors import OperatorError
from rostra.kernel.io import sandbox
from rostra.kernel.shared import counters
from rostra.ops import wire
sandbox.landlock_abi = lambda: 0
kept = counters.Counters(memoryview(bytearray(counters.SIZE)), writer=True)
task = wire.Task(Path(sys.argv[1]), "mine", "", "", True, isolation=sys.argv[2])
try:
    wire._confine("stage", task, Path(sys.argv[1]), kept)
except OperatorError as refused:
    print(refused.code, end=" ")
print(kept.get("isolation/missing"))
"""


@pytest.mark.parametrize(("mode", "told"), [("auto", ["1"]), ("required", ["isolation.missing", "1"]), ("off", ["0"])])
def test_what_is_missing_is_counted_and_refused_only_when_all_of_it_is_required(
    tmp_path: Path, mode: str, told: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REQUIRED, str(tmp_path), mode], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1].split() == told


# The filter itself, by an interpreter of its few instructions, for a machine that this one need not be.

PID = 4711


def verdict(rules: Rules, machine: str, number: int, *arguments: int, arch: int | None = None) -> str:
    row = struct.pack(
        "<iIQ6Q", number, sandbox._AUDIT_ARCH[machine] if arch is None else arch, 0, *(*arguments, *[0] * 6)[:6]
    )
    steps, at, held = sandbox.program(rules, machine, PID), 0, 0
    while True:
        code, true, false, value = steps[at]
        if code == 0x06:
            return {0x7FFF_0000: "allow", 0x8000_0000: "kill"}.get(value, f"errno {value & 0xFFFF}")
        if code == 0x20:
            (held,) = struct.unpack_from("<I", row, value)
        elif code == 0x54:
            held &= value
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += true if holds else false
        at += 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_judges_by_number_and_argument(machine: str) -> None:
    column = ["x86_64", "aarch64"].index(machine)
    rules = Rules(udp=True, unix=True)
    stage = Rules(udp=True, connect=True)

    def call(name: str, *arguments: int) -> str:
        number = sandbox._CALLS[name][column]
        assert number is not None
        return verdict(rules, machine, number, *arguments)

    assert call("execve") == call("ptrace") == call("mount") == call("bpf") == call("connect", 3) == "errno 1"
    assert call("clone", 0x003D_0F00) == "allow"  # a thread of glibc's
    assert call("clone", 0x0120_0011) == "errno 1"  # a fork
    assert call("clone3") == "errno 38"
    assert [call("kill", pid) for pid in (PID, PID + 1, 0, 0xFFFF_FFFF)] == ["allow"] + ["errno 1"] * 3
    assert [call("prlimit64", pid) for pid in (0, PID, 1)] == ["allow", "allow", "errno 1"]
    sockets = {(1, 1): "allow", (2, 2 | 0o2004000): "allow", (10, 2): "allow", (2, 1): "errno 1", (10, 1): "errno 1"}
    sockets |= {(2, 3): "errno 1", (16, 3): "allow", (17, 3): "errno 1", (38, 5): "errno 1", (40, 1): "errno 1"}
    assert {key: call("socket", *key) for key in sockets} == sockets
    column_of_socket = sandbox._CALLS["socket"][column] or 0
    assert verdict(stage, machine, column_of_socket, 1, 1) == verdict(stage, machine, column_of_socket, 2, 1)
    assert verdict(stage, machine, column_of_socket, 2, 2) == "allow"
    assert call("socket", 16, 3, 4) == "errno 1"  # netlink, but not the family of addresses
    assert [call("ioctl", 0, request) for request in (0x5412, 0x5421)] == ["errno 1", "allow"]
    assert [call("fcntl", 0, command) for command in (8, 10, 4)] == ["errno 1", "errno 1", "allow"]
    assert verdict(rules, machine, 0, arch=0x4000_0003) == "kill"
    assert verdict(Rules(), machine, sandbox._CALLS["socket"][column] or 0, 1, 1) == "errno 1"
    assert verdict(Rules(connect=True), machine, sandbox._CALLS["connect"][column] or 0) == "allow"
    reading = {"x86_64": 0, "aarch64": 63}[machine]
    assert verdict(rules, machine, reading) == "allow"
    if machine == "x86_64":
        assert verdict(rules, machine, 0x4000_0000 | 520) == "kill"


def test_every_jump_of_the_filter_lands_on_an_instruction() -> None:
    for machine in ("x86_64", "aarch64"):
        steps = sandbox.program(Rules(), machine, PID)
        assert len(steps) < 4096, "the kernel takes no more"
        assert steps[-1][0] == 0x06
        for at, (code, true, false, _) in enumerate(steps):
            if code & 7 == 5:
                assert at + 1 + max(true, false) < len(steps)
                assert max(true, false) < 256
