"""The workflow files of a commit."""

from collections.abc import Mapping
from functools import lru_cache

from runner.engine.ports import Workspaces
from runner.errors import BrokenDefinition
from runner.model.source import Route
from runner.workflow.supported import load

FOLDERS = (".runner/workflows", ".github/workflows")
"""Where definitions are looked for; the first folder that has any is the one."""


class BrokenFolder(BrokenDefinition):
    """What is in a folder of definitions cannot be read."""

    def __init__(self, folder: str, why: BrokenDefinition) -> None:
        super().__init__(str(why))
        self.folder = folder


def definitions(route: Route, workspaces: Workspaces) -> Mapping[str, bytes]:
    """The files by path, of the first folder that has any. Raises `BrokenFolder`."""
    for folder in FOLDERS:
        try:
            found = workspaces.read(route, folder)
        except BrokenDefinition as error:
            raise BrokenFolder(folder, error) from error
        if files := {path: text for path, text in found.items() if path.endswith((".yml", ".yaml"))}:
            return files
    return {}


# A commit's files never change: the text is the whole key.
parsed = lru_cache(maxsize=256)(load)
