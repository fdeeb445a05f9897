"""`make bench`: what the engine adds, as ratios to bounds measured in the same run on the same machine.

    python -m tests.bench [NAME ...] [--json FILE]

Each figure is a median of several rounds. A bound is the same work done without us: the spawn, the fetch,
the bare server. Absolute figures belong to the machine; the ratios are what can be compared.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.bench import figures
from tests.bench.report import Figure, shown


def main() -> None:
    known = figures.ALL
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)}")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    unknown = set(given.names) - set(known)
    if unknown:
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    found: list[Figure] = []
    for name in given.names or known:
        for figure in known[name]():
            print(shown(figure), flush=True)
            found.append(figure)
    if given.json:
        given.json.write_text(json.dumps([vars(figure) for figure in found], indent=2))
    missed = [figure.name for figure in found if figure.met is False]
    print(f"\n{len(found)} figures, {len(missed)} missed{': ' + ', '.join(missed) if missed else ''}")
    sys.exit(0)


if __name__ == "__main__":
    main()
