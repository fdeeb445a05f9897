"""Blobs that outlast a job: artifacts, caches, snapshots.

Promise: an object is there whole or not at all, and what is read is what was written (`Damaged` otherwise).
Keys are made here, of a place that the caller names and a random part: no name that a repository chose is
ever one.
"""

from runner.objects.folder import FolderObjects

__all__ = ["FolderObjects"]
