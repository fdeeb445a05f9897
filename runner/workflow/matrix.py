"""A strategy's matrix -> the combinations its job runs in.

https://docs.github.com/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from runner.errors import BrokenDefinition
from runner.expr.values import Value, equal, fold, known

MAX_COMBINATIONS = 256

Combination = dict[str, Value]


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
    made = 1
    for values in lists.values():
        made *= len(values)
    if made > MAX_COMBINATIONS * MAX_COMBINATIONS:
        raise BadMatrix(f"the matrix gives {made} combinations; {MAX_COMBINATIONS} are the most")
    whole = [dict(zip(lists, values, strict=True)) for values in product(*lists.values())] if lists else []
    excluded = items_of("exclude", matrix.get("exclude"))
    known_keys = {fold(key) for key in lists}
    for key in (key for item in excluded for key in item):
        if fold(key) not in known_keys:
            raise BadMatrix(f'"exclude" names "{key}", which the matrix does not have')
    kept = [one for one in whole if not any(covers(item, one) for item in excluded)]
    found = included(kept, items_of("include", matrix.get("include")))
    if len(found) > MAX_COMBINATIONS:
        raise BadMatrix(f"the matrix gives {len(found)} combinations; {MAX_COMBINATIONS} are the most")
    return tuple(found)


def included(kept: list[Combination], includes: Iterable[Mapping[str, object]]) -> list[Combination]:
    grown, own = [dict(one) for one in kept], []
    for item in includes:
        fits = [
            position
            for position, one in enumerate(kept)
            if all(matches(known(value), one[name]) for name, value in shared(item, one))
        ]
        if not fits:
            own.append({key: known(value) for key, value in item.items()})
        for position in fits:
            names = {fold(name) for name in kept[position]}
            added = {key: known(value) for key, value in item.items() if fold(key) not in names}
            grown[position] |= added
    return grown + own


def shared(item: Mapping[str, object], one: Combination) -> list[tuple[str, object]]:
    """The entries of an include whose keys the combination has, under the combination's spelling."""
    names = {fold(name): name for name in one}
    return [(names[fold(key)], value) for key, value in item.items() if fold(key) in names]


def covers(item: Mapping[str, object], one: Combination) -> bool:
    """Whether an exclude takes the combination out."""
    return all(matches(known(value), one[name]) for name, value in shared(item, one))


def matches(wanted: Value, value: Value) -> bool:
    """Loose equality; of a mapping only the keys that are wanted count."""
    match wanted, value:
        case Mapping(), Mapping():
            names = {fold(str(name)): known(item) for name, item in value.items()}
            return all(
                fold(str(key)) in names and matches(known(item), names[fold(str(key))])
                for key, item in wanted.items()
            )
        case list() | tuple(), list() | tuple():
            pairs = zip(wanted, value, strict=False)
            return len(wanted) == len(value) and all(matches(known(a), known(b)) for a, b in pairs)
        case _:
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
