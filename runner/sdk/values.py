"""What started a workflow, and what its steps give."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Route:
    """Where a workflow's code is: one commit of one repository."""

    forge: str
    repo: str
    commit: str


@dataclass(frozen=True)
class Event:
    """What started the run."""

    kind: str
    """`push`, `pull_request`, `schedule`, `workflow_dispatch` ..."""
    payload: Mapping[str, Any]
    """As the forge sent it."""
    route: Route
    ref: str
    actor: str
    inputs: Mapping[str, Any]
    """Of a run that a person or another workflow started."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """`id`, `number` and `attempt` of the run."""


@dataclass(frozen=True)
class Shell:
    """How a command ended: what it wrote to `$GITHUB_OUTPUT`."""

    outputs: Mapping[str, str]
    exit_code: int = 0

    def __getitem__(self, name: str) -> str:
        return self.outputs[name]


@dataclass(frozen=True)
class Used:
    """What an action gave."""

    outputs: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.outputs[name]

    @property
    def hit(self) -> bool:
        """Of a cache: whether there was one of exactly the key that was asked for."""
        return self.outputs.get("cache-hit") == "true"

    @property
    def matched(self) -> str:
        """Of a cache: the key of the one whose files are here now; empty where there was none."""
        return self.outputs.get("cache-matched-key", "")


@dataclass(frozen=True)
class Child:
    """A run that a step has started, as it ended."""

    run: int
    """Its id, for `runner runs view`."""
    number: int
    """Among the runs of its workflow."""
    result: str
    outputs: Mapping[str, str]
    """Those of its jobs together; where several give one of a name, that of the last one in the file."""

    def __getitem__(self, name: str) -> str:
        return self.outputs[name]


@dataclass(frozen=True)
class Received:
    """An event that was waited for."""

    type: str
    payload: Any
    sender: str
    at: str
    """When it was taken, in ISO 8601."""


@dataclass(frozen=True)
class Approval:
    by: str
    comment: str
    at: str
    """When it was given, in ISO 8601."""
