"""What people do through the API, as it is kept for good."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Act:
    """Who did what, to which repository, run or job. Written in the transaction of what it changes.

    Of an act on a run the store adds the repository, who had started the run, its commit, and whether the
    act changed anything. `details` hold names and choices, and never the value of a secret.
    """

    actor: str
    verb: str
    forge: str = ""
    repo: str = ""
    run: int | None = None
    job: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
