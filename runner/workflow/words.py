"""Words from a file in messages: which one was meant, and what could be used instead."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_WORDS = 300
"""Among how many words the nearest is looked for."""

MAX_SHOWN = 50


def meant(word: str, words: Iterable[str]) -> str:
    """What to say after naming a word that is none of `words`."""
    words = tuple(words)[:MAX_WORDS]
    near = get_close_matches(word.lower()[:60], words, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return here(words)


def here(words: Iterable[str]) -> str:
    known = ", ".join(sorted(words)[:MAX_SHOWN])
    return f"; here you can use {known}" if known else ""


def cut(word: object) -> str:
    """A word from a file, short enough to be quoted in a message."""
    text = str(word)
    return text if len(text) <= 60 else f"{text[:60]}…"
