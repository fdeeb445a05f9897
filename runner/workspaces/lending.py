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
from pathlib import Path

from runner.errors import Unavailable

_ROUNDS = 10
_OPEN = 0o444
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
    if link.parent.name not in ("info", "pack"):
        link.parent.mkdir(exist_ok=True, mode=0o755)
    try:
        os.link(path, link)
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
