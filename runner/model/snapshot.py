"""Snapshots of a job's files as all who keep them see them."""

from dataclasses import dataclass
from enum import StrEnum

from runner.model.blob import Blob

BASE = "base"
"""The snapshot of files in which nothing changed: the commit's own."""
NONE = "off"
"""What a checkpoint names where none was kept."""


class Keep(StrEnum):
    """Where the files are kept that steps left: on their worker's machine, in the store too, or nowhere."""

    LOCAL = "local"
    DURABLE = "durable"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Layer:
    """What a job's files were changed by since `parent`, which is another layer or `BASE`."""

    name: str
    parent: str


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer that is an object too; `content` is the SHA-256 of what it holds, however it is packed."""

    name: str
    content: str
    blob: Blob
