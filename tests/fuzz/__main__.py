"""`make fuzz`: FUZZ_RUNS inputs for all readers together; see `targets` for what they promise.

Ends with 1 where one broke its promise. The input is then in FUZZ_FOLDER, beside those that led to a new
path of the code, with which the next round begins.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS


def main() -> int:
    runs = int(os.environ.get("FUZZ_RUNS") or 1_000_000)
    folder = Path(os.environ.get("FUZZ_FOLDER") or ".fuzz").resolve()
    chosen = (os.environ.get("FUZZ_READERS") or ",".join(TARGETS)).split(",")
    whole = sum(TARGETS[name].share for name in chosen)
    print(f"{'reader':12}{'inputs':>9}{'a second':>10}{'slowest':>12}{'of bytes':>10}  ended", flush=True)
    ended = [fuzzed(name, round(runs * TARGETS[name].share / whole), folder / name) for name in chosen]
    return 0 if all(ended) else 1


def fuzzed(name: str, runs: int, folder: Path) -> bool:
    """Fuzz one reader, in a process of its own as the fuzzer ends the one it is in; say how that went."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "tests.fuzz.one", name, str(runs), str(folder)]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    took = time.monotonic() - begun
    said = (folder / "log").read_text(errors="replace")
    count = max(map(int, re.findall(r"^(?:#|Done )([0-9]+)", said, re.MULTILINE)), default=0)
    file = folder / "slowest.json"
    slowest = json.loads(file.read_text()) if file.is_file() else {"seconds": 0.0, "bytes": 0}
    ending = "well" if done.returncode == 0 else f"with {done.returncode}; see {folder}/log"
    print(
        f"{name:12}{count:>9}{count / took:>10.0f}{slowest['seconds'] * 1000:>9.1f} ms{slowest['bytes']:>10}"
        f"  {ending}",
        flush=True,
    )
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
