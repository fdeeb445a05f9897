"""What a step raises where it is awaited, and what its body may."""

from typing import Optional


class NonRetryable(Exception):
    """Raised in a step's body: it has failed, however often it may be tried."""


class StepFailed(Exception):
    """A step did not succeed. `type` is the name of what its body raised, empty where it raised nothing."""

    def __init__(
        self,
        name: str,
        reason: str,
        type: str = "",
        exit_code: Optional[int] = None,
        traceback: str = "",
    ) -> None:
        super().__init__(f"step {name}: {reason}")
        self.name = name
        self.reason = reason
        self.type = type
        self.exit_code = exit_code
        self.traceback = traceback


class TimedOut(StepFailed):
    """A step took longer than it may, or what was waited for did not come in time."""


class Rejected(StepFailed):
    """A person said no."""
