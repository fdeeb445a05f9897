"""The process in which a workflow runs: it asks the engine for steps and runs their bodies.

The main thread has the event loop and the workflow in it. Another one hears the engine, also while the
workflow blocks that loop.
"""

import asyncio
import contextvars
import inspect
import json
import os
import selectors
import sys
import threading
import traceback
from datetime import datetime
from types import ModuleType
from typing import Any, Callable, Optional, cast

from runner.sdk import wire
from runner.sdk.bodies import Bodies, leave, within
from runner.sdk.line import Diverted, Line
from runner.sdk.memory import Memory
from runner.sdk.modules import Modules, Repository, remember
from runner.sdk.prints import Printed
from runner.sdk.stacks import awaiting, line_of, theirs
from runner.sdk.steps import Body, Handle, Step
from runner.sdk.told import failure_of, told, value_of
from runner.sdk.values import Event, Route


class Host:
    """The asker behind a workflow's `Step`, at the far end of the engine's channel."""

    def __init__(self, line: Line, begin: wire.Message) -> None:
        self.line = line
        self.begin = begin
        self.at = datetime.fromisoformat(begin["at"])
        self.seed = str(begin["seed"])
        self.loop = asyncio.SelectorEventLoop(_Watched(self._quiet))
        self.bodies = Bodies(line, self.loop, begin["workspace"])
        self._modules = Modules(line)
        self.seen = 0
        self.cancelled = False
        self._asked: dict[int, tuple[Handle[Any], str, Optional[Body], contextvars.Context]] = {}
        self._memory = Memory()
        self._count = 0
        self._said: Any = None
        self._parts: dict[int, list[str]] = {}
        self._main: Optional[asyncio.Task[Any]] = None
        self._failed: list[Handle[Any]] = []
        self._torn: Optional[BaseException] = None
        """What tore down the loop that the workflow runs in."""
        self._over = False
        self.step = Step(self)
        self._undoing = False
        """Whether what was done is taken back: that comes to its end, though the job is cancelled."""

    # --- what the workflow asks for ------------------------------------------------------------------

    def ask(self, kind: str, name: str, request: dict[str, Any], body: Optional[Body]) -> Handle[Any]:
        if within() is not None:
            raise RuntimeError(f"step {name}: a step cannot be asked for within the body of another one")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"step {name}: steps are asked for by the workflow itself, not by its threads")
        if self._over:
            raise RuntimeError(f"step {name}: the workflow has ended")
        if self._undoing:
            request = {**request, "takes-back": True}
        number = self._count + 1
        message = {"is": "ask", "id": number, "kind": kind, "name": name, "request": request}
        # It may be nothing that can be sent: then it was not asked for.
        self.line.send({**message, "line": line_of(sys._getframe(1))}, soon=False)
        self._count = number
        handle: Handle[Any] = Handle(name, self.loop.create_future())
        self._asked[number] = (handle, kind, body, contextvars.copy_context())
        self._memory.ask(number, name)
        handle._future.add_done_callback(lambda future: self._drop(number) if future.cancelled() else None)
        return handle

    def _drop(self, number: int) -> None:
        if self._asked.pop(number, None) is None or self._over:
            return
        self.line.send({"is": "drop", "id": number}, soon=False)
        self.bodies.end(number, "cancel")

    # --- what the engine says --------------------------------------------------------------------------

    def hear(self) -> None:
        """Of a thread of its own: hear the engine to its end."""
        try:
            while True:
                message = self.line.receive()
                if message["is"] == "where":
                    self.line.send({"is": "stack", "text": self._where()})
                elif message["is"] == "source":
                    self._modules.learn(message)
                elif message["is"] == "part":
                    self._parts.setdefault(message["id"], []).append(message["text"])
                else:
                    self.loop.call_soon_threadsafe(self._obey, message)
        except (Diverted, OSError, RuntimeError):
            # Nothing is to be done any more for an engine that is gone, least of all twice.
            os._exit(1)

    def _where(self) -> str:
        """Where the main thread is, or else what the workflow waits for."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        stack = theirs(traceback.extract_stack(frame))
        if not stack and self._main is not None:
            stack = theirs(awaiting(self._main.get_coro()))
        return "".join(traceback.format_list(stack))

    def _obey(self, message: wire.Message) -> None:
        try:
            self._do(message)
        except Exception:  # noqa: BLE001 - whatever it is, the engine would wait for ever
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)

    def _do(self, message: wire.Message) -> None:
        self.seen = message["n"]
        kind = message["is"]
        if kind == "recall":
            self._recall(message)
        elif kind == "memory":
            self._memory.learn(message["steps"])
        elif kind == "proceed":
            self._proceed(message)
        elif kind == "stop":
            self.bodies.end(message["id"], message["why"])
        elif kind == "cancel":
            self.cancelled = True
            if self._main is not None and not self._undoing:
                self._main.cancel()

    def _recall(self, message: wire.Message) -> None:
        found = self._asked.pop(message["id"], None)
        parts = self._parts.pop(message["id"], None)
        if parts is not None:
            message["value"] = json.loads("".join(parts))
        self.at = datetime.fromisoformat(message["at"])
        os.environ.update(message.get("env") or {})
        if found is None:
            return
        handle, kind, _, _ = found
        if handle._future.done():
            return
        if message["ok"]:
            try:
                value = value_of(kind, message)
            except TypeError:
                # Then it was another step: the engine finds that out as well, and says what it was.
                return
            handle._future.set_result(value)
        else:
            handle._future.set_exception(failure_of(handle.name, message["value"]))
            # Whoever gathers others too may never look at it.
            handle._future.exception()
            self._failed.append(handle)

    def _proceed(self, message: wire.Message) -> None:
        number = message["id"]
        if number not in self._asked:
            # It was given up as this came.
            self.bodies.give_up(number, message)
            return
        _, kind, body, asked = self._asked[number]
        self.bodies.begin(number, kind, body, asked, message)

    # --- the workflow ------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the loading of its file to its end."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda loop, context: None)
        os.register_at_fork(after_in_child=self._forked)
        sys.stdout = Printed(self.bodies, sys.stdout)
        sys.stderr = Printed(self.bodies, sys.stderr)
        threading.Thread(target=self.hear, name="engine", daemon=True).start()
        os.chdir("/")
        try:
            function = self._load()
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a module is how the workflow fails
            self._end("failure", told(error))
            return
        self._main = self.loop.create_task(self._workflow(function))
        while not self._over:
            try:
                self.loop.run_until_complete(self._main)
            except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a task tears the loop down
                if self._main.done():
                    # It was cancelled before it could begin, or what it took back tore it down.
                    self._end("cancelled" if self.cancelled else "failure", told(error))
                elif not self._undoing:
                    self._torn = error
                    self._main.cancel()

    def _forked(self) -> None:
        """In a process that a body has forked: it has no part in the conversation."""
        self.bodies.is_fork = True
        self.line.close()

    def _load(self) -> Callable[[Event, Step], Any]:
        sys.meta_path.insert(0, Repository(self._modules, False))
        sys.meta_path.append(Repository(self._modules, True))
        module = ModuleType("__workflow__")
        module.__file__ = self.begin["path"]
        sys.modules["__workflow__"] = module
        path, text = self.begin["path"], self.begin["text"]
        remember(path, text)
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
        function = getattr(module, self.begin["function"], None)
        if not callable(function):
            raise AttributeError(f"{path} has no function {self.begin['function']} once it has been run")
        return cast(Callable[[Event, Step], Any], function)

    async def _workflow(self, function: Callable[[Event, Step], Any]) -> None:
        given = dict(self.begin["event"])
        event = Event(**{**given, "route": Route(**given["route"])})
        try:
            value = await function(event, self.step)
            self._check_awaited()
            text = _as_json(value)
        except asyncio.CancelledError as error:
            if self._torn is not None or not self.cancelled:
                await self._undo("failure", told(self._torn or error))
            else:
                await self._undo("cancelled", None)
        except BaseException as error:  # noqa: BLE001 - so is it in the workflow itself
            await self._undo("failure", told(error))
        else:
            self._end("success", text)

    def _check_awaited(self) -> None:
        """Raises where the workflow ends and never looked how a step of it did."""
        left = [one[0].name for one in self._asked.values() if not one[0]._future.done()]
        if left:
            raise RuntimeError(
                f"the workflow ended before steps that it asked for: {', '.join(left[:5])}; await them"
            )
        for handle in self._failed:
            if not handle._awaited:
                raise RuntimeError(
                    f"step {handle.name} failed, and the workflow never awaited it"
                ) from handle._future.exception()

    async def _undo(self, result: str, why: Optional[dict[str, Any]]) -> None:
        """Take back what was done, the newest first, whatever fails of it."""
        self._undoing = True
        for number in [*self._asked]:
            self._asked[number][0].cancel()
        own = {asyncio.current_task(), self._main, *(one.task for one in self.bodies.running.values())}
        for task in asyncio.all_tasks() - own:
            task.cancel()
        # What is given up is said before anything else is asked for.
        await asyncio.sleep(0)
        undone, self.step.undone = self.step.undone[::-1], []
        for name, undo, value in undone:
            try:
                if isinstance(undo, str):
                    await self.step.sh(name, undo)
                else:
                    await self.step.do(name, _bound(undo, value))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is told with the rest
                why = {**(why or {}), "undo": [*(why or {}).get("undo", ()), str(error)]}
        self._end("cancelled" if self.cancelled else result, why)

    def _end(self, result: str, value: Any) -> None:
        self._over = True
        sys.stdout.flush()
        try:
            self.line.send({"is": "end", "result": result, "value": value})
        except wire.TooLong as error:
            why = {"reason": f"the value of the workflow is too long: {error}", "type": "TooLong"}
            self.line.send({"is": "end", "result": "failure", "value": why})

    def _quiet(self, later: bool) -> bool:
        """Nothing can go on without an answer, but for what comes `later`; whether there was one ahead."""
        if self.bodies.is_fork:
            leave()
        known = self._memory.take(self._asked)
        if known is not None:
            self.line.send({"is": "took", "id": known["id"]}, soon=False)
            self._recall(known)
            return True
        said = (self.seen, self._count, len(self.bodies.running), len(self._asked), later)
        if said != self._said and not self._over:
            self._said = said
            message = {"is": "idle", "seen": self.seen, "running": len(self.bodies.running), "later": later}
            self.line.send(message, soon=False)
        self.line.flush()
        return False


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"what the workflow returns is nothing that JSON knows: {error}") from None


def _bound(undo: Callable[[Any], Any], value: Any) -> Body:
    if inspect.iscoroutinefunction(undo):

        async def body() -> Any:
            return await undo(value)

        return body
    return lambda: undo(value)


class _Watched(selectors.DefaultSelector):
    """Says when the loop that it serves is about to wait."""

    def __init__(self, quiet: Callable[[bool], bool]) -> None:
        super().__init__()
        self._quiet = quiet

    def select(self, timeout: Optional[float] = None) -> Any:
        # The loop's own pipe is always there.
        if (timeout is None or timeout > 0) and self._quiet(timeout is not None or len(self.get_map()) > 1):
            timeout = 0
        return super().select(timeout)


def main() -> None:
    """Run the workflow that the engine has, at the end of the channel whose path is the only argument."""
    line = Line(sys.argv[1])
    begin = line.receive()
    # The name under which it was started is none of the repository's modules.
    sys.argv = [begin["path"]]
    for name in begin.get("apart", ()):
        # It is for this process, and for none that the workflow begins.
        os.environ.pop(name, None)
    host = Host(line, begin)
    host.run()
    # Bodies that were given up may still run, and nobody waits for them.
    sys.stdout.flush()
    os._exit(0)
