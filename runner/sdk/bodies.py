"""The bodies of steps, while they run: commands, functions and coroutines.

Each command, and each body that is no coroutine, has a thread of its own.
"""

import asyncio
import contextvars
import inspect
import json
import os
import subprocess
import sys
import threading
from contextvars import Context
from functools import partial
from typing import Any, Callable, NoReturn, Optional, cast

from runner.sdk import wire
from runner.sdk.commands import MARKS, bring_down, follow
from runner.sdk.line import Line
from runner.sdk.steps import Body
from runner.sdk.told import told

PRINT = 1024 * 1024
"""Bytes of what is printed that go into one message."""
MOST_PIECES = 1000
"""Of a line that has not ended."""

_step: "contextvars.ContextVar[Optional[int]]" = contextvars.ContextVar("step", default=None)
"""The step in whose body something runs."""


def within() -> Optional[int]:
    """The step in whose body this is called."""
    return _step.get()


def leave(error: Optional[BaseException] = None) -> NoReturn:
    """End a process that a body has forked, as Python does: who waits for it sees what became of it."""
    code: Any = None
    if isinstance(error, SystemExit):
        code = error.code
    elif error is not None:
        sys.stderr.write(told(error)["traceback"])
        code = 1
    if not isinstance(code, (int, type(None))):
        sys.stderr.write(f"{code}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


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
            self.ender = threading.Thread(
                target=bring_down, args=(self.process, self.marks, why), daemon=True
            )
            self.ender.start()


class Bodies:
    """Runs them, and tells the engine how each has ended."""

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop, workspace: str) -> None:
        self._line = line
        self._loop = loop
        self._workspace = workspace
        self.running: dict[int, Running] = {}
        self._said: dict[int, list[bytes]] = {}
        self._saying = threading.RLock()
        self.is_fork = False
        """Whether this is a process that a body has forked: it has no part in the conversation."""

    def begin(
        self, number: int, kind: str, body: Optional[Body], asked: Context, message: wire.Message
    ) -> None:
        """Run what a step asks for, as the engine's `message` says, in the context that it was `asked` in."""
        context = asked.copy()
        context.run(_step.set, number)
        if not self.running:
            os.chdir(self._workspace)
        running = self.running[number] = Running(number, message["n"])
        if kind == "sh":
            work: Callable[[], None] = partial(self._command, running, message)
        elif body is not None and inspect.iscoroutinefunction(body):
            running.task = context.run(self._loop.create_task, self._coroutine(running, body))
            return
        else:
            work = partial(self._function, running, cast(Body, body))
        try:
            threading.Thread(target=context.run, args=(work,), name=f"step {number}", daemon=True).start()
        except RuntimeError as error:
            # There are as many threads as there may be.
            self._tell(running, False, {"reason": f"it cannot be run: {error}"}, 126)

    def give_up(self, number: int, message: wire.Message) -> None:
        """What the engine has just begun is not wanted any more."""
        running = self.running[number] = Running(number, message["n"])
        running.end("cancel")
        self._tell(running, False, None)

    def end(self, number: int, why: str) -> None:
        if number in self.running:
            self.running[number].end(why)

    def say(self, number: int, data: bytes) -> None:
        """Of what a body prints: a line goes as one message, of however many pieces it is made."""
        with self._saying:
            pieces = self._said.setdefault(number, [])
            pieces.append(data)
            if b"\n" in data or b"\r" in data or len(pieces) > MOST_PIECES:
                self.flush(number)

    def flush(self, number: int) -> None:
        """Say what a body has printed of a line that has not ended."""
        with self._saying:
            self.print(number, b"".join(self._said.pop(number, ())))

    def print(self, number: Optional[int], data: bytes) -> None:
        for at in range(0, len(data), PRINT):
            text = data[at : at + PRINT].decode("utf-8", "surrogateescape")
            self._line.send({"is": "print", "id": number, "text": text})

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
                bring_down(process, running.marks, running.ended)
            follow(process, partial(self.print, running.number))
            if running.ender is not None:
                running.ender.join()
        except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            self._tell(running, False, {"reason": f"{message['argv'][0]} cannot be run: {error}"}, 126)
            return
        code = process.returncode
        # As a shell has it for who was killed.
        code = code if code >= 0 else 128 - code
        self._tell(running, code == 0, {"reason": ""} if code else None, code)

    async def _coroutine(self, running: Running, body: Body) -> None:
        try:
            value = await body()
        except asyncio.CancelledError:
            if running.ended is None:
                self._tell(running, False, {"reason": "it cancelled itself", "type": "CancelledError"})
                return
            self._tell(running, False, {"reason": "it was stopped"})
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is how its step fails
            if self.is_fork:
                leave(error)
            self._tell(running, False, told(error))
        else:
            self._give(running, value)

    def _function(self, running: Running, body: Body) -> None:
        try:
            value = body()
            if asyncio.iscoroutine(value):
                # A function that hands on what a coroutine function gave.
                self._loop.call_soon_threadsafe(self._await, running, value)
                return
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is how its step fails
            if self.is_fork:
                leave(error)
            self._tell(running, False, told(error))
        else:
            self._give(running, value)

    def _await(self, running: Running, value: Any) -> None:
        async def body() -> Any:
            return await value

        context = contextvars.copy_context()
        context.run(_step.set, running.number)
        running.task = context.run(self._loop.create_task, self._coroutine(running, body))
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
            why = f"its value has {len(text)} bytes as JSON; the limit is {wire.LONGEST_VALUE}"
            self._tell(running, False, {"reason": why, "type": "TooLong", "final": True})
            return
        self._tell(running, True, text)

    def _tell(self, running: Running, ok: bool, value: Any, code: Optional[int] = None) -> None:
        def over() -> None:
            if self.running.get(running.number) is running:
                del self.running[running.number]
            if not self.running:
                # Nobody may be at home in the workspace while its files are kept.
                os.chdir("/")
            # Also of one that nobody waits for any more: only now has it come to its end.
            message = {"is": "tell", "id": running.number, "of": running.of, "stopped": running.ended}
            said = value
            if ok and isinstance(value, str) and len(value) > wire.PART:
                said, about = None, {"is": "part", "id": running.number, "of": running.of}
                for at in range(0, len(value), wire.PART):
                    self._line.send({**about, "text": value[at : at + wire.PART]})
            try:
                self._line.send({**message, "ok": ok, "value": said, "exit": code}, soon=False)
            except wire.TooLong as error:
                why = {"reason": f"its value is too long: {error}", "type": "TooLong", "final": True}
                self._line.send({**message, "ok": False, "value": why, "exit": code})

        if self.is_fork:
            # Its parent tells.
            leave()
        sys.stdout.flush()
        self.flush(running.number)
        self._loop.call_soon_threadsafe(over)
