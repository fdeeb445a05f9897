"""The tests that the examples in Python bring along, as their authors would run them."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "pipelines_examples"


def brought_along() -> Iterator[tuple[str, Callable[[], None]]]:
    for path in sorted(EXAMPLES.glob("*/tests/test_*.py")):
        spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, one in vars(module).items():
            if name.startswith("test_"):
                yield f"{path.parents[1].name}: {name}", one


TESTS = dict(brought_along())


@pytest.mark.parametrize("name", TESTS)
def test_of_an_example(name: str) -> None:
    TESTS[name]()


def test_every_example_in_python_has_tests() -> None:
    workflows = {path.parents[2].name for path in EXAMPLES.glob("*/.runner/workflows/*.py")}

    assert workflows == {name.partition(":")[0] for name in TESTS}
