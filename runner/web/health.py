"""/healthz (the process), /readyz (what it depends on) and /version."""

from collections.abc import Callable
from importlib.metadata import version

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from runner.errors import Unavailable
from runner.web.answers import answer
from runner.web.site import Site


class Health:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def alive(self, request: Request) -> Response:
        return answer(200, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        reasons = await run_in_threadpool(self._reasons)
        if reasons:
            return answer(503, {"status": "not ready", "reasons": reasons}, {"retry-after": "5"})
        return answer(200, {"status": "ready"})

    async def version(self, request: Request) -> Response:
        return answer(200, {"version": version("runner")})

    def _reasons(self) -> list[str]:
        checks: tuple[Callable[[], None], ...] = (self._check_database, self._site.check_broker)
        return [reason for check in checks if (reason := _reason(check))]

    def _check_database(self) -> None:
        self._site.database.check(running=True)


def _reason(check: Callable[[], None]) -> str | None:
    try:
        check()
    except Unavailable as error:
        return str(error)
    return None
