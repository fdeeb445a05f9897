"""The system calls a sandboxed step is refused, as the classic BPF program the kernel takes.

A list of what is denied, and not of what is allowed: a build may need any ordinary call, and the
namespaces, the missing capabilities and the unprivileged user already stand. Denied is what gives
the kernel's less tried parts to the unprivileged, or reaches across processes or terminals.
"""

import errno
import platform
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.errors import Unavailable

LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, JUMP_IF_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Where things are in `struct seccomp_data`. Arguments have 64 bits, of which the low half comes first."""

KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000

X32 = 0x40000000
NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWUSER and its six companions."""
FAKE_INPUT = (0x5412, 0x541C)
"""TIOCSTI types into a terminal, TIOCLINUX pastes into a console."""

# Numbers from 424 on are the same everywhere.
COMMON = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "open_tree_attr": 467,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """The audit number of a machine's architecture, and the numbers of its calls."""

    audit: int
    clone: int
    clone3: int
    ioctl: int
    denied: Mapping[str, int]


ARCHITECTURES = {
    "x86_64": Architecture(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        ioctl=16,
        denied=COMMON
        | {
            "ptrace": 101,
            "pivot_root": 155,
            "mount": 165,
            "umount2": 166,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "perf_event_open": 298,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "bpf": 321,
            "userfaultfd": 323,
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        ioctl=29,
        denied=COMMON
        | {
            "umount2": 39,
            "mount": 40,
            "pivot_root": 41,
            "unshare": 97,
            "ptrace": 117,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "perf_event_open": 241,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "bpf": 280,
            "userfaultfd": 282,
        },
    ),
}


def program(machine: str | None = None) -> bytes:
    """The filter for this machine, or the one named. Raises `Unavailable` where none is known."""
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise Unavailable(f"no system call filter is known for {machine} machines, only for {known}")
    return b"".join(_instructions(ARCHITECTURES[machine]))


def _instructions(machine: Architecture) -> Iterable[bytes]:
    yield _instruction(LOAD, ARCHITECTURE)
    yield from _unless(JUMP_IF_EQUAL, machine.audit, KILL)
    yield _instruction(LOAD, NUMBER)
    # The x32 calls of x86_64 are the same calls under other numbers.
    yield from _when(JUMP_IF_AT_LEAST, X32, ERRNO | errno.ENOSYS)
    # Its flags are behind a pointer, where no filter can look; the C library then falls back to clone.
    yield from _when(JUMP_IF_EQUAL, machine.clone3, ERRNO | errno.ENOSYS)
    for number in machine.denied.values():
        yield from _when(JUMP_IF_EQUAL, number, ERRNO | errno.EPERM)
    yield from _argument(machine.clone, 0, JUMP_IF_ANY_BIT, (NEW_NAMESPACES,))
    yield from _argument(machine.ioctl, 1, JUMP_IF_EQUAL, FAKE_INPUT)
    yield _instruction(RETURN, ALLOW)


def _argument(number: int, index: int, test: int, values: tuple[int, ...]) -> Iterable[bytes]:
    """Deny one call where an argument passes a test; the kernel, too, reads only its low half."""
    length = 2 + 2 * len(values)
    yield _instruction(JUMP_IF_EQUAL, number, otherwise=length)
    yield _instruction(LOAD, ARGUMENTS + 8 * index)
    for value in values:
        yield from _when(test, value, ERRNO | errno.EPERM)
    yield _instruction(RETURN, ALLOW)


def _when(test: int, value: int, verdict: int) -> Iterable[bytes]:
    yield _instruction(test, value, otherwise=1)
    yield _instruction(RETURN, verdict)


def _unless(test: int, value: int, verdict: int) -> Iterable[bytes]:
    yield _instruction(test, value, then=1)
    yield _instruction(RETURN, verdict)


def _instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
