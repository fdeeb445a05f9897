"""Concurrency groups: of all that name one, one at a time goes on, and the others wait in line.

A group is the repository's: its runs and their jobs take turns. Everything here is pure; who locks the
repository's lines while they change is the store's business.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

MOST_WAITING = 100
"""How many may wait for one group, as on GitHub."""


class State(StrEnum):
    WANTED = "wanted"
    """Not in line yet."""
    WAITING = "waiting"
    HELD = "held"
    OUT = "out"
    """No longer in line: it was replaced, or there was no place for it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The wish of a run or a job to be alone in a group, and what has become of it.

    `group` is its name as written, `key` what makes it the same as another. `called`: it is what a called
    workflow's file says, not what the job that calls it does. `reason` is why it has to end, where another
    one brought that about.
    """

    group: str
    key: str
    cancels: bool = False
    """Whether it cancels what has the group."""
    queues: bool = False
    """Whether it waits behind the others that wait, and does not replace them."""
    called: bool = False
    state: State = State.WANTED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A turn among the others of its repository; numbers rise in the order in which they came.

    `job` is None for a run's own. `within` are the numbers of those that end only after it: its run's, and
    those of the jobs that called the workflow it belongs to.
    """

    number: int
    run: int
    job: int | None
    turn: Turn
    name: str = ""
    """The job's."""
    within: tuple[int, ...] = field(default=())

    @property
    def who(self) -> str:
        return f"run {self.run}" if self.job is None else f"run {self.run}, job {self.name}"

    def stands(self, state: State, reason: str = "") -> "Place":
        return replace(self, turn=replace(self.turn, state=state, reason=reason or self.turn.reason))


def line(places: Iterable[Place]) -> tuple[Place, ...]:
    """The places of a repository once all who came are in line, and nobody waits for a group that is free."""
    lines = _Lines(places)
    for place in lines.of(State.WANTED):
        lines.enter(place)
    for key in {place.turn.key for place in lines.of(State.WAITING)}:
        lines.go_on(key)
    return lines.places


class _Lines:
    def __init__(self, places: Iterable[Place]) -> None:
        self._places = {place.number: place for place in sorted(places, key=lambda place: place.number)}
        self._groups: dict[str, list[int]] = {}
        for place in self._places.values():
            self._groups.setdefault(place.turn.key, []).append(place.number)

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(self._places.values())

    def of(self, state: State, key: str | None = None) -> list[Place]:
        numbers = self._places if key is None else self._groups[key]
        return [self._places[number] for number in numbers if self._places[number].turn.state is state]

    def go_on(self, key: str) -> None:
        """Give a group that is free to whoever waits for it first."""
        waiting = self.of(State.WAITING, key)
        if waiting and not self.of(State.HELD, key):
            self._put(waiting[0].stands(State.HELD))

    def enter(self, new: Place) -> None:
        key, name = new.turn.key, new.turn.group
        self.go_on(key)
        holders, waiting = self.of(State.HELD, key), self.of(State.WAITING, key)
        if not holders:
            self._put(new.stands(State.HELD))
            return
        (holder,) = holders
        if self._is_circle(new, [holder, *(waiting if new.turn.queues else ())]):
            why = f'deadlock: it would wait for the concurrency group "{name}", which {holder.who} has'
            self._put(new.stands(State.OUT, f"{why} until this has ended"))
        elif new.turn.queues and len(waiting) >= MOST_WAITING:
            full = f'{MOST_WAITING} wait for the concurrency group "{name}" already, the most there may be'
            self._put(new.stands(State.OUT, full))
        else:
            self._put(new.stands(State.WAITING))
            if not new.turn.queues:
                self._replace(holder, waiting, new)

    def _replace(self, holder: Place, waiting: Iterable[Place], new: Place) -> None:
        name = new.turn.group
        for one in waiting:
            self._put(one.stands(State.OUT, f'replaced by {new.who} in the concurrency group "{name}"'))
        if new.turn.cancels and not holder.turn.reason:
            why = f'cancelled by {new.who}, which is next in the concurrency group "{name}"'
            self._put(holder.stands(State.HELD, why))

    def _is_circle(self, new: Place, ahead: Iterable[Place]) -> bool:
        """Whether any of those `ahead` ends only after this new one, so that both would wait for ever.

        That one of them is cancelled for it changes nothing: its `if` may have it go on, and wait.
        """
        if not new.within:
            return False
        left, seen = list(ahead), set[int]()
        while left:
            one = left.pop()
            if one.number in new.within:
                return True
            if one.number in seen:
                continue
            seen.add(one.number)
            for inside in self.of(State.WAITING):
                if one.number in inside.within:
                    others = self.of(State.WAITING, inside.turn.key)
                    left += self.of(State.HELD, inside.turn.key)
                    left += [other for other in others if other.number < inside.number]
        return False

    def _put(self, place: Place) -> None:
        self._places[place.number] = place
