"""What the workspace of a job has for git, as its executor shows it."""

from dataclasses import replace
from pathlib import Path

from runner.engine.opening import DOCKER, Place
from runner.engine.ports import History
from runner.engine.station import Station
from runner.model.source import Event, Repository, bare_url
from runner.workflow.document import Steps

ALTERNATES = ".git/objects/info/alternates"


def history_of(event: Event, repository: Repository, body: Steps, station: Station) -> History:
    """What a job is to find, before it is known for sure where it runs."""
    name = DOCKER if body.container is not None else repository.executor or station.executor
    objects = station.executors[name]().objects if name in station.executors else None
    return History(event.ref, bare_url(repository.url), objects)


def settled_at(history: History, place: Place, workspace: Path, lent: Path, station: Station) -> History:
    """As it is where the job runs: `container` may have named no image, and so no container."""
    found = replace(history, objects=place.objects, owner=place.sandbox.owner)
    if found.objects != history.objects:
        folder = station.workspaces.reach(workspace)
        if folder.look(ALTERNATES) is not None:
            was, now = (one or str(lent) for one in (history.objects, found.objects))
            with folder.reading(ALTERNATES) as file:
                text = file.read().replace(f"{was}/".encode(), f"{now}/".encode())
            with folder.writing(ALTERNATES) as file:
                file.write(text)
    return found
