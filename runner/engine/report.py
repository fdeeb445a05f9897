"""Tell the forge how a run stands. It is retried on its own and never touches the run."""

from collections.abc import Mapping

from runner.engine.ports import Forge, Status, Store


def report(run_id: int, *, store: Store, forges: Mapping[str, Forge], server: str) -> None:
    run = store.load(run_id)
    status = Status(run.route, run.workflow, run.result, f"{server}/runs/{run.id}")
    forges[run.route.forge].report(status)
