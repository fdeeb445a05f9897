"""`POST /hooks/{forge}`: verify the raw bytes, store once, answer 202; the work comes after."""

import logging
from collections.abc import Iterable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runner.engine.ports import Forge
from runner.errors import NotFound, RunnerError, Unavailable
from runner.model.source import Delivery
from runner.web.answers import answer, failure, refusal
from runner.web.bodies import Gone, read_body
from runner.web.intake import Intake

BODY_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


class Webhooks:
    """`address` is the server's, for the URLs of deliveries."""

    def __init__(self, forges: Mapping[str, Forge], intake: Intake, address: str) -> None:
        self._forges = forges
        self._intake = intake
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive)
        except Gone:
            return
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        name = scope["path"].removeprefix("/hooks/")
        forge = self._forges.get(name)
        if forge is None:
            return refusal(NotFound(f"no forge {name[:100]!r}; there are {', '.join(sorted(self._forges))}"))
        if scope["method"] != "POST":
            return failure(405, "method", "webhooks are POSTed")
        try:
            body = await read_body(scope["headers"], receive, BODY_BYTES)
            delivery = await self._intake.take(name, forge, _readable(scope["headers"]), body)
        except Unavailable as error:
            # The forge may not send it again: whoever looks after the server has to know.
            log.error("delivery not stored", extra={"forge": name, "error": str(error)})
            return refusal(error)
        except RunnerError as error:
            log.info("delivery refused", extra={"forge": name, "error": str(error)})
            return refusal(error)
        return self._accepted(delivery)

    def _accepted(self, delivery: Delivery) -> Response:
        url = f"{self._address}/api/v1/deliveries/{delivery.id}"
        content = {"delivery": delivery.id, "status": delivery.status, "reason": delivery.reason, "url": url}
        return answer(202, content, {"location": url})


def _readable(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name, as servers hand them on; Latin-1 can read any byte."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
