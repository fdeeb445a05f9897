"""What is restored from a cache into a job's home without being unpacked there."""

import os
import secrets
import select
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.workspaces import GitWorkspaces
from runner.workspaces.reach import Reach
from tests.executors.jobs import Kind, docker_kind, open_folder
from tests.workspaces.origin import Origin
from tests.workspaces.test_overlays import Job, overlay
from tests.workspaces.test_stock import Fill, archived, everything, never, seen, stock_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="overlays are mounted by root alone")


@dataclass
class Site:
    """A machine on which one job after the other has a workspace and a sandbox."""

    folder: Path
    made: Any
    kind: Kind
    workspaces: GitWorkspaces
    origin: Origin
    closing: ExitStack
    opened: int = 0

    def job(self) -> Job:
        self.opened += 1
        route = self.origin.route(self.origin.commit({"a": str(self.opened)}))
        self.workspaces.fetch(self.origin.repository, route, "run-1")
        opened = overlay(self.workspaces, route, job=str(self.opened))
        self.closing.callback(opened.close)
        temp = self.folder / f"temp-{self.opened}"
        temp.mkdir()
        label = f"{secrets.token_hex(4)}-17-{self.opened}"
        sandbox = self.made.open(opened.path, temp, label, self.kind.container)
        self.closing.enter_context(closing(sandbox))
        self.closing.callback(opened.withdraw)
        opened.shown(sandbox, False)
        return Job(opened, sandbox)


def home_of(job: Job) -> Path:
    return job.sandbox.host_temp / "home"


def restored(tools: Path) -> Fill:
    """As a cache does it of ~/.npm and ~/.cache/pip."""
    return archived(tools, frozenset({".cache"}))


def mounted(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


@pytest.fixture(params=["host", "sandbox", "docker"])
def site(request: pytest.FixtureRequest, origin: Origin) -> Iterator[Site]:
    with ExitStack() as stack:
        kind = stack.enter_context(docker_kind()) if request.param == "docker" else Kind(request.param)
        folder = stack.enter_context(open_folder())
        (folder / "home").mkdir(mode=0o711)
        made: Any = kind.make()
        workspaces = stack.enter_context(GitWorkspaces(folder / "home", "file", made.owner))
        with ExitStack() as jobs:
            yield Site(folder, made, kind, workspaces, origin, jobs)
        assert mounted(folder) == []
        for temp in folder.glob("temp-*"):
            assert list(temp.iterdir()) == []
        assert list((folder / "home/layers").glob("*/work/work")) == []


only_sandbox = pytest.mark.parametrize("site", ["sandbox"], indirect=True)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    root = tmp_path / "tools"
    for name in (".npm/_cacache/content/aa", ".npm/_cacache/index/bb", ".cache/pip/http/cc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".npm/run").write_text("#!/bin/sh\necho it runs\n")
    (root / ".npm/run").chmod(0o755)
    (root / ".npm/link").symlink_to("run")
    os.utime(root / ".npm/run", ns=(5_000, 1_000_000_000_123_456_789))
    return root


def test_steps_see_it_write_over_it_and_remove_it_and_another_job_does_not_notice(
    site: Site, tools: Path
) -> None:
    fill = restored(tools)
    first = site.job()
    first.step(f"cd {first.sandbox.home}; mkdir .cache; echo own >.cache/own")
    assert first.opened.lay_home("tools", fill) == 11

    said = first.step(
        f"cd {first.sandbox.home}; .npm/link; cat .cache/own; rm -r .cache/pip; cd .npm/_cacache;"
        "echo more >>index/bb; cat index/bb; rm content/aa; echo new >content/dd"
    )

    assert said == "it runs\nown\n.npm/_cacache/index/bbmore\n"
    names = {path for path in everything(home_of(first)) if path.startswith(".npm/_cacache/content/")}
    assert names == {".npm/_cacache/content/dd"}
    second = site.job()
    second.step("true")
    assert second.opened.lay_home("tools", never) == 11
    assert (home_of(second) / ".npm/_cacache/index/bb").read_text() == ".npm/_cacache/index/bb"
    assert second.step(f"cat {second.sandbox.home}/.npm/_cacache/content/aa") == ".npm/_cacache/content/aa"
    second.step(f"cd {second.sandbox.home}; rm -r .npm; mkdir .npm; echo again >.npm/run")
    assert [path.name for path in (home_of(second) / ".npm").iterdir()] == ["run"]
    assert len(stock_of(site.folder / "home")) == 1


@only_sandbox
def test_it_is_what_unpacking_would_have_made_of_it(site: Site, tools: Path) -> None:
    fill = restored(tools)
    laid, unpacked = site.job(), site.job()
    for job in (laid, unpacked):
        job.step(f"cd {job.sandbox.home}; mkdir -m 750 .cache; echo own >.cache/own; touch -d @1 .cache/own")

    assert laid.opened.lay_home("tools", fill) == 11
    with Reach(home_of(unpacked), site.made.owner).held() as into:
        fill(into)

    def comparable(job: Job) -> dict[str, object]:
        found = seen(home_of(job))
        # When a link was made, and a folder changed in which something is put, is another time each time.
        return {path: value if path not in (".npm/link", ".cache") else "" for path, value in found.items()}

    assert comparable(laid) == comparable(unpacked)
    laid.step(f"cd {laid.sandbox.home}; mv .npm moved; mv moved/_cacache/content/aa .; moved/link")
    assert (home_of(laid) / "aa").read_text() == ".npm/_cacache/content/aa"
    assert not (home_of(laid) / ".npm").exists()
    modes = {stat.S_IMODE((home_of(job) / ".cache").stat().st_mode) for job in (laid, unpacked)}
    assert modes == {0o750}


@only_sandbox
@pytest.mark.parametrize(
    "before",
    [
        "mkdir .npm",
        "echo file >.npm",
        "ln -s .cache .npm",
        "mkdir -p .cache/pip",
        "mkdir .cache; chmod g+s .cache",
        "rm -r ../home; ln -s / ../home",
    ],
)
def test_where_something_is_in_the_way_nothing_is_laid(site: Site, tools: Path, before: str) -> None:
    job = site.job()
    job.step(f"cd {job.sandbox.home}; {before}")

    assert job.opened.lay_home("tools", restored(tools)) is None

    assert mounted(job.sandbox.host_temp) == []


@only_sandbox
def test_it_is_laid_once_also_before_anything_has_run(site: Site, tools: Path) -> None:
    job = site.job()
    assert job.opened.lay_home("tools", restored(tools)) == 11
    assert job.opened.lay_home("other", restored(tools)) is None


@only_sandbox
def test_where_the_sandbox_has_died_nothing_is_mounted_anywhere(site: Site, tools: Path) -> None:
    job = site.job()
    job.step("true")
    job.sandbox.stop()
    process = job.sandbox.namespace
    assert process is not None
    poll = select.poll()
    poll.register(process, select.POLLIN)
    assert poll.poll(30_000)

    assert job.opened.lay_home("tools", restored(tools)) is None
    assert mounted(job.sandbox.host_temp) == []


@only_sandbox
def test_what_fails_half_way_leaves_nothing(site: Site, tools: Path) -> None:
    job = site.job()
    job.step("true")
    assert job.opened.lay_home("tools", restored(tools)) == 11
    job.opened.withdraw()

    def ended() -> None:
        raise ZeroDivisionError

    other = site.job()
    other.step(f"cd {other.sandbox.home}; touch own")
    with pytest.raises(ZeroDivisionError):
        other.opened.lay_home("tools", never, ended)

    assert mounted(site.folder / f"temp-{site.opened}") == []
    assert other.opened.lay_home("tools", never) == 11


@only_sandbox
def test_what_a_worker_left_mounted_that_died_is_taken_off(site: Site, tools: Path) -> None:
    job = site.job()
    job.step("true")
    assert job.opened.lay_home("tools", restored(tools)) == 11
    assert mounted(job.sandbox.host_temp) != []

    site.workspaces.uncover(job.sandbox.host_temp)

    assert mounted(job.sandbox.host_temp) == []
