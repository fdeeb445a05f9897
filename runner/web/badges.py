"""Badges: GitHub's address and shields.io's look, without asking either.

A repository that nobody registered and one without runs give the same bytes. GitHub's image proxy
caches what lacks `Cache-Control: no-cache` and an ETag, so there are both.
"""

import hashlib
import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from runner.store.read_models import BadgeState
from runner.web.badge_shapes import SHAPES
from runner.web.site import Site
from runner.web.text import one_line

MESSAGES = {
    "success": ("passing", "#4c1", "brightgreen"),
    "failure": ("failing", "#e05d44", "red"),
    "timed_out": ("timed out", "#e05d44", "red"),
    "cancelled": ("cancelled", "#9f9f9f", "lightgrey"),
}
NO_RUNS = ("no runs", "#9f9f9f", "lightgrey")
LABEL = "build"
"""Said where there is no run whose workflow has a name."""
LABEL_LETTERS = 60


class Badges:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def picture(self, request: Request) -> Response:
        state = await self._state(request)
        label, (message, colour, _) = _said(state)
        shape = SHAPES.get(request.query_params.get("style", ""), SHAPES["flat"])
        return _cached(request, shape(label, message, colour).encode(), "image/svg+xml")

    async def endpoint(self, request: Request) -> Response:
        """In shields.io's form: https://shields.io/badges/endpoint-badge"""
        label, (message, _, colour) = _said(await self._state(request))
        content = {
            "schemaVersion": 1,
            "label": label,
            "message": message,
            "color": colour,
            "isError": colour == "red",
        }
        return _cached(request, json.dumps(content).encode(), "application/json")

    async def _state(self, request: Request) -> BadgeState | None:
        path, query = request.path_params, request.query_params
        return await run_in_threadpool(
            self._site.views.badge,
            path["repo"],
            path.get("workflow"),
            query.get("branch"),
            query.get("event"),
        )


def _said(state: BadgeState | None) -> tuple[str, tuple[str, str, str]]:
    if state is None:
        return LABEL, NO_RUNS
    return one_line(state.name)[:LABEL_LETTERS] or LABEL, MESSAGES[state.status]


def _cached(request: Request, content: bytes, kind: str) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-cache", "x-content-type-options": "nosniff"}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    # Shown on its own, an SVG is a document: it gets nothing to load and nothing to run.
    headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return Response(content, headers=headers, media_type=kind)
