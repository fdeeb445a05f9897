"""Mounting, by the kernel's own calls: overlays, where they are seen, and taking them off again.

The calls are those of Linux 5.2 and later, which take each layer by itself: mount(2) has one page for all of
them together. `lowerdir+` came with 6.5; where it is missing there are no overlays (`Unmountable`).
"""

import ctypes
import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from runner.errors import NOT_NOW, Unavailable

_LIBC = ctypes.CDLL(None, use_errno=True)

# The same on every machine: calls this new have one number for all of them.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_CLOEXEC_FS, _CLOEXEC_MOUNT = 1, 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_NOSUID, _NODEV, _RDONLY = 2, 4, 1
_TREE_CLONE = 1
_EMPTY_PATH, _FROM_EMPTY_PATH = 0x1000, 4
_HERE = -100
_SHARED = 1 << 20
_NOFOLLOW, _DETACH = 8, 2
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000

_OPTIONS = (("index", "off"), ("metacopy", "off"), ("redirect_dir", "on"), ("xino", "off"), ("uuid", "off"))
"""Each layer must mean the same without those that were above it: an index would not. With `redirect_dir` a
step can rename a folder that an earlier step made, as it could anywhere else."""

LONGEST_PATH = 255
"""Bytes that a layer's path may have."""
MOST_LAYERS = 400
"""Below one overlay; the kernel takes 500."""

_BIRTH_SECONDS, _NAP = 0.5, 0.002
"""How long somebody else's namespace may be in the making: until what it shall not see is taken off it has
all that is mounted here, below another folder."""
_lasting: set[str] = set()
"""Processes whose namespaces were waited for in vain, such as one that watches the disks of this machine."""

T = TypeVar("T")


class Unmountable(Unavailable):
    """Overlays cannot be mounted here."""


class Busy(Exception):
    """Something uses the mount."""


@dataclass(frozen=True, slots=True)
class View:
    """Where a sandbox sees a workspace: at a path in the mount namespace of a process, given by a pidfd."""

    process: int
    path: str


def mount_overlay(lowers: Sequence[Path], upper: Path, work: Path) -> int:
    """An overlay that is at no place yet, as a descriptor; the first of `lowers` is the topmost.

    Nothing is written to the disk for its sake, by fsync or when it is taken off: see `Syncing`.
    """
    context = _call(_FSOPEN, b"overlay", _CLOEXEC_FS)
    try:
        for lower in lowers:
            _set(context, "lowerdir+", str(lower))
        _set(context, "upperdir", str(upper))
        _set(context, "workdir", str(work))
        for name, value in _OPTIONS:
            _set(context, name, value)
        _call(_FSCONFIG, context, _SET_FLAG, b"volatile", None, 0)
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC_MOUNT, _NOSUID | _NODEV)
    except OSError as error:
        if error.errno in NOT_NOW:
            raise
        said = ""
        with suppress(OSError):
            said = os.read(context, 1000).decode(errors="replace").removeprefix("e ").strip()
        raise Unmountable(f"no overlay can be mounted: {said or error.strerror}") from error
    finally:
        os.close(context)


def clone(place: Path) -> int:
    """What is mounted at a place, as a mount of its own that is at no place yet."""
    return _call(_OPEN_TREE, _HERE, os.fsencode(place), _TREE_CLONE | os.O_CLOEXEC)


def attach(mount: int, place: Path | str) -> None:
    """Put a mount at a place, on top of what is mounted there."""
    _call(_MOVE_MOUNT, mount, b"", _HERE, os.fsencode(place), _FROM_EMPTY_PATH)


def duplicate(mount: int) -> int:
    """The same at no place once more: each can be attached once."""
    return _call(_OPEN_TREE, mount, b"", _TREE_CLONE | os.O_CLOEXEC | _EMPTY_PATH)


def make_ground(place: Path) -> None:
    """Mount a folder on itself, so that what is mounted on it comes and goes in slave namespaces too.

    Nothing can be written there: a process that comes while nothing lies on it must not lose what it writes.
    """
    ground = clone(place)
    try:
        attributes = (ctypes.c_uint64 * 4)(_RDONLY | _NOSUID | _NODEV, 0, _SHARED, 0)
        _call(_MOUNT_SETATTR, ground, b"", _EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))
        attach(ground, place)
    finally:
        os.close(ground)


def unmount(place: Path | str) -> None:
    """Take off what is mounted last at a place, wherever that is seen in slave namespaces. Raises `Busy`."""
    if _LIBC.umount2(os.fsencode(place), _NOFOLLOW):
        _raise(place)


def clear(folder: Path) -> None:
    """Take off all that is mounted at a folder or below it, also what is still used."""
    if os.geteuid():
        return
    own = os.path.realpath(folder)
    found = [path for _, path in _mounted("self") if path == own or path.startswith(f"{own}/")]
    # Outermost last; what lies on top of another at one place comes off first by itself.
    for path in sorted(found, key=len, reverse=True):
        _LIBC.umount2(os.fsencode(path), _NOFOLLOW | _DETACH)


@contextmanager
def lifted(place: Path, views: Sequence[View]) -> Iterator[Callable[[int], None]]:
    """Take a workspace off, everywhere; the caller is given what puts another in its place. Raises `Busy`.

    Where it is busy anywhere, or somebody has mounted it elsewhere too, it stays as it was.
    """
    device = place.stat().st_dev
    _check_elsewhere(device, place, views)
    by_hand: list[View] = []
    try:
        for view in views:
            # Namespaces that have it at its own place follow ours.
            if view.path != str(place) and _within(view, partial(_take_off, view.path, device)):
                by_hand.append(view)
        unmount(place)
    except Busy:
        for view in by_hand:
            again = clone(place)
            try:
                _within(view, partial(attach, again, view.path))
            finally:
                os.close(again)
        raise
    yield lambda mount: _put(mount, place, by_hand)


def sees(view: View, place: Path) -> bool | None:
    """Whether it is the workspace at `place` that is seen there; None where the process is gone."""
    device = place.stat().st_dev
    return _within(view, lambda: Path(view.path).stat().st_dev == device)


def sync(folder: Path) -> None:
    """Have everything of its file system on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(descriptor):
            _raise(folder)
    finally:
        os.close(descriptor)


def _put(mount: int, place: Path, views: Sequence[View]) -> None:
    copies = [duplicate(mount) for _ in views]
    try:
        attach(mount, place)
        for view, copy in zip(views, copies, strict=True):
            _within(view, partial(attach, copy, view.path))
    finally:
        for copy in copies:
            os.close(copy)


def _take_off(path: str, device: int) -> bool:
    if Path(path).stat().st_dev != device:
        return False
    unmount(path)
    return True


def _check_elsewhere(device: int, place: Path, views: Sequence[View]) -> None:
    """Raises `Busy` where the file system is mounted at another place too, or something is mounted in it.

    Steps can have made that only where they are on this machine as it is; but then in any namespace.
    """
    own = os.path.realpath(place)
    seen: dict[str, str] = {}
    for view in views:
        if view.path == str(place):
            seen |= dict.fromkeys(_namespaces(), own)
        elif process := _process(view.process):
            seen[process] = view.path
    seen["self"] = own
    until = time.monotonic() + _BIRTH_SECONDS
    for name, expected in seen.items():
        while (path := _elsewhere(device, name, expected)) is not None:
            if name == "self" or not path.endswith(own) or name in _lasting:
                raise Busy(path)
            if time.monotonic() > until:
                _lasting.add(name)
                raise Busy(path)
            time.sleep(_NAP)


def _elsewhere(device: int, process: str, expected: str) -> str | None:
    """Another place than `expected` at which a process sees the file system, or something mounted in it."""
    found = (
        path
        for number, path in _mounted(process)
        if path.startswith(f"{expected}/") or (number == device and path != expected)
    )
    return next(found, None)


def _namespaces() -> list[str]:
    """A process in each of this machine's mount namespaces."""
    found: dict[str, str] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with suppress(OSError):
                found.setdefault(os.readlink(f"/proc/{name}/ns/mnt"), name)  # noqa: PTH115
    return list(found.values())


def _mounted(process: str) -> list[tuple[int, str]]:
    """Device and path of each mount that a process sees; none where it is gone."""
    try:
        text = Path(f"/proc/{process}/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    found = []
    # Paths may have in them what `splitlines` takes for the end of one.
    for line in filter(None, text.split("\n")):
        _, _, device, _, path, *_ = line.split(" ", 5)
        major, _, minor = device.partition(":")
        plain = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path) if "\\" in path else path
        found.append((os.makedev(int(major), int(minor)), plain))
    return found


def _process(pidfd: int) -> str | None:
    with suppress(OSError):
        for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Pid" and int(value) > 0:
                return value.strip()
    return None


def _within(view: View, act: Callable[[], T]) -> T | None:
    """Do something in a sandbox's mount namespace, in a thread that ends there; None where that is gone."""

    def inside() -> T | None:
        # A thread has to part with the others' working folder before it can go elsewhere.
        if _LIBC.unshare(_CLONE_FS) or _LIBC.setns(view.process, _CLONE_NEWNS):
            if ctypes.get_errno() in (errno.ESRCH, errno.EBADF):
                return None
            _raise(view.path)
        return act()

    with ThreadPoolExecutor(1, "elsewhere") as thread:
        return thread.submit(inside).result()


def _set(context: int, name: str, value: str) -> None:
    _call(_FSCONFIG, context, _SET_STRING, name.encode(), os.fsencode(value), 0)


def _call(number: int, *arguments: object) -> int:
    result = int(_LIBC.syscall(number, *arguments))
    if result < 0:
        _raise("")
    return result


def _raise(path: Path | str) -> None:
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        raise Busy(str(path))
    raise OSError(number, os.strerror(number), str(path))
