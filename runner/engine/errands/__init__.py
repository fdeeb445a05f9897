"""The actions that the engine itself does, on the job's files, from outside its sandbox.

Promise: what they read and write is the job's own, whatever its steps do meanwhile; a cancel, a deadline and
the loss of the lease end them as they end a step's processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.engine.errands.artifacts import download, merge, upload
from runner.engine.errands.cache import cache, cache_at_end, restore, save
from runner.engine.errands.checkout import check_out, check_out_again
from runner.engine.errands.credentials import forget
from runner.engine.errands.errand import Errand, Interrupted
from runner.model.step import Outcome

__all__ = ["ERRANDS", "Errand", "Interrupted"]


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """What an action does in its step, and with the state that it left, at the end of the job.

    `again` is done with that state in each attempt that goes on after the step: what it made outside the
    job's files is not there.
    """

    main: Callable[[Errand], Outcome]
    post: Callable[[Errand, Mapping[str, str]], Outcome] | None = None
    again: Callable[[Errand, Mapping[str, str]], Outcome] | None = None


ERRANDS: Mapping[str, BuiltIn] = {
    "actions/cache": BuiltIn(cache, cache_at_end),
    "actions/cache/restore": BuiltIn(restore),
    "actions/cache/save": BuiltIn(save),
    "actions/checkout": BuiltIn(check_out, forget, check_out_again),
    "actions/download-artifact": BuiltIn(download),
    "actions/upload-artifact": BuiltIn(upload),
    "actions/upload-artifact/merge": BuiltIn(merge),
}
"""By what `workflow.built_in.action_named` calls them."""
