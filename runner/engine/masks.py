"""Hiding secrets in what steps print: as they are, by their lines, and as programs commonly quote them.

A promise of best effort: a program that takes a secret apart prints it all the same. The forms are those
of GitHub's runner (actions/runner, src/Sdk/DTLogging/Logging/ValueEncoders.cs) and hexadecimal digits.
"""

import json
import re
from base64 import b64encode
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote
from xml.sax.saxutils import escape

HIDDEN = b"***"
SHORTEST_PART = 6
"""Letters: a part of a secret that is shorter would hide too much that is none."""
MOST_VALUES = 10_000
"""Of those that the steps of a job ask to hide; of one that has lines each of them counts too."""
LONGEST_VALUE = 64 * 1024
"""Letters."""
MOST_LETTERS = 1024 * 1024
"""All values together: they are part of what a step leaves behind."""
WITHHELD = (
    f"what the job prints is withheld from here on: it has more to hide than the {MOST_VALUES} values and "
    f"lines of values, of up to {LONGEST_VALUE} letters and {MOST_LETTERS} together, that a job can hide"
)
HEAD = 4
"""Bytes by which a form is looked up."""
FEW_FORMS = 200
"""So many are each looked for by itself faster than all are looked up at each byte."""
MOST_TRIES = 8


class Masks:
    """The secrets of a job as far as they are known; more come while it runs.

    Hiding takes time linear in the text, however many they are.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[bytes] = set()
        self._longest = 0
        self._by_head: dict[int, dict[bytes, list[bytes]]] = {}
        """All forms in order, by how many bytes of them are looked up, and by these."""
        self._values = self._letters = 0
        self.withheld = False
        """Whether there was a value that could not be learned: nothing is shown any more."""
        self.added: list[str] = []
        """What came later, in its order."""
        for secret in secrets:
            self._learn(secret)

    def __bool__(self) -> bool:
        return bool(self._forms) or self.withheld

    def add(self, secret: str) -> None:
        """Hide a value from now on, the whole of it and each of its lines; blank ones are no secrets.

        One that is too much has all that follows withheld. It is kept as well, so that whoever adds the same
        values again comes to the same.
        """
        if self.withheld:
            return
        self.added.append(secret[: LONGEST_VALUE + 1])
        self._letters += len(secret)
        self._values += len(_parts(secret))
        if len(secret) > LONGEST_VALUE or self._values > MOST_VALUES or self._letters > MOST_LETTERS:
            self.withheld = True
        else:
            self._learn(secret)

    def covers(self, text: str) -> bool:
        """Whether a secret is in it."""
        return self.hide_text(text) != text

    def hide_text(self, text: str) -> str:
        if self.withheld and text:
            return WITHHELD
        return self.hide(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def _learn(self, secret: str) -> None:
        for part in _parts(secret):
            for form in _forms(part):
                self._look_for(form.encode(errors="surrogateescape"))

    def _look_for(self, form: bytes) -> None:
        if form and form not in self._forms:
            self._forms.add(form)
            self._longest = max(self._longest, len(form))
            head = form[:HEAD]
            insort(self._by_head.setdefault(len(head), {}).setdefault(head, []), form)

    def hide(self, text: bytes) -> bytes:
        """`text` with asterisks for each stretch that secrets cover; nothing where all is withheld."""
        if self.withheld:
            return b""
        found = sorted(self._covered(text))
        if not found:
            return text
        shown, at = bytearray(), 0
        covered = found[0]
        for start, end in [*found[1:], (len(text) + 1, 0)]:
            if start <= covered[1]:
                covered = covered[0], max(covered[1], end)
                continue
            shown += text[at : covered[0]] + HIDDEN
            at, covered = covered[1], (start, end)
        return bytes(shown + text[at:])

    def _covered(self, text: bytes) -> Iterator[tuple[int, int]]:
        if len(self._forms) <= FEW_FORMS:
            for form in self._forms:
                yield from _places(form, text)
            return
        for size, heads in self._by_head.items():
            for at in [at for at in range(len(text) - size + 1) if text[at : at + size] in heads]:
                length = _longest_of(heads[text[at : at + size]], text[at : at + self._longest])
                if length:
                    yield at, at + length


def _parts(secret: str) -> set[str]:
    return {part for part in (secret, *re.split(r"[\r\n]+", secret)) if part.strip()}


def _places(form: bytes, text: bytes) -> Iterator[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + 1)


def _longest_of(forms: list[bytes], text: bytes) -> int:
    """How much of a text's beginning the longest form covers that it begins with; `forms` are in order.

    Where forms are beginnings of each other so often that it takes too many tries, what they have in common
    with the text counts as covered.
    """
    for _ in range(MOST_TRIES):
        place = bisect_right(forms, text)
        if not place:
            return 0
        # No form stands between it and the text: where it is no beginning of that, a shorter one may be.
        nearest = forms[place - 1]
        if text.startswith(nearest):
            return len(nearest)
        text = text[: _in_common(text, nearest)]
    return len(text)


def _in_common(one: bytes, other: bytes) -> int:
    """How many bytes they begin with alike."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _forms(secret: str) -> Iterable[str]:
    yield secret
    for form in _ENCODERS:
        yield form(secret)


def _base64(shift: int) -> Callable[[str], str]:
    def form(secret: str) -> str:
        plain = secret.encode(errors="surrogateescape")[shift:]
        # What follows the secret is part of the last group unless it is a whole one.
        return b64encode(plain).decode() if plain else ""

    return form


def _unaligned(shift: int) -> Callable[[str], str]:
    """The groups that are the same whatever follows the secret."""

    def form(secret: str) -> str:
        plain = secret.encode(errors="surrogateescape")[shift:]
        whole = b64encode(plain[: len(plain) // 3 * 3]).decode()
        return whole if len(whole) > SHORTEST_PART else ""

    return form


def _within_quotes(secret: str) -> str:
    quoted = len(secret) > SHORTEST_PART + 2 and secret[0] == secret[-1] == '"'
    return secret[1:-1] if quoted else ""


def _before_ampersand(secret: str) -> str:
    """PowerShell colours a part of what it quotes, so that the rest stands apart."""
    end = secret.find("&+") + 2 if "&+" in secret else secret.rfind("&") + 1
    return secret[:end] if end >= SHORTEST_PART else ""


def _after_ampersand(secret: str) -> str:
    if "&" not in secret:
        return ""
    start = secret.find("&+") + 3 if "&+" in secret else secret.rfind("&") + 1
    return secret[start:] if len(secret) - start >= SHORTEST_PART else ""


_ENCODERS: tuple[Callable[[str], str], ...] = (
    *map(_base64, range(3)),
    *map(_unaligned, range(3)),
    lambda secret: secret.replace('"', '\\"'),
    lambda secret: secret.replace("'", "''"),
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    lambda secret: quote(secret, safe="-._~", errors="surrogateescape"),
    lambda secret: escape(secret, {'"': "&quot;", "'": "&apos;"}),
    lambda secret: secret.encode(errors="surrogateescape").hex() if len(secret) >= SHORTEST_PART else "",
    _within_quotes,
    _before_ampersand,
    _after_ampersand,
)
