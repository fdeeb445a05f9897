"""Blobs that outlast a job: artifacts, caches, snapshots.

Promise: an object is there whole or not at all, and what is read is what was written (`Damaged` otherwise).
Keys are made here, of a place that the caller names and a random part: no name that a repository chose is
ever one.

In a bucket they can be reached by every worker; in a folder by those of one machine, or by all where the
folder is shared.
"""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import cast

from runner.engine.ports import Objects
from runner.errors import Rejected
from runner.objects.folder import FolderObjects

__all__ = ["FolderObjects", "checked_url", "objects_at"]

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)/?")
_S3 = "runner.objects.s3:S3Objects"
"""Imported by whom it is asked for: not everybody has its library, which takes long to load."""


def checked_url(url: str) -> str:
    """Raises `Rejected` where it is no address that objects can be kept at."""
    if url and not _URL.fullmatch(url):
        raise Rejected("give a bucket such as s3://bucket/prefix, or nothing for a folder in the home")
    if url and find_spec("obstore") is None:
        raise Rejected("S3 needs a library that is not here: pip install 'runner[s3]'")
    return url


def objects_at(url: str, folder: Path, environment: Mapping[str, str]) -> Objects:
    """Objects in `s3://BUCKET/PREFIX`, or where that is empty in `folder`; raises `Rejected`.

    `environment` are the variables that say how a bucket is reached.
    """
    found = _URL.fullmatch(checked_url(url))
    if found is None:
        return FolderObjects(folder)
    return cast(Objects, resolve_name(_S3)(found[1], found[2].strip("/"), environment, folder))
