"""The system call filter: its verdicts computed for each architecture, and felt inside the sandbox."""

import errno
import platform
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from runner.engine.ports import Exit
from runner.errors import Unavailable
from runner.executors.seccomp import ALLOW, ARCHITECTURES, ERRNO, KILL, program
from tests.executors.jobs import Job, Kind

EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
HARMLESS = {"x86_64": (0, 1, 57, 59, 61), "aarch64": (63, 64, 221, 260, 93)}
"""read, write, fork and the like."""


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the kernel would do, by the rules of classic BPF."""
    filter = list(struct.iter_unpack("=HBBI", program(machine)))
    given = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=iIQ6Q", number, audit or ARCHITECTURES[machine].audit, 0, *given)
    tests: Mapping[int, Callable[[int, int], bool]] = {
        0x15: lambda a, k: a == k,
        0x35: lambda a, k: a >= k,
        0x45: lambda a, k: bool(a & k),
    }
    at = loaded = 0
    while True:
        code, then, otherwise, value = filter[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, value)
        else:
            at += then if tests[code](loaded, value) else otherwise


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_ordinary_calls_are_allowed(machine: str) -> None:
    assert {verdict(machine, number) for number in HARMLESS[machine]} == {ALLOW}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_listed_call_is_refused(machine: str) -> None:
    assert {verdict(machine, number) for number in ARCHITECTURES[machine].denied.values()} == {EPERM}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_clone_makes_processes_and_threads_but_no_namespaces(machine: str) -> None:
    clone = ARCHITECTURES[machine].clone

    assert verdict(machine, clone, 0x01200011) == ALLOW
    assert verdict(machine, clone, 0x003D0F00) == ALLOW
    assert verdict(machine, clone, 0x10000011) == EPERM
    assert verdict(machine, clone, 0x00020011) == EPERM
    assert verdict(machine, ARCHITECTURES[machine].clone3) == ENOSYS


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_typing_into_a_terminal_is_refused_whatever_the_high_half_says(machine: str) -> None:
    ioctl = ARCHITECTURES[machine].ioctl

    assert verdict(machine, ioctl, 0, 0x5412) == EPERM
    assert verdict(machine, ioctl, 0, 0x5412 | 1 << 32) == EPERM
    assert verdict(machine, ioctl, 0, 0x541C) == EPERM
    assert verdict(machine, ioctl, 0, 0x5413) == ALLOW


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_other_ways_into_the_kernel_are_closed(machine: str) -> None:
    assert verdict(machine, HARMLESS[machine][0], audit=0x40000003) == KILL
    assert verdict(machine, HARMLESS[machine][0] | 0x40000000) == ENOSYS
    assert verdict(machine, -1) == ENOSYS


def test_a_machine_without_a_filter_is_told_so() -> None:
    with pytest.raises(Unavailable, match="riscv64"):
        program("riscv64")


# --- inside ----------------------------------------------------------------------------------


@pytest.fixture
def job(folder: Path) -> Iterator[Job]:
    made = Job(Kind("sandbox"), folder)
    yield made
    made.sandbox.close()


def call(job: Job, number: int, *arguments: int) -> str:
    """How a system call fails in the sandbox, made from Python with nothing in between."""
    numbers = ", ".join(
        f"ctypes.c_long({argument})" for argument in (number, *arguments, *[0] * (5 - len(arguments)))
    )
    script = (
        "import ctypes, errno; libc = ctypes.CDLL(None, use_errno=True);"
        f"done = libc.syscall({numbers});"
        "print('done' if done >= 0 else errno.errorcode[ctypes.get_errno()])"
    )
    exit, printed = job.run("python3", "-c", script)
    assert exit == Exit(0), printed
    return printed.strip()


def test_the_filter_is_felt_in_the_sandbox(job: Job) -> None:
    mine = ARCHITECTURES[platform.machine()]

    assert {name: call(job, number) for name, number in mine.denied.items()} == dict.fromkeys(
        mine.denied, "EPERM"
    )
    assert call(job, mine.clone, 0x10000011) == "EPERM"
    assert call(job, mine.clone3) == "ENOSYS"
    assert call(job, mine.ioctl, 0, 0x5412) == "EPERM"


def test_threads_work_under_the_filter(job: Job) -> None:
    script = "import threading; t = threading.Thread(target=print, args=('on',)); t.start(); t.join()"

    assert job.run("python3", "-c", script) == (Exit(0), "on\n")
