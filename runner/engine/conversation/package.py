"""What a workflow imports of ours, put where its process finds it."""

import marshal
from collections.abc import Mapping
from functools import cache
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

from runner.engine.commands import FOLDER, place_file

SDK = Path(__file__).parents[2] / "sdk"
PACKAGE = f"{FOLDER}sdk"
"""The folder in a job's temp folder that python3 is to run."""
UNCHECKED = 1
"""What stands in a compiled file whose source need not be looked at."""


def place_package(temp: Path) -> None:
    """`temp` is the job's folder as we see it."""
    folder = temp / PACKAGE
    for path, data in _package().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        place_file(str(folder / path), data, 0o644)


@cache
def _package() -> Mapping[str, bytes]:
    """As long as this process: a new version of the server comes with a new one.

    Compiled too, for a python3 of the version that we run with; another one looks at the sources only.
    """
    modules = {f"runner/sdk/{path.name}": path.read_bytes() for path in SDK.glob("*.py")}
    found = {"__main__.py": modules.pop("runner/sdk/__main__.py")}
    for path, source in {"runner/__init__.py": b"", **modules}.items():
        found[path] = source
        found[cache_from_source(path, optimization="")] = _compiled(source, path)
    return found


def _compiled(source: bytes, path: str) -> bytes:
    """As a file in `__pycache__` that is believed whatever its source's date is (PEP 552)."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    return MAGIC_NUMBER + UNCHECKED.to_bytes(4, "little") + source_hash(source) + marshal.dumps(code)
