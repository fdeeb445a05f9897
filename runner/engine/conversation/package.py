"""What a workflow imports of ours, put where its process finds it."""

import marshal
from collections.abc import Mapping
from functools import cache
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from runner.engine.commands import FOLDER, place_file

SDK = Path(__file__).parents[2] / "sdk"
PACKAGE = f"{FOLDER}sdk.py"
"""The file in a job's temp folder that python3 is to run; what it loads is in the one beside it."""
MODULES = f"{FOLDER}sdk.bin"
PLACE = "/_runner_sdk"
"""Where its modules say that they are: they are no files."""


def place_package(temp: Path) -> None:
    """`temp` is the job's folder as we see it."""
    for name, data in _package().items():
        place_file(f"{temp}/{name}", data, 0o644)


@cache
def _package() -> Mapping[str, bytes]:
    """As long as this process: a new version of the server comes with a new one.

    Compiled too, for a python3 of the version that we run with; another one looks at the sources only.
    """
    sources = {f"runner/sdk/{path.name}": path.read_bytes() for path in SDK.glob("*.py")}
    begins = sources.pop("runner/sdk/__main__.py")
    modules = [_module(path, source) for path, source in {"runner/__init__.py": b"", **sources}.items()]
    return {PACKAGE: begins, MODULES: marshal.dumps((MAGIC_NUMBER, dict(modules)))}


def _module(path: str, source: bytes) -> tuple[str, tuple[str, bool, bytes, bytes]]:
    """Its name, and what the file that python3 runs says that it reads of it."""
    name, place = path.removesuffix(".py").replace("/", "."), f"{PLACE}/{path}"
    code = compile(source, place, "exec", dont_inherit=True, optimize=0)
    package = name.endswith(".__init__")
    return name.removesuffix(".__init__"), (place, package, source, marshal.dumps(code))
