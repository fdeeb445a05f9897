"""The REST API: FastAPI for its OpenAPI document. A guard in front says who asks."""

from importlib.metadata import version

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runner.errors import RunnerError
from runner.web import (
    artifacts,
    audit,
    caches,
    deliveries,
    dispatches,
    environments,
    repositories,
    runs,
    secrets,
    stops,
    tokens,
)
from runner.web.access import Access
from runner.web.answers import failure, refusal
from runner.web.site import Site

PREFIX = "/api/v1"
DESCRIPTION = """Everything needs `Authorization: Bearer TOKEN`; the admin token is in the file
`admin-token` of the server's home, and makes others with roles.
Errors are `{"error": WORD, "message": TEXT}`."""


def create_api(site: Site) -> FastAPI:
    # Only for the document: what decides stands in front of this app.
    bearer = HTTPBearer(auto_error=False, description="The admin token, or one made with it.")
    api = FastAPI(
        title="runner",
        version=version("runner"),
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(bearer), Depends(Access(site))],
        redirect_slashes=False,
        root_path_in_servers=False,
        servers=[{"url": PREFIX}],
    )
    for subject in (
        *(artifacts, caches, dispatches, secrets, environments, stops),
        *(repositories, runs, deliveries, tokens, audit),
    ):
        api.include_router(subject.routes(site))
    api.add_exception_handler(RunnerError, _refused)
    api.add_exception_handler(RequestValidationError, _misshapen)
    api.add_exception_handler(HTTPException, _http_error)
    return api


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RunnerError):
        raise error
    return refusal(error)


async def _misshapen(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    wrong = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return failure(400, "rejected", wrong)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    word = {404: "not_found", 405: "method"}.get(error.status_code, "rejected")
    return failure(error.status_code, word, str(error.detail))
