"""What a job waits for before it may deploy to an environment, as a repository's protection rules say."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from runner.errors import Rejected
from runner.model.waits import Answer, Awaited, Wait, Word

GATE = "environment"
"""The key of a job's wait for whoever reviews its environment."""
TIMER = "environment timer"
"""That of its wait for the environment's timer."""
GATES = (GATE, TIMER)
"""The keys of what a job waits for before it begins."""
REVIEW = timedelta(days=30)
"""How long a review is waited for, as on GitHub."""
LONGEST_NAME = 255
LONGEST_TIMER = 43200
"""Minutes: 30 days."""
MOST_REVIEWERS = 100
MOST_PATTERNS = 200


@dataclass(frozen=True, slots=True)
class Environment:
    """The protection rules of one environment of a repository; its name is the same whatever its case."""

    name: str
    reviewers: tuple[str, ...] = ()
    """One of them has to approve; empty where nobody has to."""
    wait_timer: int = 0
    """Minutes for which each job waits."""
    branches: tuple[str, ...] = ()
    """Patterns of what may deploy: branches, and tags as `refs/tags/...`; empty for all."""
    prevent_self_review: bool = False
    """Whether whoever started a run may not approve its jobs."""

    def __post_init__(self) -> None:
        checked_name(self.name)
        if not 0 <= self.wait_timer <= LONGEST_TIMER:
            raise Rejected(f"a wait timer is 0 to {LONGEST_TIMER} minutes, not {self.wait_timer}")
        if len(self.reviewers) > MOST_REVIEWERS:
            raise Rejected(f"{len(self.reviewers)} reviewers are too many; {MOST_REVIEWERS} are the limit")
        if len(self.branches) > MOST_PATTERNS:
            raise Rejected(f"{len(self.branches)} patterns are too many; {MOST_PATTERNS} are the limit")
        for one in self.reviewers:
            if not one.strip() or not one.isprintable() or len(one) > LONGEST_NAME:
                raise Rejected(f"{one[:100]!a} is nobody's name; a reviewer is a name such as anna")
        if self.prevent_self_review and not self.reviewers:
            raise Rejected("without reviewers nobody reviews, and so nobody their own run; name a reviewer")

    @property
    def key(self) -> str:
        """What sets it apart from the repository's others."""
        return self.name.casefold()


@dataclass(frozen=True, slots=True)
class Deployment:
    """The environment that a job has deployed to, and where it can be seen, if that is said."""

    name: str
    url: str = ""


def checked_name(name: str) -> str:
    """Raises `Rejected` where no environment can be called so."""
    if (
        not name.strip()
        or name != name.strip()
        or not name.isprintable()
        or len(name.casefold()) > LONGEST_NAME
    ):
        raise Rejected(
            f"{name[:100]!a} cannot name an environment; use 1 to {LONGEST_NAME} letters, and no space at "
            "the ends"
        )
    return name


def gates(rules: Environment, at: datetime, starter: str) -> tuple[Wait, ...]:
    """What a job waits for whose turn comes now; `starter` is who started its run."""
    found = []
    if rules.reviewers:
        barred = (starter,) if rules.prevent_self_review and starter else ()
        found.append(
            Wait(
                GATE,
                Awaited.APPROVAL,
                at,
                at + REVIEW,
                shifts=True,
                name=rules.name,
                approvers=rules.reviewers,
                barred=barred,
            )
        )
    if rules.wait_timer:
        due = at + timedelta(minutes=rules.wait_timer)
        found.append(Wait(TIMER, Awaited.TIME, at, due, shifts=True, name=rules.name))
    return tuple(found)


def shut(name: str, at: datetime, reason: str) -> Wait:
    """What a job has waited for that may not deploy there at all: it fails for the reason in its turn."""
    return Wait(GATE, Awaited.APPROVAL, at, name=name, answer=Answer(Word.REJECTED, at, comment=reason))
