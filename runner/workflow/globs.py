"""GitHub's filter patterns: `*`, `**`, `?`, `+`, `[]`, and `!` in front.

Matched by walking all possibilities at once, in time linear in pattern and name: both are written by
strangers, and a regular expression could be made to take hours.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MAX_PATTERN = 1_000
MAX_WILDCARDS = 50

QUANTIFIERS = "?+"
SPECIAL = "*?+[]!\\"
NOT_IN_REFS = " ~^:"


class BadPattern(ValueError):
    """A pattern that GitHub would not take."""


@dataclass(frozen=True, slots=True)
class Place:
    """One position in a pattern: which characters it takes, and where a name may go on from it.

    `taken` None takes anything; `stays` lets it take more; `skips` says how many places further the
    name may go on without a character being taken here.
    """

    taken: tuple[tuple[str, str], ...] | None = None
    not_slash: bool = False
    stays: bool = False
    skips: tuple[int, ...] = ()

    def takes(self, character: str) -> bool:
        if self.taken is None:
            return not (self.not_slash and character == "/")
        return any(first <= character <= last for first, last in self.taken)


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern, ready to be matched. `negative` is the `!` in front; `matches` does not regard it."""

    pattern: str
    negative: bool
    places: tuple[Place, ...]
    reach: tuple[frozenset[int], ...]

    def matches(self, name: str) -> bool:
        at = self.reach[0]
        for character in name:
            onward: set[int] = set()
            for position in at:
                if position < len(self.places) and self.places[position].takes(character):
                    onward |= self.reach[position if self.places[position].stays else position + 1]
            if not onward:
                return False
            at = frozenset(onward)
        return len(self.places) in at


ANYTHING = Place(stays=True, skips=(1,))
NOT_SLASH = Place(not_slash=True, stays=True, skips=(1,))
SLASH = Place((("/", "/"),))


@lru_cache(maxsize=1024)
def compile_glob(pattern: str) -> Glob:
    """Raises `BadPattern`."""
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"the pattern is longer than {MAX_PATTERN} characters")
    if "\n" in pattern or "\r" in pattern:
        raise BadPattern("a pattern is a single line")
    negative = pattern.startswith("!")
    body = pattern[negative:]
    if not body:
        raise BadPattern("the pattern is empty")
    places = tuple(read_places(body))
    if sum(bool(place.skips) for place in places) > MAX_WILDCARDS:
        raise BadPattern(f"the pattern has more than {MAX_WILDCARDS} wildcards")
    return Glob(pattern, negative, places, reaches(places))


def read_places(body: str) -> list[Place]:
    places: list[Place] = []
    position, quantifiable = 0, False
    while position < len(body):
        character = body[position]
        if character in QUANTIFIERS:
            if not quantifiable:
                raise BadPattern(f'"{character}" must follow a character that it can repeat')
            one = places.pop() if character == "?" else places[-1]
            places.append(Place(one.taken, stays=character == "+", skips=(1,)))
            position, quantifiable = position + 1, False
        elif character == "*":
            found, position = read_stars(body, position)
            places.extend(found)
            quantifiable = False
        else:
            place, position = read_one(body, position)
            places.append(place)
            quantifiable = True
    return places


def read_stars(body: str, position: int) -> tuple[list[Place], int]:
    end = position
    while body.startswith("*", end):
        end += 1
    if end - position == 1:
        return [NOT_SLASH], end
    begins = position == 0 or body[position - 1] == "/"
    if begins and body.startswith("/", end):
        # `**/` also stands for no folder at all: both what it takes and its slash may be skipped.
        return [Place((), skips=(1, 3)), ANYTHING, SLASH], end + 1
    return [ANYTHING], end


def read_one(body: str, position: int) -> tuple[Place, int]:
    character = body[position]
    if character == "[":
        return read_set(body, position)
    if character == "\\" and position + 1 < len(body) and body[position + 1] in SPECIAL:
        position, character = position + 1, body[position + 1]
    return Place(((character, character),)), position + 1


def read_set(body: str, position: int) -> tuple[Place, int]:
    end = body.find("]", position)
    if end < 0:
        raise BadPattern('a "[" has no "]"')
    inside = body[position + 1 : end]
    if not inside:
        raise BadPattern('"[]" names no character')
    ranges: list[tuple[str, str]] = []
    index = 0
    while index < len(inside):
        first = last = inside[index]
        if inside[index + 1 : index + 2] == "-":
            last = inside[index + 2 : index + 3]
            if not last:
                raise BadPattern(f'the range "{first}-" has no end')
            if last < first:
                raise BadPattern(f'the range "{first}-{last}" is empty; write it the other way round')
            index += 2
        ranges.append((first, last))
        index += 1
    return Place(tuple(ranges)), end + 1


def reaches(places: tuple[Place, ...]) -> tuple[frozenset[int], ...]:
    """From each position, those a name may be at before another character is taken."""
    found: list[frozenset[int]] = [frozenset({len(places)})]
    for position in range(len(places) - 1, -1, -1):
        beyond = (found[len(places) - position - skip] for skip in places[position].skips)
        found.append(frozenset({position}).union(*beyond))
    return tuple(reversed(found))


def check_ref_pattern(pattern: str) -> None:
    """Raises `BadPattern` where no branch or tag could have such a name."""
    compile_glob(pattern)
    body = pattern.removeprefix("!")
    for character in body:
        if character in NOT_IN_REFS or not character.isprintable():
            raise BadPattern(f"no branch or tag has {character!r} in its name")
    if body.startswith("/"):
        raise BadPattern('no branch or tag begins with "/"')
    if body.endswith(("/", ".")):
        raise BadPattern(f'no branch or tag ends with "{body[-1]}"')
    index = body.find("\\")
    while index >= 0:
        if body[index + 1 : index + 2] not in ("\\", "+", "!"):
            raise BadPattern(
                'in the name of a branch or tag, "\\" can only stand before "+", "!" or another one'
            )
        index = body.find("\\", index + 2)


def check_path_pattern(pattern: str) -> None:
    """Raises `BadPattern` where no path in a repository could match."""
    compile_glob(pattern)
    body = pattern.removeprefix("!")
    if body in (".", "..") or body.startswith(("./", "../")):
        raise BadPattern('paths begin at the root of the repository, without "./" or "../"')
    if body != body.strip():
        raise BadPattern("the pattern begins or ends with a space")


def included(patterns: Iterable[str], name: str) -> bool:
    """Whether the last pattern that matches takes the name in; one with `!` takes it out again."""
    taken = False
    for glob in map(compile_glob, patterns):
        if glob.matches(name):
            taken = not glob.negative
    return taken


def excluded(patterns: Iterable[str], name: str) -> bool:
    """Whether any of the patterns covers the name; one with `!` covers all that it does not match."""
    return any(glob.matches(name) is not glob.negative for glob in map(compile_glob, patterns))
