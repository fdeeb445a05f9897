"""Reading `needs`: which jobs a job waits for."""

from dataclasses import dataclass

from runner.workflow.compose import Node, Scalar
from runner.workflow.document import Pos, circle
from runner.workflow.reading import Reader
from runner.workflow.schema import cut, meant


@dataclass(frozen=True, slots=True)
class Wanted:
    """The jobs that a job needs, each once and as its own key is spelled, and where it says so."""

    jobs: tuple[str, ...]
    pos: Pos

    @classmethod
    def read(cls, reader: Reader, node: Node | None, job: Scalar, keys: dict[str, str]) -> "Wanted":
        """`keys` are all jobs of the file, by their keys in lower case."""
        if node is None:
            return cls((), job.pos)
        found: dict[str, None] = {}
        for text, pos in reader.texts(node, "needs"):
            key = keys.get(text.lower())
            if key is None:
                others = [other for other in keys.values() if other != job.text]
                reader.problem(pos, f'there is no job "{cut(text)}" to need{meant(text, others)}')
            elif key == job.text:
                reader.problem(pos, f'the job "{job.text}" cannot need itself')
            else:
                found[key] = None
        return cls(tuple(found), node.pos)


def check_needs(reader: Reader, wanted: dict[str, Wanted]) -> None:
    """Say where jobs wait for each other in a circle; one circle is enough to begin with."""
    path = circle({key: each.jobs for key, each in wanted.items()})
    if path:
        shown = path if len(path) <= 12 else (*path[:10], "…", path[-1])
        reader.problem(wanted[path[0]].pos, f"these jobs wait for each other: {' needs '.join(shown)}")
