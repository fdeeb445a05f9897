"""The objects of mirrors as one job's steps see them: in a folder of the job's own, as hard links.

They cost no space and outlive whatever becomes of the mirror meanwhile: a repack, a fetch, its removal. A
sandbox shows the folder read-only, so that no step writes into a mirror; what is fetched for the job later
is seen in it too.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from runner.errors import Unavailable

_ROUNDS = 10
_OPEN = 0o444
_MOST_FILES = 20_000
_MOST_COPIED = 256 << 20
"""Of a checkout: what a run that begins at once can wait for."""
_UNLINKABLE = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


def open_for(top: Path, owner: tuple[int, int] | None) -> None:
    """Make a folder that nobody but `owner` can enter, and only we can write into."""
    if not top.is_dir():
        top.parent.parent.mkdir(exist_ok=True, mode=0o711)
        top.parent.mkdir(exist_ok=True, mode=0o711)
        top.mkdir(exist_ok=True, mode=0o700)
    if owner is not None and top.stat().st_gid != owner[1]:
        os.chown(top, -1, owner[1])
        top.chmod(0o750)


def lend(objects: Path, folder: Path) -> None:
    """Have all that is in a mirror's `objects` in `folder`; twice is fine."""
    for inner in ("info", "pack"):
        (folder / inner).mkdir(parents=True, exist_ok=True, mode=0o755)
    for _ in range(_ROUNDS):
        with suppress(FileNotFoundError):
            for path in _shown(objects):
                _link(path, folder / path.relative_to(objects))
            return
        # What was repacked meanwhile is in another pack by now.
    raise Unavailable(f"the objects in {objects} do not stand still")


def lend_borrowed(borrowed: str, folder: Path) -> bool:
    """The same for what a mirror itself has of somebody's checkout, none of whose files is changed.

    False where that would take long or much space, or where the checkout too has its objects elsewhere.
    """
    objects = Path(borrowed)
    if "\n" in borrowed or not objects.is_dir() or (objects / "info" / "alternates").exists():
        return False
    with suppress(FileNotFoundError):
        return _lend_all(objects, folder)
    # Git has packed them meanwhile.
    return False


def _lend_all(objects: Path, folder: Path) -> bool:
    top = objects.stat()
    # The kernel links no files of others.
    near = top.st_dev == folder.stat().st_dev and os.geteuid() in (0, top.st_uid)
    found = [(path, path.stat()) for path in islice(_shown(objects), _MOST_FILES + 1)]
    if len(found) > _MOST_FILES or sum(0 if near else status.st_size for _, status in found) > _MOST_COPIED:
        return False
    for path, status in found:
        link = folder / path.relative_to(objects)
        if not link.exists():
            # A link has the mode that the checkout's own file has.
            _link_or_copy(path, link, alone=status.st_mode & _OPEN != _OPEN)
    return True


def _shown(objects: Path) -> Iterator[Path]:
    """Files of objects, each pack before the index that names it."""
    # What was made of somebody's checkout has no packs.
    packs = list((objects / "pack").glob("pack-*"))
    yield from sorted(packs, key=lambda path: (path.suffix == ".idx", path.name))
    if (graph := objects / "info" / "commit-graph").exists():
        yield graph
    for folder in objects.iterdir():
        if len(folder.name) == 2:
            yield from (path for path in folder.iterdir() if not path.name.startswith("tmp_"))


def _link(path: Path, link: Path) -> None:
    # The folder above says who may read it.
    if stat.S_IMODE(path.stat().st_mode) != _OPEN:
        path.chmod(_OPEN)
    _link_or_copy(path, link)


def _link_or_copy(path: Path, link: Path, alone: bool = False) -> None:
    """`alone`: the file is not ours to link."""
    if link.parent.name not in ("info", "pack"):
        link.parent.mkdir(exist_ok=True, mode=0o755)
    try:
        if not alone:
            os.link(path, link)
            return
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _UNLINKABLE:
            raise
    # The mirrors are on another disk, say.
    aside = link.with_name(f"tmp_{link.name}")
    shutil.copyfile(path, aside)
    aside.chmod(_OPEN)
    aside.rename(link)
