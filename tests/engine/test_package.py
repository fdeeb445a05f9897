from importlib.util import cache_from_source
from pathlib import Path

from runner.engine.conversation.package import PACKAGE, SDK, place_package


def test_all_that_a_workflow_imports_of_ours_is_there_and_compiled(tmp_path: Path) -> None:
    place_package(tmp_path)

    folder = tmp_path / PACKAGE
    modules = [folder / "runner" / "__init__.py"]
    modules += [folder / "runner" / "sdk" / one.name for one in SDK.glob("*.py") if one.name != "__main__.py"]
    assert {*folder.rglob("*.py")} == {*modules, folder / "__main__.py"}
    assert [one for one in modules if not Path(cache_from_source(str(one), optimization="")).is_file()] == []
