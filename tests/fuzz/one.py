"""Fuzz one reader, in a process of its own: `python -m tests.fuzz.one READER INPUTS FOLDER`."""

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["runner.engine", "runner.expr", "runner.workflow"]):
    from tests.fuzz.targets import TARGETS, Target

LONGEST_INPUT = 4096
HANGS_AFTER = 30
"""Seconds after which an input is given up; what took too long but ended is found by `Target.take`."""


def fuzz(target: Target, runs: int, folder: Path) -> None:
    """Ends the process; with another status than 0 where a promise was broken."""
    slowest = 0.0

    def take(data: bytes) -> None:
        nonlocal slowest
        took = target.take(data)
        if took > slowest:
            slowest = took
            (folder / "slowest").write_bytes(data)
            (folder / "slowest.json").write_text(json.dumps({"seconds": took, "bytes": len(data)}))

    options = {
        "atheris_runs": runs,
        "max_len": LONGEST_INPUT,
        "timeout": HANGS_AFTER,
        "rss_limit_mb": 2048,
        "dict": folder / "words",
        "artifact_prefix": f"{folder}/",
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(folder / "corpus")], take
    )
    atheris.Fuzz()


def begin(target: Target, folder: Path) -> None:
    """What the fuzzer begins with: whole examples, its own finds of the last round, and words."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    (folder / "words").write_text("".join(f'"{escaped(word)}"\n' for word in target.words))
    (folder / "slowest.json").unlink(missing_ok=True)


def escaped(word: str) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    chosen, place = TARGETS[sys.argv[1]], Path(sys.argv[3])
    begin(chosen, place)
    fuzz(chosen, int(sys.argv[2]), place)
