"""Which files of a commit a sparse checkout has."""

import re
from dataclasses import dataclass
from functools import cached_property

from runner.errors import BrokenDefinition

MOST_PATTERNS = 1000


@dataclass(frozen=True)
class Sparse:
    """`patterns` are folders where it is a `cone`, else what a `.gitignore` would say of files to have."""

    patterns: tuple[str, ...]
    cone: bool

    def has(self, path: str) -> bool:
        return self._in_cone(path) if self.cone else self._matched(path)

    @property
    def file(self) -> str:
        """What `.git/info/sparse-checkout` says."""
        if not self.cone:
            return "".join(f"{pattern}\n" for pattern in self.patterns)
        lines = ["/*", "!/*/"]
        for folder in sorted(self._above - {""}):
            lines += [f"/{folder}/", f"!/{folder}/*/"]
        return "\n".join([*lines, *(f"/{folder}/" for folder in sorted(self._folders))]) + "\n"

    @cached_property
    def _folders(self) -> frozenset[str]:
        return frozenset(pattern.strip("/") for pattern in self.patterns if pattern.strip("/"))

    @cached_property
    def _above(self) -> frozenset[str]:
        """The folders around those that were named, whose own files belong to it."""
        above = {""}
        for folder in self._folders:
            names = folder.split("/")
            above |= {"/".join(names[:depth]) for depth in range(1, len(names))}
        return frozenset(above - self._folders)

    def _in_cone(self, path: str) -> bool:
        folder = path.rpartition("/")[0]
        if folder in self._above:
            return True
        while folder:
            if folder in self._folders:
                return True
            folder = folder.rpartition("/")[0]
        return False

    @cached_property
    def _rules(self) -> tuple[tuple[re.Pattern[str], bool], ...]:
        return tuple(_rule(pattern) for pattern in self.patterns)

    def _matched(self, path: str) -> bool:
        """The last rule about a path, or else about the folders that it is in, has the word."""
        names = path.split("/")
        for depth in range(len(names), 0, -1):
            part = "/".join(names[:depth]) + ("/" if depth < len(names) else "")
            for rule, wanted in reversed(self._rules):
                if rule.fullmatch(part):
                    return wanted
        return False


def sparse_of(text: str, cone: bool) -> Sparse | None:
    """What `sparse-checkout` says, one pattern on a line; None where it says nothing."""
    patterns = tuple(line for line in (raw.strip() for raw in text.splitlines()) if line and line[0] != "#")
    if len(patterns) > MOST_PATTERNS:
        raise BrokenDefinition(f"sparse-checkout: at most {MOST_PATTERNS} patterns, not {len(patterns)}")
    if cone and (odd := next((one for one in patterns if set("*?[!\\") & set(one)), None)):
        raise BrokenDefinition(
            f"sparse-checkout: {odd[:100]!a} is a pattern; give folders, or sparse-checkout-cone-mode: false"
        )
    return Sparse(patterns, cone) if patterns else None


def _rule(pattern: str) -> tuple[re.Pattern[str], bool]:
    wanted = not pattern.startswith("!")
    text = pattern.removeprefix("!")
    folder, text = text.endswith("/"), text.rstrip("/")
    anchored, text = "/" in text, text.removeprefix("/")
    found = re.sub(r"\*\*/|/\*\*|\*+|\?|\[[^\]]+\]|\\?.", _piece, text)
    return re.compile(("" if anchored else "(?:.*/)?") + found + ("/" if folder else "/?")), wanted


def _piece(found: re.Match[str]) -> str:
    piece = found[0]
    match piece:
        case "**/":
            return "(?:.*/)?"
        case "/**":
            return "/.+"
        case "?":
            return "[^/]"
    if piece[0] == "*":
        return "[^/]*"
    if piece[0] == "[" and len(piece) > 1:
        inner = piece[1:-1]
        negated, inner = inner[0] in "!^", inner.lstrip("!^")
        return f"[{'^/' if negated else ''}{re.escape(inner).replace(chr(92) + '-', '-')}]"
    return re.escape(piece[-1])
