"""Reading a request's body: bounded in bytes and in time, before anything looks at it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from pydantic import BaseModel, model_validator
from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.web.answers import TooLarge, TooSlow, refusal

BODY_SECONDS = 15.0


class Asked(BaseModel, extra="forbid"):
    """What a request asks for. A field that is not known is refused: whoever misspelt one meant something."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        unknown = (
            [name for name in given if name not in cls.model_fields] if isinstance(given, Mapping) else ()
        )
        if unknown:
            names = {"unknown": f"{unknown[0][:100]!a}", "known": ", ".join(cls.model_fields)}
            raise PydanticCustomError("unknown_field", "no field {unknown}; there are {known}", names)
        return given


class Gone(Exception):
    """The client hung up before the body had arrived."""


async def read_body(
    headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int, seconds: float = BODY_SECONDS
) -> bytes:
    """The whole body, of at most `limit` bytes; a larger one is refused before it is read to its end.

    Errors: `TooLarge`, `TooSlow`, `Gone`.
    """
    _check_announced(headers, limit)
    try:
        async with asyncio.timeout(seconds):
            return await _whole(receive, limit)
    except TimeoutError:
        raise TooSlow(f"the body took longer than {seconds:g} s") from None


async def _whole(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return bytes(body)


def _check_announced(headers: Iterable[tuple[bytes, bytes]], limit: int) -> None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            raise _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than the limit of {limit} bytes")


class BoundedBodies:
    """Hands an app its request bodies whole, or answers in its place; `limit` gives the bytes for a path."""

    def __init__(self, app: ASGIApp, limit: Callable[[str], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(scope["headers"], receive, self._limit(scope["path"]))
        except (TooLarge, TooSlow) as error:
            await refusal(error)(scope, receive, send)
            return
        except Gone:
            return
        await self._app(scope, _replay(body, receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed
