"""What a person may ask of a run."""

from collections.abc import Callable, Collection

from runner.engine.advance import advance
from runner.engine.ports import Dispatcher, Store
from runner.model import lifecycle
from runner.model.run import Run

Chosen = Callable[[Run], Collection[int] | None]
"""Picks jobs of a run by id; None is all of them."""


def cancel(run_id: int, *, store: Store, dispatcher: Dispatcher) -> Run:
    """End a run: what waits ends now, what runs is stopped within a heartbeat. Twice is fine.

    Jobs that have an `if` go on where it is met all the same, as with `always()`.
    """
    return advance(run_id, lifecycle.cancel, store=store, dispatcher=dispatcher).after


def force_cancel(run_id: int, *, store: Store, dispatcher: Dispatcher) -> Run:
    """End a run now, whatever an `if` says; the steps that run are killed within a heartbeat."""
    return advance(run_id, lifecycle.end, store=store, dispatcher=dispatcher).after


def rerun(run_id: int, *, store: Store, dispatcher: Dispatcher, chosen: Chosen = lambda run: None) -> Run:
    """Every job again, or those that are chosen, as a new attempt of the same run at the same commit."""
    return advance(
        run_id, lambda run, now: lifecycle.rerun(run, chosen(run)), store=store, dispatcher=dispatcher
    ).after
