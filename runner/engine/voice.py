"""What the engine itself says in the log of a step, between what its programs print."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from runner.engine.masks import Masks
from runner.errors import BrokenDefinition
from runner.model.step import Outcome, Result


@dataclass(frozen=True)
class Voice:
    """`say` takes what is shown as it is."""

    say: Callable[[bytes], None]
    masks: Masks

    def note(self, what: bytes) -> None:
        """Say something with the secrets in it hidden."""
        self.say(self.masks.hide(what))

    def complain(self, what: str) -> None:
        self.note(f"##[error]{what}\n".encode(errors="replace"))

    def failed(self, outcome: Outcome, error: BrokenDefinition) -> Outcome:
        """What was done, as a failure for something that came after it, which is said."""
        self.complain(str(error))
        if not outcome.result.ok:
            return outcome
        failure = Result.FAILURE
        return replace(outcome, result=failure, conclusion=failure, exit_code=1, reason=str(error))
