"""The modules of a repository, from git's objects at the run's commit and from nowhere else."""

import posixpath
from collections.abc import Mapping
from typing import Any

from runner.engine.ports import Workspaces
from runner.errors import BrokenDefinition, RunnerError
from runner.model.source import Route

SOURCE_BYTES = 4 * 1024 * 1024
"""Of one module."""
MODULE_LETTERS = 1000


def source_of(module: str, beside: str, route: Route, workspaces: Workspaces) -> Mapping[str, Any]:
    """What a workflow's process is answered that imports a module.

    It is looked for in the folder `beside`, that of the workflow's own file, and in the repository's root.
    """
    if len(module) > MODULE_LETTERS:
        return {"is": "source", "module": module, "found": "", "problem": "its name is too long"}
    parts = module.split(".")
    found: Mapping[str, Any] = {}
    if all(part.isidentifier() for part in parts):
        try:
            found = _source(parts, beside, route, workspaces)
        except (RunnerError, UnicodeDecodeError) as error:
            found = {"problem": f"the module {module} cannot be read at this commit: {error}"}
    return {"is": "source", "module": module, "found": "", **found}


def _source(parts: list[str], beside: str, route: Route, workspaces: Workspaces) -> Mapping[str, Any]:
    space: dict[str, Any] = {}
    for root in dict.fromkeys((beside, "")):
        folder = posixpath.join(root, *parts[:-1])
        inside = posixpath.join(folder, parts[-1])
        there = workspaces.listed(route, folder)
        within = workspaces.listed(route, inside) if parts[-1] in there else ()
        for where, names, file in ((inside, within, "__init__.py"), (folder, there, f"{parts[-1]}.py")):
            found = workspaces.read(route, where, [file]) if file in names else {}
            for path, text in found.items():
                if len(text) > SOURCE_BYTES:
                    raise BrokenDefinition(f"{path} has {len(text)} bytes; {SOURCE_BYTES} are the most")
                source = text.decode("utf-8-sig")
                return {"found": "module", "path": path, "text": source, "package": where == inside}
        if within and not space:
            space = {"found": "space", "path": inside, "text": "", "package": True}
    return space
