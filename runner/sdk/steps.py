"""The steps that a workflow can ask for."""

import asyncio
from collections.abc import Awaitable, Generator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, Protocol, TypeVar, Union, overload

from runner.sdk.spans import Span, seconds
from runner.sdk.terms import (
    LONGEST_NAME,
    Paths,
    Retry,
    Undo,
    check_text,
    check_undo,
    input_of,
    instant_of,
    named,
    terms_of,
    text_of,
    variables_of,
)
from runner.sdk.values import Approval, Child, Received, Shell, Used

if TYPE_CHECKING:
    # Each time a workflow goes on it is loaded anew, and most never ask for them.
    from random import Random
    from uuid import UUID

Value = TypeVar("Value")

Body = Callable[[], Any]
"""Gives a value that JSON knows, or an awaitable of one."""


class Asker(Protocol):
    """Who answers: the engine at the other end of a channel, or one made for tests."""

    def ask(self, kind: str, name: str, request: dict[str, Any], body: Optional[Body]) -> "Handle[Any]": ...

    @property
    def at(self) -> datetime: ...

    @property
    def seed(self) -> str: ...


class Handle(Awaitable[Value], Generic[Value]):
    """A step that was asked for: it goes on whether it is awaited or not. `cancel` gives it up."""

    def __init__(self, name: str, future: "asyncio.Future[Value]") -> None:
        self.name = name
        self._future = future
        self._awaited = False

    def __await__(self) -> Generator[Any, None, Value]:
        self._awaited = True
        return self._future.__await__()

    def cancel(self) -> bool:
        self._awaited = True
        return self._future.cancel()

    @property
    def future(self) -> "asyncio.Future[Value]":
        self._awaited = True
        return self._future


class Step:
    """Asks for steps. Each is asked for when its method is called, and gives its value when it is awaited.

    A name says what a step is, up to 256 letters; the second step of one name is another step.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._random: Optional[Random] = None
        self.undone: list[tuple[str, Undo, Any]] = []
        """What is taken back if the workflow fails, in the order in which it was done."""

    # --- steps ---------------------------------------------------------------------------------

    @overload
    def do(
        self,
        name: str,
        body: Callable[[], Awaitable[Value]],
        *,
        retry: Optional[Retry] = ...,
        timeout: Optional[Span] = ...,
        rollback: Optional[Undo] = ...,
        on_lost: Optional[str] = ...,
    ) -> Handle[Value]: ...

    @overload
    def do(
        self,
        name: str,
        body: Callable[[], Value],
        *,
        retry: Optional[Retry] = ...,
        timeout: Optional[Span] = ...,
        rollback: Optional[Undo] = ...,
        on_lost: Optional[str] = ...,
    ) -> Handle[Value]: ...

    def do(
        self,
        name: str,
        body: Body,
        *,
        retry: Optional[Retry] = None,
        timeout: Optional[Span] = None,
        rollback: Optional[Undo] = None,
        on_lost: Optional[str] = None,
    ) -> Handle[Any]:
        """Run a function of no arguments, or a coroutine function, once.

        Its value is what JSON knows. It may run again where its worker died before the value was kept, as
        `on_lost` says (retry, fail or ask). Raises `StepFailed` when it is awaited.
        """
        if not callable(body):
            raise TypeError(f"step {name}: do() takes a function to call, not {type(body).__name__}")
        request = terms_of(name, retry, timeout, on_lost)
        if rollback is not None:
            check_undo(name, rollback)
        return self._undoing(name, rollback, self._asker.ask("do", named(name), request, body))

    def sh(
        self,
        name: str,
        command: str,
        *,
        env: Optional[Mapping[str, str]] = None,
        shell: Optional[str] = None,
        working_directory: str = "",
        retry: Optional[Retry] = None,
        timeout: Optional[Span] = None,
        rollback: Optional[Undo] = None,
        on_lost: Optional[str] = None,
    ) -> Handle[Shell]:
        """Run a command in the workspace as a `run:` step does; gives `Shell`, or raises `StepFailed`."""
        if not isinstance(command, str):
            raise TypeError(f"step {name}: sh() takes a command as text, not {type(command).__name__}")
        request = terms_of(name, retry, timeout, on_lost)
        check_text(name, shell=shell, working_directory=working_directory)
        request["command"] = command
        request["env"] = variables_of(name, env)
        request["shell"] = shell
        request["folder"] = working_directory
        if rollback is not None:
            check_undo(name, rollback)
        return self._undoing(name, rollback, self._asker.ask("sh", named(name), request, None))

    def sleep(self, name: str, span: Span) -> Handle[None]:
        """Wait for a span of time, without a worker."""
        return self._asker.ask("sleep", named(name), {"seconds": seconds(span, f"step {name}")}, None)

    def sleep_until(self, name: str, at: Union[datetime, str]) -> Handle[None]:
        """Wait until an instant: a `datetime` with its zone, or ISO 8601 with one."""
        moment = instant_of(name, at)
        if moment - self.now() > timedelta(days=365):
            raise ValueError(f"step {name}: {moment.isoformat()} is more than 365 days ahead")
        until = moment.astimezone(timezone.utc).isoformat()
        return self._asker.ask("until", named(name), {"until": until}, None)

    def wait_for_event(self, name: str, *, type: str, timeout: Span = "24 hours") -> Handle[Received]:
        """Wait for an event that is sent to the run (`runner runs signal`); gives `Received`.

        One that was sent before is taken at once. Raises `TimedOut`.
        """
        if not isinstance(type, str) or not 0 < len(type) < LONGEST_NAME or not type.isprintable():
            raise ValueError(f"step {name}: type is the name of an event, of 1 to 255 letters, not {type!r}")
        request = {"type": type, "seconds": seconds(timeout, f"step {name}: timeout")}
        return self._asker.ask("event", named(name), request, None)

    def approve(
        self,
        name: str,
        message: str = "",
        *,
        approvers: Sequence[str] = (),
        timeout: Optional[Span] = None,
    ) -> Handle[Approval]:
        """Wait for a person's yes; gives `Approval`. Raises `Rejected`, `TimedOut`."""
        check_text(name, message=message)
        if isinstance(approvers, str) or not all(isinstance(one, str) and one.strip() for one in approvers):
            raise TypeError(f"step {name}: approvers are names in a list, not {approvers!r}")
        request: dict[str, Any] = {"message": message, "approvers": list(approvers)}
        request["seconds"] = None if timeout is None else seconds(timeout, f"step {name}: timeout")
        return self._asker.ask("approve", named(name), request, None)

    # --- other workflows, actions, files -----------------------------------------------------------

    def run_workflow(
        self,
        name: str,
        workflow: str,
        *,
        inputs: Optional[Mapping[str, Any]] = None,
        timeout: Optional[Span] = None,
    ) -> "Handle[Child]":
        """Run another workflow of the repository, at the same commit, as a run of its own; gives `Child`.

        `workflow` is its path, or the name of its file; its `on` has a `workflow_dispatch`, and the inputs
        that it may be given. It is started once, however often this workflow is run again, and this one waits
        for its end without a worker. It is cancelled with the step. Raises `StepFailed` where it does not
        succeed, `TimedOut`.
        """
        if not isinstance(workflow, str) or not workflow:
            raise TypeError(f"step {name}: run_workflow() takes the path of a workflow, not {workflow!r}")
        limit = None if timeout is None else seconds(timeout, f"step {name}: timeout")
        given = {str(key): input_of(name, key, value) for key, value in (inputs or {}).items()}
        request = {"workflow": workflow, "inputs": given, "seconds": limit}
        return self._asker.ask("run", named(name), request, None)

    @overload
    def uses(self, name: str, action: str, **terms: Mapping[str, Any]) -> "Handle[Used]": ...

    @overload
    def uses(
        self,
        name: str,
        action: str,
        *,
        timeout: Optional[Span] = ...,
        retry: Optional[Retry] = ...,
        on_lost: Optional[str] = ...,
        **terms: Any,
    ) -> "Handle[Used]": ...

    def uses(
        self,
        name: str,
        action: str,
        *,
        timeout: Any = None,
        retry: Any = None,
        on_lost: Any = None,
        **terms: Any,
    ) -> "Handle[Used]":
        """Have the server do what one of its own actions does, `**{"with": {...}}` what it is given.

        These are `actions/checkout`, `actions/upload-artifact`, `actions/download-artifact` and
        `actions/cache`, with those in their folders. Gives `Used`.
        """
        given = terms.pop("with", None) or {}
        if terms:
            raise TypeError(f"step {name}: uses() takes no {', '.join(terms)}; inputs are **{{'with': ...}}")
        if not isinstance(action, str):
            raise TypeError(f"step {name}: uses() takes the name of an action, not {type(action).__name__}")
        if not isinstance(given, Mapping):
            raise TypeError(f"step {name}: with is a mapping of inputs, not {type(given).__name__}")
        return self._use(name, action, given, terms_of(name, retry, timeout, on_lost))

    def _use(self, name: str, action: str, given: Mapping[str, Any], terms: dict[str, Any]) -> "Handle[Used]":
        texts = {str(key): text_of(name, key, value) for key, value in given.items()}
        return self._asker.ask("uses", named(name), {**terms, "action": action, "with": texts}, None)

    def artifact(
        self,
        name: str,
        path: Paths,
        *,
        artifact: str = "artifact",
        retention_days: Optional[int] = None,
        if_no_files_found: str = "error",
        overwrite: bool = False,
        include_hidden_files: bool = False,
        timeout: Optional[Span] = None,
    ) -> "Handle[Used]":
        """Keep files of the workspace as an artifact of the run; gives `Used` with its `artifact-id`.

        `path`: one or several, patterns too. `if_no_files_found` is error, warn or ignore.
        """
        given = {
            "name": artifact,
            "path": path,
            "if-no-files-found": if_no_files_found,
            "overwrite": overwrite,
            "include-hidden-files": include_hidden_files,
        }
        if retention_days is not None:
            given["retention-days"] = retention_days
        return self._use(name, "actions/upload-artifact@v4", given, terms_of(name, None, timeout, None))

    def download(
        self,
        name: str,
        *,
        artifact: str = "",
        pattern: str = "",
        path: str = "",
        merge_multiple: bool = False,
        run: Optional[int] = None,
        timeout: Optional[Span] = None,
    ) -> "Handle[Used]":
        """Bring an artifact of the run back, or all whose names fit a pattern; gives `Used`.

        `run`: of another run of the repository, by its id.
        """
        given = {"name": artifact, "pattern": pattern, "path": path, "merge-multiple": merge_multiple}
        if run is not None:
            given["run-id"] = run
        given = {key: value for key, value in given.items() if value != ""}
        return self._use(name, "actions/download-artifact@v4", given, terms_of(name, None, timeout, None))

    def cache(
        self,
        name: str,
        *,
        key: str,
        path: Paths,
        restore_keys: Sequence[str] = (),
        save: bool = True,
        timeout: Optional[Span] = None,
    ) -> "Handle[Used]":
        """Bring back files that an earlier run of the repository left under a key; gives `Used` with `hit`.

        Where there is none of this key they are saved under it when the job has succeeded, unless `save` is
        false: `save_cache` then saves them where it is asked.
        """
        given: dict[str, Any] = {"key": key, "path": path}
        if restore_keys:
            given["restore-keys"] = [restore_keys] if isinstance(restore_keys, str) else list(restore_keys)
        action = "actions/cache@v4" if save else "actions/cache/restore@v4"
        return self._use(name, action, given, terms_of(name, None, timeout, None))

    def save_cache(
        self, name: str, *, key: str, path: Paths, timeout: Optional[Span] = None
    ) -> "Handle[Used]":
        """Keep files for later runs of the repository under a key that no cache has yet; gives `Used`."""
        given = {"key": key, "path": path}
        return self._use(name, "actions/cache/save@v4", given, terms_of(name, None, timeout, None))

    # --- several at once -------------------------------------------------------------------------

    async def gather(self, *steps: Awaitable[Any], cancel: bool = True) -> list[Any]:
        """The values of all steps, in the order in which they are given.

        Raises what the first one that fails raised: with `cancel` the others are given up then, without they
        come to their ends first.
        """
        futures = [_future(one, "gather") for one in steps]
        try:
            when = asyncio.FIRST_EXCEPTION if cancel else asyncio.ALL_COMPLETED
            ended = await _settled(futures, when)
        finally:
            for future in futures:
                future.cancel()
        for future in ended:
            if (error := future.exception()) is not None:
                raise error
        return [future.result() for future in futures]

    async def wait_any(self, *steps: Awaitable[Any]) -> tuple[int, Any]:
        """The place, from 0, and the value of the first step that ends; the others are given up.

        Raises what that one raised.
        """
        if not steps:
            raise ValueError("wait_any() needs steps to wait for")
        futures = [_future(one, "wait_any") for one in steps]
        try:
            ended: list[asyncio.Future[Any]] = []
            while not ended:
                # Those that the workflow has given up itself do not end.
                live = [one for one in futures if not one.cancelled()]
                if not live:
                    raise asyncio.CancelledError("all that wait_any() waits for was given up")
                ended = await _settled(live, asyncio.FIRST_COMPLETED)
        finally:
            for future in futures:
                future.cancel()
        return futures.index(ended[0]), ended[0].result()

    # --- what is the same each time ----------------------------------------------------------------

    def now(self) -> datetime:
        """The time, in UTC, at which the newest of the steps so far had ended."""
        return self._asker.at

    def random(self) -> float:
        """From 0.0 up to 1.0, the same each time the workflow is run again."""
        return self._dice().random()

    def uuid(self) -> "UUID":
        """A random one (version 4), the same each time the workflow is run again."""
        from uuid import UUID

        dice = self._dice()
        dice.random()
        return UUID(int=dice.getrandbits(128), version=4)

    def _dice(self) -> "Random":
        if self._random is None:
            from random import Random

            self._random = Random(self._asker.seed)
        return self._random

    # --- taking back -------------------------------------------------------------------------------

    def rollback(self, name: str, undo: Undo) -> None:
        """Have something done if the workflow fails from here on, or is cancelled: the newest first."""
        check_undo(name, undo)
        self.undone.append((named(name), undo, None))

    def _undoing(self, name: str, undo: Optional[Undo], handle: Handle[Value]) -> Handle[Value]:
        if undo is not None:

            def ended(future: "asyncio.Future[Any]") -> None:
                if not future.cancelled() and future.exception() is None:
                    self.undone.append((f"rollback {name}"[:LONGEST_NAME], undo, future.result()))

            handle._future.add_done_callback(ended)
        return handle


def _future(step: Awaitable[Any], what: str) -> "asyncio.Future[Any]":
    if not isinstance(step, Awaitable):
        raise TypeError(f"{what}() takes steps, and other things to await, not {type(step).__name__}")
    return step.future if isinstance(step, Handle) else asyncio.ensure_future(step)


async def _settled(futures: Sequence["asyncio.Future[Any]"], when: str) -> list["asyncio.Future[Any]"]:
    """Wait; gives those that ended, in their order: a set would have another one each time."""
    ended: list[asyncio.Future[Any]] = [future for future in futures if future.done()]
    for future in futures:
        if not future.done():
            future.add_done_callback(ended.append)
    if futures:
        await asyncio.wait(futures, return_when=when)
    return [future for future in ended if not future.cancelled()]
