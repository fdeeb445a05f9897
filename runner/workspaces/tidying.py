"""A mirror in good order: few packs, few loose refs, and a history that is quick to walk.

Nothing is ever thrown away by it, reachable or not. Who calls it holds the mirror's lock.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from runner.errors import Unavailable
from runner.workspaces.git import Git, GitFailed
from runner.workspaces.refs import ORIGIN, text_in

PACKS = 24
"""With more packs than this a mirror is repacked after a fetch."""
FEW_PACKS = 6
"""With more than these they are repacked when nobody waits for it."""
LOOSE = 200
"""With more loose refs than this they are packed after a fetch."""
_DAY = 86_400
_REPACK = ["repack", "--quiet", "--geometric=2", "-d"]
_PACKS = "objects/pack"
_MARKS = "tidied"


def tidy_after_fetch(mirror: Path, git: Git, timeout: float) -> None:
    """Keep the number of packs and loose refs small."""
    crowded = len(_packs(mirror)) > PACKS
    loose = sum(len(names) for _, _, names in os.walk(mirror / ORIGIN))
    if not crowded and loose <= LOOSE:
        return
    for left in (mirror / _PACKS).glob("tmp_*"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - _DAY:
                left.unlink()
    with suppress(GitFailed, Unavailable):
        if crowded:
            git.run(_REPACK, mirror, timeout=timeout)
        git.run(["pack-refs", "--all", "--prune"], mirror, timeout=timeout)


def is_tidy(mirror: Path) -> bool:
    """Whether nothing was fetched since `tidy_at_leisure`. Needs no lock."""
    found = _packs(mirror)
    return not found or (text_in(mirror / _MARKS) or "").split() == found


def tidy_at_leisure(mirror: Path, git: Git, timeout: float) -> None:
    """Make what steps ask of the history quick, and packs few."""
    with suppress(GitFailed, Unavailable):
        if len(_packs(mirror)) > FEW_PACKS:
            git.run(_REPACK, mirror, timeout=timeout)
        if not (mirror / "shallow").exists():
            git.run(["commit-graph", "write", "--reachable", "--no-progress"], mirror, timeout=timeout)
    (mirror / _MARKS).write_text("\n".join(_packs(mirror)))


def _packs(mirror: Path) -> list[str]:
    return sorted(path.name for path in (mirror / _PACKS).glob("*.pack"))
