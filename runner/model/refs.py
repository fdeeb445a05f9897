"""The names that refs can have."""

import re

from runner.errors import Rejected

REF_BYTES = 1000
_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f-\x9f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//")


def checked_ref(ref: str) -> str:
    """`ref` itself where it can be the name of a ref: `git check-ref-format`'s rules, and no leading `-`."""
    parts = ref.split("/")
    if (
        not ref
        or len(ref.encode(errors="replace")) > REF_BYTES
        or _FORBIDDEN_IN_REF.search(ref)
        or ref == "@"
        or ref.endswith((".", "/"))
        or any(not part or part.startswith((".", "-")) or part.endswith(".lock") for part in parts)
    ):
        raise Rejected(
            f"{ref[:100]!a} is no ref name; give a full ref such as refs/heads/main, a branch, a tag, "
            "HEAD or a full commit id"
        )
    return ref
