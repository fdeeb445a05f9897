"""The process in which a workflow runs: it asks the engine for steps and runs their bodies.

The main thread has the event loop and the workflow in it. Another one hears the engine, also while the
workflow blocks that loop. Each command, and each body that is no coroutine, has one of its own.
"""

import asyncio
import contextvars
import inspect
import io
import json
import linecache
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any, Callable, Optional, cast

from runner.sdk import wire
from runner.sdk.memory import Memory
from runner.sdk.steps import (
    Approval,
    Body,
    Child,
    Event,
    Handle,
    NonRetryable,
    Received,
    Rejected,
    Route,
    Shell,
    Step,
    StepFailed,
    TimedOut,
    Used,
)

OURS = os.path.dirname(os.path.abspath(__file__))
BEGINNING = os.path.join(os.path.dirname(os.path.dirname(OURS)), "__main__.py")
LADDERS = {
    "timeout": ((signal.SIGTERM, 2.0),),
    "cancel": ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)),
}
"""Signals to a command's processes, each with the seconds that these have to end by it; then comes KILL."""
MARKS = ("RUNNER_TEMP", "RUNNER_STEP")
CHUNK = 65536
PRINT = 1024 * 1024
"""Bytes of what is printed that go into one message."""
MOST_FRAMES = 100
MOST_SWEEPS = 20
MOST_LETTERS = 64 * 1024
"""Of what is told of an exception."""
MOST_LEFT = 1024 * 1024
"""Bytes that a pipe can hold."""

_step: "contextvars.ContextVar[Optional[int]]" = contextvars.ContextVar("step", default=None)
"""The step in whose body something runs."""


class Diverted(Exception):
    """The engine is gone, or has no more use for this process."""


class Line:
    """This end of the channel. Any thread may send."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The path may be longer than the address of a socket can be.
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        finally:
            os.close(folder)
        self._lock = threading.Lock()
        self._rest = bytearray()
        self._unsent = bytearray()

    def send(self, message: wire.Message, soon: bool = True) -> None:
        """Send it; `soon`, or with what follows: the engine is woken once instead of twice."""
        data = wire.pack(message)
        with self._lock:
            self._unsent += data
            if soon or len(self._unsent) > CHUNK:
                self._flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, bytearray()
        if unsent:
            self._socket.sendall(unsent)

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> wire.Message:
        """Raises `Diverted` at the end."""
        while True:
            message = wire.unpack(self._rest)
            if message is not None:
                return message
            data = self._socket.recv(CHUNK)
            if not data:
                raise Diverted("the engine is gone")
            self._rest += data


class Running:
    """The body of a step, while it runs; `end` makes it come to its end."""

    def __init__(self, number: int, of: int) -> None:
        self.number = number
        self.of = of
        """The message that asked for it: the step may be run once more while this one does not end."""
        self.ended: Optional[str] = None
        """Why it has to end."""
        self.task: Optional[asyncio.Task[Any]] = None
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.marks: frozenset[bytes] = frozenset()
        """Variables that only its processes have, also those that are in no group of it any more."""
        self.ender: Optional[threading.Thread] = None

    def end(self, why: str) -> None:
        if self.ended is not None:
            return
        self.ended = why
        if self.task is not None:
            self.task.cancel()
        if self.process is not None:
            self.ender = threading.Thread(target=self._bring_down, args=(self.process, why), daemon=True)
            self.ender.start()

    def _bring_down(self, process: "subprocess.Popen[bytes]", why: str) -> None:
        for number, patience in LADDERS.get(why, LADDERS["cancel"]):
            if not _signal(process, number):
                break
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            break
        _signal(process, signal.SIGKILL)
        _kill_marked(self.marks)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Tell the process and all that share its group; False where none is left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _kill_marked(marks: "frozenset[bytes]") -> None:
    """Kill all processes that have these variables, and those that they begin meanwhile."""
    for _ in range(MOST_SWEEPS):
        found = [int(name) for name in os.listdir("/proc") if name.isdecimal() and _is_marked(name, marks)]
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _is_marked(pid: str, marks: "frozenset[bytes]") -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marks <= {*file.read().split(b"\0")}
    except OSError:
        # It is another user's, or has ended since.
        return False


class Host:
    """The asker behind a workflow's `Step`, at the far end of the engine's channel."""

    def __init__(self, line: Line, begin: wire.Message) -> None:
        self.line = line
        self.begin = begin
        self.at = datetime.fromisoformat(begin["at"])
        self.seed = str(begin["seed"])
        self.loop = asyncio.SelectorEventLoop(_Watched(self._quiet))
        self.seen = 0
        self.cancelled = False
        self._asked: dict[int, tuple[Handle[Any], str, Optional[Body], contextvars.Context]] = {}
        self._memory = Memory()
        self._running: dict[int, Running] = {}
        self._count = 0
        self._said: Any = None
        self._sources: dict[str, wire.Message] = {}
        self._parts: dict[int, list[str]] = {}
        self._found = threading.Condition()
        self._main: Optional[asyncio.Task[Any]] = None
        self._failed: list[Handle[Any]] = []
        self._torn: Optional[BaseException] = None
        """What tore down the loop that the workflow runs in."""
        self.is_fork = False
        self._over = False
        self.step = Step(self)
        self._undoing = False
        """Whether what was done is taken back: that comes to its end, though the job is cancelled."""

    # --- what the workflow asks for ------------------------------------------------------------------

    def ask(self, kind: str, name: str, request: dict[str, Any], body: Optional[Body]) -> Handle[Any]:
        if _step.get() is not None:
            raise RuntimeError(f"step {name}: a step cannot be asked for within the body of another one")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"step {name}: steps are asked for by the workflow itself, not by its threads")
        if self._over:
            raise RuntimeError(f"step {name}: the workflow has ended")
        number = self._count + 1
        message = {"is": "ask", "id": number, "kind": kind, "name": name, "request": request}
        # It may be nothing that can be sent: then it was not asked for.
        self.line.send({**message, "line": _line_of(sys._getframe(1))}, soon=False)
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
        if number in self._running:
            self._running[number].end("cancel")

    # --- what the engine says --------------------------------------------------------------------------

    def hear(self) -> None:
        """Of a thread of its own: hear the engine to its end."""
        try:
            while True:
                message = self.line.receive()
                if message["is"] == "where":
                    self.line.send({"is": "stack", "text": self._where()})
                elif message["is"] == "source":
                    with self._found:
                        self._sources[message["module"]] = message
                        self._found.notify_all()
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
        stack = _theirs(traceback.extract_stack(frame))
        if not stack and self._main is not None:
            stack = _theirs(_awaiting(self._main.get_coro()))
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
            if message["id"] in self._running:
                self._running[message["id"]].end(message["why"])
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
                value = _value(kind, message)
            except TypeError:
                # Then it was another step: the engine finds that out as well, and says what it was.
                return
            handle._future.set_result(value)
        else:
            handle._future.set_exception(_failure(handle.name, message["value"]))
            # Whoever gathers others too may never look at it.
            handle._future.exception()
            self._failed.append(handle)

    def _proceed(self, message: wire.Message) -> None:
        number = message["id"]
        if number not in self._asked:
            # It was given up as this came.
            self._running[number] = Running(number, message["n"])
            self._running[number].end("cancel")
            self._tell(self._running[number], False, None)
            return
        _, kind, body, asked = self._asked[number]
        context = asked.copy()
        context.run(_step.set, number)
        if not self._running:
            os.chdir(self.begin["workspace"])
        running = self._running[number] = Running(number, message["n"])
        if kind == "sh":
            work: Callable[[], None] = partial(self._command, running, message)
        elif body is not None and inspect.iscoroutinefunction(body):
            running.task = context.run(self.loop.create_task, self._coroutine(running, body))
            return
        else:
            work = partial(self._function, running, cast(Body, body))
        try:
            threading.Thread(target=context.run, args=(work,), name=f"step {number}", daemon=True).start()
        except RuntimeError as error:
            # There are as many threads as there may be.
            self._tell(running, False, {"reason": f"it cannot be run: {error}"}, 126)

    # --- bodies ----------------------------------------------------------------------------------------

    def _command(self, running: Running, message: wire.Message) -> None:
        env = {**os.environ, **message["env"]}
        running.marks = frozenset(os.fsencode(f"{name}={env.get(name)}") for name in MARKS)
        try:
            process = subprocess.Popen(
                message["argv"],
                env=env,
                cwd=message["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            running.process = process
            if running.ended is not None and running.ender is None:
                running._bring_down(process, running.ended)
            self._follow(running.number, process)
            if running.ender is not None:
                running.ender.join()
        except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            self._tell(running, False, {"reason": f"{message['argv'][0]} cannot be run: {error}"}, 126)
            return
        code = process.returncode
        # As a shell has it for who was killed.
        code = code if code >= 0 else 128 - code
        self._tell(running, code == 0, {"reason": ""} if code else None, code)

    def _follow(self, number: int, process: "subprocess.Popen[bytes]") -> None:
        """Hand on what it prints until it ends: what it left in the background may keep the pipe open."""
        assert process.stdout is not None
        with process.stdout as stdout, selectors.DefaultSelector() as ready:
            pipe = stdout.fileno()
            ready.register(pipe, selectors.EVENT_READ)
            ended = _end_of(process)
            if ended >= 0:
                ready.register(ended, selectors.EVENT_READ)
            try:
                while ended not in (
                    events := [key.fd for key, _ in ready.select(None if ended >= 0 else 0.05)]
                ):
                    data = os.read(pipe, CHUNK) if pipe in events else b"."
                    if not data or (not events and process.poll() is not None):
                        break
                    if events:
                        self._print(number, data)
                process.wait()
            finally:
                if ended >= 0:
                    os.close(ended)
            self._rest(number, pipe)

    def _rest(self, number: int, pipe: int) -> None:
        """What is in the pipe by now, and no more: others may go on to write into it."""
        os.set_blocking(pipe, False)
        for _ in range(MOST_LEFT // CHUNK):
            try:
                data = os.read(pipe, CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            self._print(number, data)

    def _print(self, number: Optional[int], data: bytes) -> None:
        for at in range(0, len(data), PRINT):
            text = data[at : at + PRINT].decode("utf-8", "surrogateescape")
            self.line.send({"is": "print", "id": number, "text": text})

    async def _coroutine(self, running: Running, body: Body) -> None:
        try:
            value = await body()
        except asyncio.CancelledError:
            if running.ended is None:
                self._tell(running, False, {"reason": "it cancelled itself", "type": "CancelledError"})
                return
            self._tell(running, False, {"reason": "it was stopped"})
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is how its step fails
            self._tell(running, False, _told(error))
        else:
            self._give(running, value)

    def _function(self, running: Running, body: Body) -> None:
        try:
            value = body()
            if asyncio.iscoroutine(value):
                # A function that hands on what a coroutine function gave.
                self.loop.call_soon_threadsafe(self._await, running, value)
                return
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is how its step fails
            self._tell(running, False, _told(error))
        else:
            self._give(running, value)

    def _await(self, running: Running, value: Any) -> None:
        async def body() -> Any:
            return await value

        context = contextvars.copy_context()
        context.run(_step.set, running.number)
        running.task = context.run(self.loop.create_task, self._coroutine(running, body))
        if running.ended is not None:
            running.task.cancel()

    def _give(self, running: Running, value: Any) -> None:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            what = f"its value is nothing that JSON knows: {error}"
            self._tell(running, False, {"reason": what, "type": type(error).__name__, "final": True})
            return
        if len(text) > wire.LONGEST_VALUE:
            over = f"its value has {len(text)} bytes as JSON; the limit is {wire.LONGEST_VALUE}"
            self._tell(running, False, {"reason": over, "type": "TooLong", "final": True})
            return
        self._tell(running, True, text)

    def _tell(self, running: Running, ok: bool, value: Any, code: Optional[int] = None) -> None:
        def told() -> None:
            if self._running.get(running.number) is running:
                del self._running[running.number]
            if not self._running:
                # Nobody may be at home in the workspace while its files are kept.
                os.chdir("/")
            # Also of one that nobody waits for any more: only now has it come to its end.
            message = {"is": "tell", "id": running.number, "of": running.of, "stopped": running.ended}
            said = value
            if ok and isinstance(value, str) and len(value) > wire.PART:
                said, about = None, {"is": "part", "id": running.number, "of": running.of}
                for at in range(0, len(value), wire.PART):
                    self.line.send({**about, "text": value[at : at + wire.PART]})
            try:
                self.line.send({**message, "ok": ok, "value": said, "exit": code}, soon=False)
            except wire.TooLong as error:
                over = {"reason": f"its value is too long: {error}", "type": "TooLong", "final": True}
                self.line.send({**message, "ok": False, "value": over, "exit": code})

        if self.is_fork:
            # Its parent tells.
            os._exit(0)
        sys.stdout.flush()
        self.loop.call_soon_threadsafe(told)

    # --- the workflow ------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the loading of its file to its end."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda loop, context: None)
        os.register_at_fork(after_in_child=self._forked)
        sys.stdout = _Printed(self, sys.stdout)
        sys.stderr = _Printed(self, sys.stderr)
        threading.Thread(target=self.hear, name="engine", daemon=True).start()
        os.chdir("/")
        try:
            function = self._load()
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a module is how the workflow fails
            self._end("failure", _told(error))
            return
        self._main = self.loop.create_task(self._workflow(function))
        while not self._over:
            try:
                self.loop.run_until_complete(self._main)
            except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a task tears the loop down
                if self._main.done():
                    # It was cancelled before it could begin, or what it took back tore it down.
                    self._end("cancelled" if self.cancelled else "failure", _told(error))
                elif not self._undoing:
                    self._torn = error
                    self._main.cancel()

    def _forked(self) -> None:
        """In a process that a body has forked: it has no part in the conversation."""
        self.is_fork = True
        self.line.close()

    def _load(self) -> Callable[[Event, Step], Any]:
        sys.meta_path.insert(0, Repository(self, False))
        sys.meta_path.append(Repository(self, True))
        module = ModuleType("__workflow__")
        module.__file__ = self.begin["path"]
        sys.modules["__workflow__"] = module
        path, text = self.begin["path"], self.begin["text"]
        _remember(path, text)
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
            text = json.dumps(value, allow_nan=False)
        except asyncio.CancelledError as error:
            if self._torn is not None or not self.cancelled:
                await self._undo("failure", _told(self._torn or error))
            else:
                await self._undo("cancelled", None)
        except BaseException as error:  # noqa: BLE001 - so is it in the workflow itself
            await self._undo("failure", _told(error))
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
        own = {asyncio.current_task(), self._main, *(one.task for one in self._running.values())}
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
        if self.is_fork:
            os._exit(0)
        known = self._memory.take(self._asked)
        if known is not None:
            self.line.send({"is": "took", "id": known["id"]}, soon=False)
            self._recall(known)
            return True
        said = (self.seen, self._count, len(self._running), len(self._asked), later)
        if said != self._said and not self._over:
            self._said = said
            message = {"is": "idle", "seen": self.seen, "running": len(self._running), "later": later}
            self.line.send(message, soon=False)
        self.line.flush()
        return False

    # --- modules ---------------------------------------------------------------------------------------

    def find(self, module: str, spaces: bool) -> Optional[wire.Message]:
        """The source of a module of the repository, at the run's commit; None where it has none."""
        with self._found:
            if module not in self._sources:
                self.line.send({"is": "find", "module": module})
                self._found.wait_for(lambda: module in self._sources)
            found = self._sources[module]
        if found.get("problem"):
            raise ImportError(found["problem"], name=module)
        return found if found["found"] == ("space" if spaces else "module") else None


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


class _Printed(io.TextIOBase):
    """What bodies print goes to their steps' logs, and the rest to the job's."""

    def __init__(self, host: Host, out: Any) -> None:
        self._host = host
        self._out = out

    def write(self, text: str) -> int:
        if self._host.is_fork:
            self._out.write(text)
        elif text:
            self._host._print(_step.get(), text.encode("utf-8", "surrogateescape"))
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def fileno(self) -> int:
        return int(self._out.fileno())

    def writable(self) -> bool:
        return True

    @property
    def buffer(self) -> Any:
        return self._out.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


class Repository:
    """Finds and loads the repository's modules: from git's objects, as they are at the run's commit."""

    def __init__(self, host: Host, spaces: bool) -> None:
        self._host = host
        self._spaces = spaces
        self._apart = frozenset(getattr(sys, "stdlib_module_names", ())) | {"runner"}

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        first = fullname.partition(".")[0]
        if first in self._apart:
            return None
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if "." in fullname and not isinstance(getattr(parent, "__loader__", None), Repository):
            return None
        found = self._host.find(fullname, self._spaces)
        if found is None:
            return None
        spec = ModuleSpec(fullname, cast(Any, self), origin=found["path"], is_package=found["package"])
        spec.has_location = not self._spaces
        return spec

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def is_package(self, fullname: str) -> bool:
        found = self._host.find(fullname, self._spaces)
        return bool(found and found["package"])

    def get_source(self, fullname: str) -> Optional[str]:
        found = self._host.find(fullname, self._spaces)
        return None if found is None else str(found["text"])

    def get_code(self, fullname: str) -> Any:
        found = self._host.find(fullname, self._spaces)
        if found is None:
            raise ImportError(f"no module {fullname} at this commit", name=fullname)
        _remember(found["path"], found["text"])
        return compile(found["text"], found["path"], "exec", dont_inherit=True)


def _remember(path: str, text: str) -> None:
    """Have tracebacks show the lines, whatever is in the workspace by then."""
    linecache.cache[path] = (len(text), None, text.splitlines(True), path)


# --- errors and values ---------------------------------------------------------------------------------


def _told(error: BaseException) -> dict[str, Any]:
    """An exception, with the traceback of the repository's own code."""
    told: dict[str, Any] = {"reason": _said(error)[:MOST_LETTERS], "type": type(error).__name__}
    try:
        found = traceback.TracebackException.from_exception(error, limit=-MOST_FRAMES)
        _strip(found)
        told["traceback"] = "".join(found.format())[-MOST_LETTERS:]
    except Exception as odd:  # noqa: BLE001 - exceptions are the repository's, and may be anything
        told["traceback"] = f"{told['reason']}\n(its traceback cannot be shown: {type(odd).__name__})\n"
    if isinstance(error, NonRetryable):
        told["final"] = True
    if isinstance(error, StepFailed) and error.exit_code is not None:
        told["exit_code"] = error.exit_code
    return told


def _said(error: BaseException) -> str:
    """In one line, if its author wrote no more."""
    try:
        if isinstance(error, StepFailed):
            return str(error)
        if isinstance(error, SyntaxError):
            return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
        inner = getattr(error, "exceptions", None)
        more = f": {_said(inner[0])}" if isinstance(inner, tuple) and inner else ""
        return "".join(traceback.format_exception_only(type(error), error)).strip() + more
    except Exception:  # noqa: BLE001 - exceptions are the repository's, and may be anything
        return type(error).__name__


def _strip(found: Any) -> None:
    """Leave our own frames out, also of the exceptions behind it and in it."""
    todo, seen = [found], set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.stack = traceback.StackSummary.from_list(_theirs(one.stack))
        todo += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def _awaiting(coroutine: Any) -> list[traceback.FrameSummary]:
    """Where a coroutine is, from the outermost to what it waits for."""
    stack: list[traceback.FrameSummary] = []
    while coroutine is not None and len(stack) < MOST_FRAMES:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            stack += traceback.extract_stack(frame, limit=1)
        coroutine = getattr(coroutine, "cr_await", None)
    return stack


def _end_of(process: "subprocess.Popen[bytes]") -> int:
    """A file that can be read when it has ended; -1 where the kernel has none."""
    try:
        return os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return -1


def _theirs(stack: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [one for one in stack if not _is_ours(one.filename)]


def _is_ours(filename: str) -> bool:
    return (
        filename.startswith((OURS, "<frozen "))
        or f"{os.sep}asyncio{os.sep}" in filename
        or filename in (BEGINNING, threading.__file__, selectors.__file__)
    )


def _line_of(frame: Optional[FrameType]) -> str:
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def _value(kind: str, answer: wire.Message) -> Any:
    value = answer["value"]
    if kind == "sh":
        return Shell(answer["outputs"], answer["exit_code"])
    if kind == "event":
        return Received(**value)
    if kind == "approve":
        return Approval(**value)
    if kind == "uses":
        return Used(answer["outputs"])
    if kind == "run":
        return Child(**value)
    return value


def _failure(name: str, value: dict[str, Any]) -> StepFailed:
    kinds = {"timeout": TimedOut, "rejected": Rejected}
    return kinds.get(value.get("kind", ""), StepFailed)(
        name,
        value.get("reason") or "it failed",
        value.get("type", ""),
        value.get("exit_code"),
        value.get("traceback", ""),
    )


def main() -> None:
    """Run the workflow that the engine has, at the end of the channel whose path is the only argument."""
    line = Line(sys.argv[1])
    begin = line.receive()
    # The name under which it was started is none of the repository's modules.
    sys.argv = [begin["path"]]
    host = Host(line, begin)
    host.run()
    # Bodies that were given up may still run, and nobody waits for them.
    sys.stdout.flush()
    os._exit(0)
