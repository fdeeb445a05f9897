"""Git's indexes that are kept for who checks out something alike next."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.workspaces.indexes import KEPT, keep_index, newest_index


def test_many_who_keep_theirs_at_once_keep_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "indexes"

    def keep(worker: int) -> None:
        for number in range(200):
            keep_index(folder / f"{worker}-{number}", b"an index")
            # By the time that one is read all that were there may have made room.
            assert newest_index(folder) in (b"an index", None)

    with ThreadPoolExecutor(4) as threads:
        for kept in [threads.submit(keep, worker) for worker in range(4)]:
            kept.result()

    keep_index(folder / "last", b"the last one")
    assert len(list(folder.iterdir())) == KEPT
