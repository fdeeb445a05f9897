"""A strategy's matrix -> the combinations its job runs in.

https://docs.github.com/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod

from runner.errors import BrokenDefinition
from runner.expr.functions import ITEM_WORK, Budget, Unsuitable
from runner.expr.values import Value, equal, fold, known

MAX_COMBINATIONS = 256

Combination = dict[str, Value]

Wanted = list[tuple[str, Value]]
"""What an include or exclude says of the keys of the lists, under their spelling."""


class BadMatrix(BrokenDefinition):
    """A matrix that gives no combinations a job could run in."""


def combinations(matrix: Value) -> tuple[Combination, ...]:
    """The combinations of an evaluated matrix, in order; a job without one runs once, in none.

    What is excluded goes first. An include then adds its new keys to every combination of the lists
    whose values it repeats, and where there is none, it is a combination of its own. It never changes
    a value of the lists, but may change what an include before it added. Raises `BadMatrix`.
    """
    if matrix is None:
        return ({},)
    if not isinstance(matrix, Mapping):
        raise BadMatrix("a matrix must be a mapping of keys to lists")
    lists = {
        key: values_of(key, values) for key, values in matrix.items() if key not in ("include", "exclude")
    }
    made = prod(map(len, lists.values()))
    if made > MAX_COMBINATIONS * MAX_COMBINATIONS:
        raise too_many(made)
    excludes, includes = (items_of(key, matrix.get(key)) for key in ("exclude", "include"))
    try:
        return Expansion(lists).combinations(excludes, includes)
    except Unsuitable:
        what = "the matrix has too much to compare; give it fewer combinations, includes or excludes"
        raise BadMatrix(what) from None


def too_many(count: int) -> BadMatrix:
    return BadMatrix(f"the matrix gives {count} combinations; {MAX_COMBINATIONS} are the most")


class Expansion:
    """The lists of a matrix on their way to combinations, with the work that it may take."""

    def __init__(self, lists: Mapping[str, Sequence[Value]]) -> None:
        self._lists = lists
        self._names = {fold(name): name for name in lists}
        self._budget = Budget()

    def combinations(
        self, excludes: Iterable[Mapping[str, object]], includes: Iterable[Mapping[str, object]]
    ) -> tuple[Combination, ...]:
        kept: list[Combination] = []
        if self._lists:
            kept = [dict(zip(self._lists, values, strict=True)) for values in product(*self._lists.values())]
        for item in excludes:
            for key in item:
                if fold(key) not in self._names:
                    raise BadMatrix(f'"exclude" names "{key}", which the matrix does not have')
            wanted = self._wanted(item)
            kept = [one for one in kept if not self._fits(wanted, one)]
        if len(kept) > MAX_COMBINATIONS:
            raise too_many(len(kept))
        found = self._included(kept, includes)
        if len(found) > MAX_COMBINATIONS:
            raise too_many(len(found))
        return tuple(found)

    def _included(
        self, kept: list[Combination], includes: Iterable[Mapping[str, object]]
    ) -> list[Combination]:
        grown, own = [dict(one) for one in kept], []
        for item in includes:
            wanted = self._wanted(item)
            added = {key: known(value) for key, value in item.items() if fold(key) not in self._names}
            fits = [position for position, one in enumerate(kept) if self._fits(wanted, one)]
            self._budget.spend(len(fits) * len(added))
            for position in fits:
                grown[position] |= added
            if not fits:
                own.append({key: known(value) for key, value in item.items()})
        return grown + own

    def _wanted(self, item: Mapping[str, object]) -> Wanted:
        self._budget.spend(ITEM_WORK * (1 + len(item)))
        return [
            (self._names[fold(key)], known(value)) for key, value in item.items() if fold(key) in self._names
        ]

    def _fits(self, wanted: Wanted, one: Combination) -> bool:
        self._budget.spend(2 * ITEM_WORK)
        return all(self._matches(value, one[name]) for name, value in wanted)

    def _matches(self, wanted: Value, value: Value) -> bool:
        """Loose equality; of a mapping only the keys that are wanted count."""
        match wanted, value:
            case Mapping(), Mapping():
                self._budget.spend(ITEM_WORK * (len(wanted) + len(value)))
                names = {fold(str(name)): known(item) for name, item in value.items()}
                return all(
                    fold(str(key)) in names and self._matches(known(item), names[fold(str(key))])
                    for key, item in wanted.items()
                )
            case list() | tuple(), list() | tuple():
                self._budget.spend(ITEM_WORK * len(wanted))
                pairs = zip(wanted, value, strict=False)
                return len(wanted) == len(value) and all(self._matches(known(a), known(b)) for a, b in pairs)
            case _:
                self._budget.comparison(wanted, value)
                return equal(wanted, value)


def values_of(key: str, values: object) -> Sequence[Value]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise BadMatrix(f'"{key}" of the matrix must be a list')
    if not values:
        raise BadMatrix(f'"{key}" of the matrix is an empty list')
    return [known(value) for value in values]


def items_of(key: str, items: object) -> list[Mapping[str, object]]:
    if items is None:
        return []
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise BadMatrix(f'"{key}" of the matrix must be a list of mappings')
    found = []
    for item in items:
        if not isinstance(item, Mapping):
            raise BadMatrix(f'"{key}" of the matrix must be a list of mappings')
        found.append(item)
    return found
