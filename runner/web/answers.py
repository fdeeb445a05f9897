"""JSON answers, and what each family of errors becomes."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from runner.errors import (
    BrokenDefinition,
    Forbidden,
    NotFound,
    Rejected,
    RunnerError,
    Unauthorized,
    Unavailable,
)
from runner.forges.payload import UnsupportedType

RETRY_AFTER = "5"
"""Seconds after which a sender may try again what we could not do."""


class TooLarge(Rejected):
    """The body is over its limit."""


class TooSlow(Rejected):
    """The body did not arrive in time."""


class Conflict(Rejected):
    """The request is fine by itself, and does not fit what is there."""


# The first that fits counts.
ERRORS: tuple[tuple[type[RunnerError], int, str], ...] = (
    (Unauthorized, 401, "unauthorized"),
    (Forbidden, 403, "forbidden"),
    (NotFound, 404, "not_found"),
    (TooSlow, 408, "too_slow"),
    (Conflict, 409, "conflict"),
    (TooLarge, 413, "too_large"),
    (UnsupportedType, 415, "unsupported_type"),
    (Rejected, 400, "rejected"),
    (BrokenDefinition, 422, "broken_definition"),
    (Unavailable, 503, "unavailable"),
)
HEADERS = {
    401: {"www-authenticate": 'Bearer realm="runner"'},
    503: {"retry-after": RETRY_AFTER},
}


def answer(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(content, separators=(",", ":")).encode(),
        status,
        {"content-type": "application/json", **(headers or {})},
    )


def failure(status: int, error: str, message: str) -> Response:
    return answer(status, {"error": error, "message": message}, HEADERS.get(status))


def refusal(error: RunnerError) -> Response:
    """The answer to a request that ended with `error`."""
    for family, status, word in ERRORS:
        if isinstance(error, family):
            return failure(status, word, str(error))
    return failure(500, "internal", "the server failed; its log says why")
