"""`runner-sdk`, the wheel of what a workflow imports, in every Python here that is new enough."""

import ast
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engine.conversation.package import PACKAGE, place_package
from runner.sdk import wire

ROOT = Path(__file__).parents[2]
SDK = ROOT / "runner" / "sdk"
OLDEST = (3, 9)
NEWEST = 20
PATIENCE = 120

TOUR = """
import sys
import runner.sdk, runner.sdk.host
from runner.sdk import Step, StepFailed, workflow
from runner.sdk.testing import Fail, Tries, play

@workflow(on="push")
async def tour(event, step: Step):
    a, b = await step.gather(step.sh("a", "true"), step.do("b", lambda: 2), cancel=False)
    which, _ = await step.wait_any(step.sleep("long", "2 days"), step.wait_for_event("go", type="go"))
    try:
        await step.do("fails", lambda: [][1], retry={"max-attempts": 2})
    except StepFailed as failed:
        return [b, which, failed.type, str(step.uuid())]

played = play(tour, events={"go": 1})
assert played.value[:3] == [2, 1, "IndexError"], played
loaded = sorted({one.partition(".")[0] for one in sys.modules if one.startswith("runner")})
print(sys.version_info[:2] >= (3, 9), loaded, runner.sdk.__file__)
"""


def interpreters() -> Mapping[str, str]:
    """The oldest and the newest Python of this machine that a workflow can be run with, by version."""
    minors = range(OLDEST[1], NEWEST)
    found = [one for one in (_first(minors), _first(reversed(minors))) if one is not None]
    return dict(found) or {f"3.{sys.version_info[1]}": sys.executable}


def _first(minors: Iterable[int]) -> tuple[str, str] | None:
    folders = [Path(one) for one in os.environ["PATH"].split(":")]
    folders += sorted((Path.home() / ".pyenv" / "versions").glob("*/bin"))
    places = ((minor, folder / f"python3.{minor}") for minor in minors for folder in folders)
    return next(
        (
            (f"3.{minor}", str(path))
            for minor, path in places
            if os.access(path, os.X_OK) and _is(path, minor)
        ),
        None,
    )


def _is(path: Path, minor: int) -> bool:
    """Whether it is what it is called: pyenv has names of all its versions in the path, chosen or not."""
    made = subprocess.run([path, "-c", "import sys; print(sys.version_info[1])"], capture_output=True)
    return made.stdout.decode().strip() == str(minor)


PYTHONS = interpreters()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT / "deploy" / "sdk", check=True, capture_output=True)
    (made,) = folder.glob("runner_sdk-*.whl")
    return made


@pytest.mark.slow("a wheel is built")
def test_the_wheel_has_the_modules_of_the_sdk_and_says_that_it_needs_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
        said = next(name for name in opened.namelist() if name.endswith("/METADATA"))
        metadata = opened.read(said).decode()

    assert names == {
        str(path.relative_to(ROOT)) for path in SDK.rglob("*") if path.suffix in (".py", ".typed")
    }
    assert "runner/sdk/py.typed" in names
    assert "Requires-Python: >=3.9" in metadata
    assert "Requires-Dist" not in metadata


@pytest.mark.slow("a wheel is built, and installed for each Python")
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_alone_plays_a_workflow(version: str, wheel: Path, tmp_path: Path) -> None:
    argv = [PYTHONS[version], "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(argv, check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python)]
    subprocess.run([sys.executable, *install, str(wheel)], check=True)

    argv = [str(python), "-I", "-W", "error", "-c", TOUR]
    made = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)

    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("True ['runner'] ")
    assert str(tmp_path) in made.stdout


WORKFLOW = """
import asyncio, sys
from runner.sdk import workflow

@workflow(on="push")
async def tour(event, step):
    async def later():
        await asyncio.sleep(0.001)
        return sys.version_info[1]

    shell, minor = await step.gather(step.sh("a", "exit 0"), step.do("b", later))
    try:
        await step.do("fails", lambda: [][1])
    except Exception as failed:
        return [shell.outputs["x"], minor, failed.type, event.route.repo]
"""


@pytest.mark.parametrize("version", PYTHONS)
def test_a_workflow_is_run_by_every_python(version: str, tmp_path: Path) -> None:
    asked, end = conversation(PYTHONS[version], tmp_path)

    minor = version.partition(".")[2]
    assert asked == ["sh a", "do b", "do fails"]
    assert end["value"] == f'["y", {minor}, "IndexError", "octo/app"]'


def conversation(python: str, folder: Path) -> tuple[Sequence[str], Mapping[str, Any]]:
    """Have a workflow's real process run all that it asks for; gives that, and how it ended."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "s"))
        door.listen()
        (folder / "temp").mkdir()
        place_package(folder / "temp")
        argv = [python, "-W", "error", str(folder / "temp" / PACKAGE), str(folder / "s")]
        env = {"PATH": os.environ["PATH"]}
        with subprocess.Popen(argv, env=env, cwd=folder) as process:
            try:
                door.settimeout(PATIENCE)
                line, _ = door.accept()
                with line:
                    line.settimeout(PATIENCE)
                    return _talk(line, folder)
            finally:
                process.kill()


def _talk(line: socket.socket, folder: Path) -> tuple[Sequence[str], Mapping[str, Any]]:
    sent, waiting, asked, told = 0, {}, [], []
    route = {"forge": "git", "repo": "octo/app", "commit": "0" * 40}
    event = {"kind": "push", "payload": {}, "route": route, "ref": "r", "actor": "a", "inputs": {}, "run": {}}
    begin = {"is": "begin", "path": "tour.py", "text": WORKFLOW, "function": "tour", "event": event}
    at = "2026-01-01T09:00:00+00:00"
    line.sendall(wire.pack({**begin, "workspace": str(folder), "at": at, "seed": "s"}))
    data = bytearray()
    while True:
        while (message := wire.unpack(data)) is None:
            data += line.recv(65536)
        answer: dict[str, Any] | None = None
        match message:
            case {"is": "ask"}:
                waiting[message["id"]] = message
                asked.append(f"{message['kind']} {message['name']}")
            case {"is": "tell"}:
                told.append(message)
            case {"is": "end"}:
                return asked, message
            case {"is": "idle", "seen": seen} if seen == sent:
                if waiting:
                    number, step = waiting.popitem()
                    how = {
                        "argv": ["sh", "-c", step["request"].get("command")],
                        "env": {},
                        "cwd": str(folder),
                    }
                    answer = {"is": "proceed", "id": number, **how}
                elif told:
                    done = told.pop(0)
                    value = int(done["value"]) if isinstance(done["value"], str) else done["value"]
                    answer = {"is": "recall", "id": done["id"], "at": at, "ok": done["ok"], "value": value}
                    answer |= {"outputs": {"x": "y"}, "exit_code": 0}
        if answer is not None:
            sent += 1
            line.sendall(wire.pack({**answer, "n": sent}))


def test_every_module_is_written_in_the_python_that_is_promised() -> None:
    for path in SDK.rglob("*.py"):
        ast.parse(path.read_text(), str(path), feature_version=OLDEST)
