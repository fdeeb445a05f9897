"""Hiding secrets in what steps print: as they are, by their lines, and as programs commonly quote them.

A promise of best effort: a program that takes a secret apart prints it all the same. The forms are those
of GitHub's runner (actions/runner, src/Sdk/DTLogging/Logging/ValueEncoders.cs) and hexadecimal digits.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from urllib.parse import quote
from xml.sax.saxutils import escape

HIDDEN = b"***"
SHORTEST_PART = 6
"""Letters: a part of a secret that is shorter would hide too much that is none."""


class Masks:
    """The secrets of a job as far as they are known; more come while it runs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[bytes] = set()
        self.added: list[str] = []
        """What came later, in its order."""
        for secret in secrets:
            self._learn(secret)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def add(self, secret: str) -> None:
        """Hide a value from now on, the whole of it and each of its lines; blank ones are no secrets."""
        self.added.append(secret)
        self._learn(secret)

    def covers(self, text: str) -> bool:
        """Whether a secret is in it."""
        return self.hide_text(text) != text

    def hide_text(self, text: str) -> str:
        return self.hide(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def _learn(self, secret: str) -> None:
        for part in {secret, *re.split(r"[\r\n]+", secret)}:
            if part.strip():
                self._forms.update(form.encode(errors="surrogateescape") for form in _forms(part) if form)

    def hide(self, text: bytes) -> bytes:
        """`text` with asterisks for each stretch that secrets cover."""
        found = sorted(span for form in self._forms for span in _places(form, text))
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


def _places(form: bytes, text: bytes) -> Iterable[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + 1)


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
