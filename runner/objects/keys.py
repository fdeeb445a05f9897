"""What objects are called."""

import re
from secrets import token_hex

_PLACE = re.compile(r"[a-z0-9]+(/[a-z0-9]+)*")
_KEY = re.compile(r"[a-z0-9]+(/[a-z0-9]+)*/[0-9a-f]{32}")


OWNER = "owner"
"""The name of what says whose all objects there are, which is no key."""
OWNER_BYTES = 100


def new_key(place: str) -> str:
    """A key that nothing has yet. `place` is words of small letters and digits, with slashes between them."""
    return f"{checked_place(place)}/{token_hex(16)}"


def checked_place(place: str) -> str:
    if not _PLACE.fullmatch(place):
        raise ValueError(f"{place!r} is no place for objects")
    return place


def is_key(key: str) -> bool:
    """Whether it is one of ours: others may keep something at the same place."""
    return _KEY.fullmatch(key) is not None


def checked_key(key: str) -> str:
    """A key as `new_key` makes them: it is no path to anywhere else."""
    if not is_key(key):
        raise ValueError(f"{key[:100]!r} is no key of an object")
    return key
