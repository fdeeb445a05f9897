"""Let go of what has been kept for long enough: first the logs of a run, then the run. Or all of it at once,
where its repository is removed.

Each round is bounded, and each part of it may be done twice: who dies in between leaves it to the next.
"""

import logging
from collections.abc import Iterator

from runner.engine.leftovers import remove
from runner.engine.opening import LAST_WORDS
from runner.engine.ports import Forgotten, KeptLogs, Objects, Retention, Silenced, Workspaces
from runner.engine.reopening import JOB
from runner.model.limits import shown

ROUND = 100
"""How many runs are dealt with at once."""
ROUNDS = 20

log = logging.getLogger(__name__)


def retire(*, retention: Retention, logs: KeptLogs, workspaces: Workspaces, objects: Objects) -> None:
    """Remove the logs of runs that ended long enough ago, and then such runs with all that is theirs."""
    for silenced in retention.silenced(ROUND):
        _remove_logs(silenced, logs)
        retention.silence(silenced)
    for gone in _forgotten(retention):
        log.info("a run was kept for long enough", extra={"run": gone.run})
        for job in gone.jobs:
            logs.remove(job)
            workspaces.forget(f"{JOB}{job}")
        remove(objects, gone.objects)
        if gone.keep is not None:
            workspaces.let_go(gone.keep)


def _forgotten(retention: Retention) -> Iterator[Forgotten]:
    """Those of a repository that is removed may be many."""
    for _ in range(ROUNDS):
        found = retention.forget(ROUND)
        yield from found
        if len(found) < ROUND:
            return


def _remove_logs(run: Silenced, logs: KeptLogs) -> None:
    note = f"##[notice]its log was removed {shown(run.after)} after the end of its run (keep-logs)\n"
    for job, attempt in run.jobs:
        if logs.printed(job):
            logs.remove(job)
            logs.append(job, attempt, LAST_WORDS, note.encode())
            logs.flush(job)
