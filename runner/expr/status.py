"""`success()` and its kin: what each says about how things stand."""

from collections.abc import Callable, Mapping


def status_functions(job: str, composite: str | None = None) -> Mapping[str, Callable[[], bool]]:
    """The functions for a step of a job that stands as `job` (success, failure or cancelled).

    Inside a composite action its own steps are asked (`composite`), but a cancelled job is cancelled
    everywhere.
    """
    here = job if composite is None else composite
    return {
        "success": lambda: here == "success",
        "failure": lambda: here == "failure",
        "cancelled": lambda: job == "cancelled",
        "always": lambda: True,
    }
