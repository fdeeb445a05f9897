"""What the environment says that is no setting of ours: for git, buckets, terminals, and of whoever began us.

Apart from `settings`, whose library takes a quarter of a second to import.
"""

import os
from collections.abc import Mapping
from pathlib import Path

PASSED_TO_GIT = ("http_proxy", "https_proxy", "no_proxy", "SSH_AUTH_SOCK")
_AUTHORITIES = {"GIT_SSL_CAINFO": "SSL_CERT_FILE", "GIT_SSL_CAPATH": "SSL_CERT_DIR"}
"""What git calls it, and what all other programs do, which git does not read itself; empty is not set."""


def for_git() -> dict[str, str]:
    """What git needs to reach other machines, from this process's environment."""
    names = (*PASSED_TO_GIT, *(name.upper() for name in PASSED_TO_GIT[:3]))
    authorities = {
        name: os.environ.get(name) or os.environ.get(other, "") for name, other in _AUTHORITIES.items()
    }
    given = {name: os.environ[name] for name in names if name in os.environ}
    return given | {name: said for name, said in authorities.items() if said}


def for_s3() -> dict[str, str]:
    """How a bucket is reached: AWS's own variables, and who is asked for credentials where none are said."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_") and value}


def cache_folder() -> Path:
    """Where programs keep for a user what can be made again, as freedesktop.org has it."""
    said = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (said if said.is_absolute() else Path.home() / ".cache") / "runner"


def colourless() -> bool:
    """Whether whoever looks at our output wants no colours, as https://no-color.org asks."""
    return bool(os.environ.get("NO_COLOR"))


def inherited() -> Mapping[str, str]:
    """All of it, for a program that works for the user as if they had started it themselves."""
    return dict(os.environ)


def variable(name: str) -> str | None:
    """One that the user named; None where it is not set."""
    return os.environ.get(name)


def has_settings(*names: str) -> bool:
    """Whether any of these settings is said."""
    return any(f"RUNNER_{name.upper()}" in os.environ for name in names)
