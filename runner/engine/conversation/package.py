"""What a workflow imports of ours, put where its process finds it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from runner.engine.commands import FOLDER, place_file

SDK = Path(__file__).parents[2] / "sdk"
MODULES = ("__init__", "host", "spans", "steps", "wire")
PACKAGE = f"{FOLDER}sdk"
"""The folder in a job's temp folder that python3 is to run."""


def place_package(temp: Path) -> None:
    """`temp` is the job's folder as we see it."""
    folder = temp / PACKAGE
    (folder / "runner" / "sdk").mkdir(parents=True, exist_ok=True)
    for path, data in _package().items():
        place_file(str(folder / path), data, 0o644)


@cache
def _package() -> Mapping[str, bytes]:
    """As long as this process: a new version of the server comes with a new one."""
    found = {f"runner/sdk/{name}.py": (SDK / f"{name}.py").read_bytes() for name in MODULES}
    return found | {"runner/__init__.py": b"", "__main__.py": (SDK / "__main__.py").read_bytes()}
