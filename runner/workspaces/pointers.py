"""Git LFS pointers: small files that a commit has in the place of large ones.

https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md says what they are.
"""

import re
from collections.abc import Mapping

from runner.engine.ports import Large
from runner.errors import BrokenDefinition

POINTER_BYTES = 1023
SHORTEST = 70
"""No pointer has fewer bytes."""
MOST_LARGE = 50_000
"""How many files of one commit may be in LFS."""
MOST_PATTERNS = 1000
INCLUDE, EXCLUDE = "lfs.fetchinclude", "lfs.fetchexclude"
INCLUDED, EXCLUDED = "runner-lfs-included", "runner-lfs-excluded"
_VERSIONS = (
    "https://git-lfs.github.com/spec/v1",
    "http://git-media.io/v/2",
    "https://hawser.github.com/spec/v1",
)
_LINE = re.compile(r"([a-z0-9.-]+) (.*)")
_OID = re.compile(r"sha256:([0-9a-f]{64})")
_SIZE = re.compile(r"[0-9]{1,18}")


def pointer_in(path: str, content: bytes) -> Large | None:
    """What a file points to; None where it is no pointer, and so is what it is.

    Raises `BrokenDefinition` for one that only another program can follow.
    """
    if len(content) > POINTER_BYTES:
        return None
    found: dict[str, str] = {}
    try:
        lines = content.decode().rstrip("\r\n").split("\n")
    except UnicodeDecodeError:
        return None
    for line in lines:
        said = _LINE.fullmatch(line.rstrip("\r"))
        if said is None or said[1] in found:
            return None
        found[said[1]] = said[2]
    if next(iter(found)) != "version" or found["version"] not in _VERSIONS:
        return None
    oid, size = _OID.fullmatch(found.get("oid", "")), _SIZE.fullmatch(found.get("size", ""))
    if oid is None or size is None:
        return None
    if extension := next((key for key in found if key.startswith("ext-")), None):
        raise BrokenDefinition(
            f"{path[:200]!a} was put into LFS by {extension[:60]!a}, a program that is not here; only files "
            "without such extensions can be fetched"
        )
    return Large(oid[1], int(size[0]))


def attributes_of(settings: Mapping[str, str]) -> str:
    """A file of attributes: which paths the `.lfsconfig` of a repository says to fetch, and not to fetch.

    So it is git that matches them, in a process that can be ended: a pattern may be made to take for ever.
    """
    lines = []
    for setting, attribute in ((INCLUDE, INCLUDED), (EXCLUDE, EXCLUDED)):
        for part in settings.get(setting, "").split(",")[:MOST_PATTERNS]:
            pattern = part.strip().strip("/")
            # Git would take these for something else.
            if pattern and pattern.isprintable() and not pattern.startswith(("!", "[attr]")):
                below = pattern if "/" in pattern else f"**/{pattern}"
                lines += [f"{_quoted(one)} {attribute}\n" for one in (pattern, f"{below}/**")]
    return "".join(lines)


def _quoted(pattern: str) -> str:
    return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"'
