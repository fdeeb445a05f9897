"""Figures of the workflow language: how fast files are checked and expressions evaluated."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from runner.expr.evaluate import evaluate
from runner.expr.syntax import parse
from tests.bench.report import Figure
from tests.conformance.test_score import CHECKOUT, found_cases

FILES = 500
EXPRESSIONS = 20_000
SIMPLE = ("github.ref == 'refs/heads/main'", "matrix.os", "!steps.a.outputs.x", "startsWith(github.ref, 'r')")
CONTEXTS: dict[str, object] = {
    "github": {"ref": "refs/heads/main"},
    "matrix": {"os": "linux"},
    "steps": {"a": {"outputs": {"x": "1"}}},
}


def language() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copies = copy_workflows(root / ".github/workflows")
        taken = statistics.median(timed(["check", folder]) for _ in range(3))
        begun = time.perf_counter()
        for text in copies:
            for _ in yaml.parse(text, Loader=yaml.CLoader):
                pass
        parsed = time.perf_counter() - begun
    yield Figure(
        f"runner check of {FILES} files", taken, "s", parsed, "libyaml's events of them", "3 s", taken <= 3
    )
    begun = time.perf_counter()
    nodes = [parse(text) for text in SIMPLE]
    for _ in range(EXPRESSIONS // len(nodes)):
        for node in nodes:
            evaluate(node, CONTEXTS)
    rate = EXPRESSIONS / (time.perf_counter() - begun)
    yield Figure("simple expressions, parsed", rate, "1/s", target="50000/s", met=rate >= 50_000)
    started = 1000 * statistics.median(timed(["--version"]) for _ in range(9))
    bare = 1000 * statistics.median(bare_start() for _ in range(9))
    yield Figure("runner --version", started, "ms", bare, "python -c pass", "150 ms", started < 150)


def copy_workflows(folder: Path) -> list[str]:
    """Real workflows where the conformance cases are there, else those of our own examples and tests."""
    shared = found_cases()
    found = sorted((shared / "cases/files/corpus").glob("*/*.y*ml")) if shared is not None else []
    found = found or sorted(CHECKOUT.glob("tests/scenarios/**/*.yml"))
    folder.mkdir(parents=True)
    texts = []
    for number in range(FILES):
        text = found[number % len(found)].read_text(errors="replace")
        (folder / f"{number}.yml").write_text(text)
        texts.append(text)
    return texts


def timed(args: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "runner.cli", *args], capture_output=True)
    return time.perf_counter() - begun


def bare_start() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begun
