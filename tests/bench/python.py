"""What a workflow in Python costs: to load, to ask for a step, to be replayed, and to be asleep."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.engine.conversation.package import PACKAGE, place_package
from runner.engine.ports import Command, Sandbox
from runner.executors import executor
from runner.model.run import Finished
from tests.bench.durability import asleep, one_record
from tests.bench.report import Figure
from tests.bench.server import a_server, clock, median_of

ROUNDS = 25
TIMES = 3
STEPS = 1_000
HEAD = """\
import time
from runner.sdk import workflow

@workflow(on="push", runs_on="linux")
async def flow(event, step):
"""
MANY = (
    HEAD
    + f"""\
    begun = time.perf_counter()
    for number in range({STEPS}):
        await step.do(f"step {{number}}", lambda: number)
    took = time.perf_counter() - begun
    first = await step.do("took", lambda: took)
    await step.sleep("nap", 0.1)
    return {{"first": first, "again": took}}
"""
)
SLEEPER = (
    HEAD
    + """\
    await step.wait_any(
        step.sleep("long", "300 days"),
        step.wait_for_event("go", type="go", timeout="300 days"),
    )
"""
)


def python() -> Iterator[Figure]:
    yield from _loading()
    yield from _steps()
    # Each that wakes needs a python3 of its own: how many a second there can be is the machine's to say.
    yield from asleep("workflows in Python", SLEEPER, "flow.py", at_once=100)


# --- to load -----------------------------------------------------------------------------------


def _loading() -> Iterator[Figure]:
    """From the start of its process to its first step, in a sandbox that stands."""
    with tempfile.TemporaryDirectory(prefix="runner-bench-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        for part in ("workspace", "temp"):
            (folder / part).mkdir()
        sandbox = executor("sandbox")().open(folder / "workspace", folder / "temp", "bench", None)
        try:
            place_package(sandbox.host_temp)
            # In turns, so that what else the machine does meets all three.
            taken = [
                (_program(sandbox, "pass"), _program(sandbox, "import asyncio"), _first_ask(sandbox))
                for _ in range(ROUNDS)
            ]
            floor, loop, value = map(statistics.median, zip(*taken, strict=True))
        finally:
            sandbox.close()
    yield Figure(
        "a workflow in Python, start to first step",
        value,
        "ms",
        floor,
        "python3 -c pass",
        "60 ms",
        value <= 60,
        f"python3 -c 'import asyncio': {loop:.2f} ms",
    )


def _command(sandbox: Sandbox, *argv: str) -> Command:
    env = {"PATH": sandbox.path, "HOME": sandbox.home}
    return Command(("python3", *argv), env, sandbox.temp, 60.0, cancellable=False)


def _program(sandbox: Sandbox, text: str) -> float:
    def run() -> None:
        if sandbox.run(_command(sandbox, "-c", text), print).code:
            raise RuntimeError(f"python3 -c {text!r} failed")

    return 1000 * clock(run)


def _first_ask(sandbox: Sandbox) -> float:
    begun = time.perf_counter()
    channel = sandbox.talk(_command(sandbox, f"{sandbox.temp}/{PACKAGE}"), print)
    try:
        while not channel.connect(1.0):
            pass
        channel.send(_begin(sandbox))
        while (message := channel.receive(1.0)) is None or message["is"] != "ask":
            pass
        return 1000 * (time.perf_counter() - begun)
    finally:
        channel.close()


def _begin(sandbox: Sandbox) -> dict[str, Any]:
    route = {"forge": "git", "repo": "bench/one", "commit": "1" * 40}
    return {
        "is": "begin",
        "path": ".runner/workflows/flow.py",
        "text": MANY,
        "function": "flow",
        "workspace": sandbox.workspace,
        "at": datetime.now(UTC).isoformat(),
        "seed": "1 1",
        "event": {
            "kind": "push",
            "payload": {},
            "route": route,
            "ref": "refs/heads/main",
            "actor": "ada",
            "inputs": {},
            "run": {"id": 1, "number": 1, "attempt": 1},
        },
    }


# --- to ask for steps --------------------------------------------------------------------------


def _steps() -> Iterator[Figure]:
    """A job of 1,000 steps, which then sleeps for a moment, wakes and asks for them again."""
    with a_server(executor="sandbox") as server:
        server.start()
        commit = server.commit(MANY, file="flow.py")
        first, again, whole = [], [], []
        for number in range(1, TIMES + 1):
            server.push(commit)
            server.ended(number)
            job = server.services.store.load(number).jobs[0]
            assert isinstance(job.phase, Finished)
            assert job.claimed is not None
            first.append(1000 * float(job.outputs["first"]) / STEPS)
            again.append(float(job.outputs["again"]))
            whole.append((job.phase.at - job.claimed).total_seconds())
        server.stop_process()
        floor = 1000 * median_of(TIMES, lambda: one_record(server))
        value = statistics.median(first) - floor
        yield Figure("step.do beyond its checkpoint", value, "ms", floor, "store.record", "2 ms", value <= 2)
        value = statistics.median(again)
        note = f"from claim to end {statistics.median(whole):.2f} s"
        yield Figure(f"{STEPS} steps replayed", value, "s", target="1 s", met=value <= 1, note=note)
