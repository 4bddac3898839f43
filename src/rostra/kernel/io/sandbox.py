"""A process gives up what it will not need: rights, system calls and files that nothing gives back to it.

Five layers, each taken where the kernel has it and named in `Isolation` where it has not. None needs root.

    no_new_privs   no program that this process might run gains rights by being run
    rlimits        no core dump, a bound on descriptors and on memory
    capabilities   what root could do beyond owning its files, given up
    landlock       files: nothing but what is listed (Linux 5.13; renaming into other folders 5.19, truncation 6.2,
                   TCP 6.7, signals to other processes 6.12)
    seccomp        system calls: a filter over the number and the plain arguments, in classic BPF

Landlock bounds the calling thread and those it starts, so `enter` belongs before the first thread; the others are
counted. What Landlock does not look at, seccomp does, so that neither alone is the wall: a refused call fails with
EPERM, which Python raises as PermissionError. The filter is a list of what is denied, because what an interpreter and
its libraries call changes with every release of theirs; what it leaves is in `docs/5-internals/isolation.md`.

Sources: landlock(7), seccomp(2), Linux' include/uapi/linux/{landlock,seccomp,filter,audit}.h and the tables of system
calls in arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Rules:
    """What stays allowed. A folder stands for all that lies below it; what does not exist is left out.

    `read`: files and folders. `use`: files that may be written as well, but not made, cut short or removed. `change`:
    folders in which files and folders may be made, written, replaced and removed. `udp` and `unix`: sockets of that
    kind may be made (what was open, stays). `connect`: and connected; a UDP socket sends without. TCP sockets and
    programs are never among it. `keep_capabilities`: root stays root, as far as the other layers let it. Bounds of 0
    are not set.
    """

    read: tuple[Path, ...] = ()
    use: tuple[Path, ...] = ()
    change: tuple[Path, ...] = ()
    udp: bool = False
    unix: bool = False
    connect: bool = False
    keep_capabilities: bool = True
    descriptors_max: int = 0
    memory_bytes_max: int = 0


@dataclass(frozen=True, slots=True)
class Isolation:
    """What came of it. `landlock` is the kernel's version of it, 0 for none; `missing` names the layers that failed,
    and `threads` how many were already running and are not bound by Landlock."""

    landlock: int
    seccomp: bool
    missing: tuple[str, ...] = ()
    threads: int = 0

    @property
    def whole(self) -> bool:
        return not self.missing and not self.threads


def enter(rules: Rules) -> Isolation:
    """Give up everything but `rules`, for good. What cannot be given up is in the result, and is no error."""
    missing = [layer for layer, done in (("no_new_privs", _no_new_privs()), ("rlimits", _bound(rules))) if not done]
    threads = _threads() - 1
    abi = landlock_abi()
    if not (abi and _restrict_files(rules, abi)):
        missing.append("landlock")
        abi = 0
    if not (rules.keep_capabilities or _drop_capabilities()):
        missing.append("capabilities")
    filtered = _filter_calls(rules)
    if not filtered:
        missing.append("seccomp")
    return Isolation(abi, filtered, tuple(missing), threads if abi else 0)


def _call(number: int, *arguments: object) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def _prctl(option: int, value: int, pointer: object = None) -> bool:
    unused = ctypes.c_ulong(0)
    return bool(_libc.prctl(option, ctypes.c_ulong(value), unused if pointer is None else pointer, unused, unused) == 0)


def _threads() -> int:
    with suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir()))
    return 1


# no_new_privs, rlimits, capabilities

_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x2008_0522


def _no_new_privs() -> bool:
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _bound(rules: Rules) -> bool:
    """RLIMIT_CORE: a dump would hold keys and voices. RLIMIT_NOFILE and RLIMIT_DATA: a leak ends this process, not
    its machine. Not RLIMIT_AS, as the C library reserves addresses for each thread that it never uses; not
    RLIMIT_NPROC, which counts all processes of the user; not RLIMIT_FSIZE, which would stop a long diagnostics file on
    standard error."""
    bounds = [(resource.RLIMIT_CORE, 0)]
    if rules.descriptors_max:
        bounds.append((resource.RLIMIT_NOFILE, rules.descriptors_max))
    if rules.memory_bytes_max:
        bounds.append((resource.RLIMIT_DATA, rules.memory_bytes_max))
    try:
        for which, bound in bounds:
            _, hard = resource.getrlimit(which)
            most = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
            resource.setrlimit(which, (most, most))
    except (OSError, ValueError):
        return False
    return True


def _drop_capabilities() -> bool:
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    return _calls() is not None and _call(_number("capset"), header, bytes(24)) == 0


# Landlock

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE: Final = 1 << 4 | 1 << 5
_MAKE_DIR, _MAKE_FILE, _MAKE_SOCKET = 1 << 7, 1 << 8, 1 << 9
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL_DEVICE
_HANDLED: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP: Final = 1 << 0 | 1 << 1
_SCOPED: Final = 1 << 0 | 1 << 1
"""Abstract Unix sockets and signals, both of processes outside."""


def landlock_abi() -> int:
    """The version of Landlock that the kernel enforces, 0 when it does not."""
    return max(0, _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_ASK_VERSION)))


def _restrict_files(rules: Rules, abi: int) -> bool:
    handled = _HANDLED[min(abi, max(_HANDLED))]
    attributes = struct.pack("<QQQ", handled, _TCP, _SCOPED)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if ruleset < 0:
        return False
    change = _WRITE | _READ | _LIST | _REMOVE | _MAKE_DIR | _MAKE_FILE | _MAKE_SOCKET | _REFER | _TRUNCATE
    granted = ((rules.read, _READ | _LIST), (rules.use, _READ | _WRITE), (rules.change, change))
    try:
        added = [_allow(ruleset, path, rights & handled) for paths, rights in granted for path in paths]
        return all(added) and _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> bool:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        rights &= rights if path.is_dir() else _OF_FILES
        beneath = struct.pack("<Qi", rights, descriptor)
        return _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), beneath, ctypes.c_uint(0)) == 0
    finally:
        os.close(descriptor)


# seccomp

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_AUDIT_ARCH: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_X32: Final = 0x4000_0000
"""Calls of the 32-bit pointer interface have numbers of their own; nobody here uses it."""

_CALLS: Final = {
    # other programs, other processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # sockets
    "socket": (41, 198),
    "connect": (42, 203),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    # what Landlock does not look at: owners, modes and times of files, handles that name them without a path
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "truncate": (76, 45),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    # the machine: file systems, namespaces, rights, modules, clocks
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "setgroups": (116, 159),
    "capset": (126, 91),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "fanotify_init": (300, 262),
    "landlock_restrict_self": (446, 446),
}
"""What is denied, wholly or in part: a name, its number on x86-64 and on ARM."""

_LOAD, _JUMP_EQUAL, _JUMP_LARGER, _JUMP_BITS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_KILL, _ERROR, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_CLONE_THREAD: Final = 0x1_0000
_DATAGRAM, _TYPE_MASK = 2, 0xF
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_TTY_INPUT: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into the terminal that the operator sits at."""

_OWNERS: Final = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP, and F_SETOWN, F_SETSIG, F_SETOWN_EX below: a descriptor that signals another process."""

_FCNTL_OWNERS: Final = (8, 10, 15)


def _calls() -> int | None:
    """The column of `_CALLS` for this machine."""
    return {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def _number(name: str) -> int:
    column = _calls()
    assert column is not None
    number = _CALLS[name][column]
    assert number is not None
    return number


Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant: struct sock_filter."""


def program(rules: Rules, machine: str, pid: int) -> list[Instruction]:
    """The filter of a process with this `pid`, as instructions of classic BPF."""
    column = {"x86_64": 0, "aarch64": 1}[machine]
    made: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        made += [(_JUMP_LARGER, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    refuse: Instruction = (_RETURN, 0, 0, _ERROR | errno.EPERM)
    for name, numbers in _CALLS.items():
        number = numbers[column]
        if number is None or (name == "connect" and rules.connect):
            continue
        judged = _judge(name, rules, pid, refuse)
        made += [(_JUMP_EQUAL, 0, len(judged), number), *judged]
    return [*made, (_RETURN, 0, 0, _ALLOW)]


def _judge(name: str, rules: Rules, pid: int, refuse: Instruction) -> list[Instruction]:
    """What decides a call by its arguments. Ends in a verdict for every path."""
    allow: Instruction = (_RETURN, 0, 0, _ALLOW)
    if name == "clone3":  # its flags lie behind a pointer: the C library falls back to clone
        return [(_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    if name == "clone":  # a thread, no process
        return [_argument(0), (_JUMP_BITS, 0, 1, _CLONE_THREAD), allow, refuse]
    if name in ("kill", "tgkill"):
        return [_argument(0), (_JUMP_EQUAL, 0, 1, pid), allow, refuse]
    if name == "prlimit64":
        return [_argument(0), (_JUMP_EQUAL, 1, 0, 0), (_JUMP_EQUAL, 0, 1, pid), allow, refuse]
    if name == "ioctl":
        return _unless(1, (*_TTY_INPUT, *_OWNERS), allow, refuse)
    if name == "fcntl":
        return _unless(1, _FCNTL_OWNERS, allow, refuse)
    if name == "socket":
        return _judge_socket(rules, allow, refuse)
    return [refuse]


def _judge_socket(rules: Rules, allow: Instruction, refuse: Instruction) -> list[Instruction]:
    made = [_argument(0)]
    if rules.unix:
        made += [(_JUMP_EQUAL, 0, 1, _AF_UNIX), allow]
    if rules.udp:  # and the addresses of this machine's networks, which come through netlink's routing family, 0
        made += [(_JUMP_EQUAL, 0, 4, _AF_NETLINK), _argument(2), (_JUMP_EQUAL, 0, 1, 0), allow, refuse]
        made += [(_JUMP_EQUAL, 1, 0, _AF_INET), (_JUMP_EQUAL, 0, 4, _AF_INET6)]
        made += [_argument(1), (_AND, 0, 0, _TYPE_MASK), (_JUMP_EQUAL, 0, 1, _DATAGRAM), allow]
    return [*made, refuse]


def _unless(argument: int, values: Iterable[int], allow: Instruction, refuse: Instruction) -> list[Instruction]:
    made = [_argument(argument)]
    for value in values:
        made += [(_JUMP_EQUAL, 0, 1, value), refuse]
    return [*made, allow]


def _argument(number: int) -> Instruction:
    """Load the lower half of an argument: all of those judged here are 32-bit integers to the kernel."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * number)


def _filter_calls(rules: Rules) -> bool:
    if _calls() is None:
        return False
    code = b"".join(struct.pack("<HBBI", *step) for step in program(rules, platform.machine(), os.getpid()))
    held = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(held))
    return _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(described))
