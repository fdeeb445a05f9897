"""Where a job's steps run: `host`, `sandbox` (bubblewrap) or `docker`.

The promise, whichever it is: the steps of a job run one after another in one place; what a step leaves
in the background is there for the next and dies with the job; a step's environment is exactly the one it
was given; nothing of a job survives `stop`, `close` or the death of the worker, whatever it called, by
`kill -9` too. What they isolate differs, and each class says so.

How, and why so: starting a container or a namespace costs more than a short step, so a job has one, and
a shell of a few dozen lines in it, `agent.sh`, starts the steps. It hears from the worker on its stdin.
A pipe needs no cleanup to be closed: however the worker ends, the agent reads the end of it and leaves,
and as the first process of a PID namespace it takes everything along. Process groups cannot promise
that, because a step may leave its group; signals at a parent's death cannot, because they come with the
death of a thread. The agent is a shell because one is in every image and starts in a millisecond.

The end of a step is told by the agent and not by the end of its output, which a process in the background
may hold open for ever.

Services and steps with an image of their own are containers beside a job's sandbox, whatever that is: see
`docks`. They hold no line to the worker, as they need not have a shell: those of one that was killed are
removed by the next that takes the job, or by the sweep.

Executors are found by name and imported then: docker's client takes longer to import than all the rest.
"""

import threading
from collections.abc import Callable
from pkgutil import resolve_name
from typing import cast

from runner.engine.ports import Containers, Executor
from runner.errors import Rejected

EXECUTORS = {
    "host": "runner.executors.host:Host",
    "sandbox": "runner.executors.bubblewrap:Bubblewrap",
    "docker": "runner.executors.docker:Docker",
}

CONTAINERS = "runner.executors.docks:Docks"

# The modules of docker's client import each other in circles: two threads that begin at different ends
# would meet a half of one.
_IMPORTING = threading.Lock()


class NoSuchExecutor(Rejected):
    """A name that is none of `EXECUTORS`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no executor {name!r}; there are {', '.join(EXECUTORS)}")


def executor(name: str) -> Callable[..., Executor]:
    """The class called `name`; each says itself what it is constructed with. Raises `NoSuchExecutor`."""
    if name not in EXECUTORS:
        raise NoSuchExecutor(name)
    return cast(Callable[..., Executor], _found(EXECUTORS[name]))


def containers(**options: object) -> Containers:
    """Where jobs have containers beside their sandboxes, of docker, whichever executor they run on."""
    return cast(Callable[..., Containers], _found(CONTAINERS))(**options)


def _found(name: str) -> object:
    with _IMPORTING:
        return resolve_name(name)
