import json
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.engine.conversation.package import MODULES, PACKAGE, SDK, place_package

LOADS = """
import importlib, json, runpy, sys
runpy.run_path(sys.argv[1], run_name="looked at")
names = [f"runner.sdk.{name}" for name in sys.argv[2:]]
print(json.dumps([importlib.import_module(name).__file__ for name in names]))
"""


@pytest.mark.parametrize("version", ["this one", "another"])
def test_all_that_a_workflow_imports_of_ours_is_in_two_files_for_every_version_of_python(
    tmp_path: Path, version: str
) -> None:
    place_package(tmp_path)
    modules = tmp_path / MODULES
    if version == "another":
        _, found = marshal.loads(modules.read_bytes())
        unreadable = {name: (*one[:3], b"?") for name, one in found.items()}
        modules.write_bytes(marshal.dumps((b"0000", unreadable)))
    names = [one.stem for one in SDK.glob("*.py") if not one.stem.startswith("__")]

    argv = [sys.executable, "-I", "-c", LOADS, str(tmp_path / PACKAGE), *names]
    said = subprocess.run(argv, check=True, capture_output=True, cwd=tmp_path).stdout

    assert json.loads(said) == [f"/_runner_sdk/runner/sdk/{name}.py" for name in names]
    assert {one.name for one in tmp_path.iterdir()} == {PACKAGE, MODULES}
