"""The submodules of a commit: what its `.gitmodules` says of the other repositories that its tree names."""

from collections.abc import Iterable, Iterator

from runner.engine.ports import Submodule
from runner.errors import BrokenDefinition
from runner.workspaces.reading import Reader
from runner.workspaces.trees import GITLINK, folder_in

MOST = 200


def submodules_in(reader: Reader, tree: str, settings: Iterable[tuple[str, str]]) -> Iterator[Submodule]:
    """Those that the tree has at their path; git too ignores what it has not."""
    said: dict[str, dict[str, str]] = {}
    for key, value in settings:
        name, _, what = key.partition(".")[2].rpartition(".")
        if key.startswith("submodule.") and name:
            said.setdefault(name, {})[what] = value
    if len(said) > MOST:
        raise BrokenDefinition(f".gitmodules: at most {MOST} submodules, not {len(said)}")
    for name, values in said.items():
        path, url = values.get("path", "").rstrip("/"), values.get("url", "")
        folder, _, last = path.rpartition("/")
        entry = folder_in(reader, tree, folder).get(last) if last else None
        if entry is not None and entry.mode == GITLINK:
            if not url:
                raise BrokenDefinition(f".gitmodules: the submodule {name[:100]!a} has no url")
            yield Submodule(name, path, url, entry.id)
