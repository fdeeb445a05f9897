"""The `.git` of a job's folder, as git itself sees it there."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from runner.engine.ports import History, Wanted
from runner.errors import BrokenDefinition
from runner.executors.ownership import JOB_UID
from runner.model.source import Route
from runner.workspaces import GitWorkspaces
from tests.workspaces.origin import Origin, git, mirror_of

ALL = Wanted()
MAIN = History("refs/heads/main", "https://forge.example/octo/hello")


@pytest.fixture(params=[None, "none is wanted"], ids=["overlay", "written"])
def workspaces(home: Path, request: pytest.FixtureRequest) -> Iterator[GitWorkspaces]:
    with GitWorkspaces(home, "file", hindrance=lambda: request.param) as opened:
        yield opened


def opened(
    workspaces: GitWorkspaces,
    origin: Origin,
    commit: str,
    history: History = MAIN,
    attempt: int = 1,
    snapshot: str | None = None,
) -> Path:
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")
    return workspaces.open(origin.route(commit), "job-1", attempt, snapshot, history).path


def test_a_job_has_the_whole_history_of_its_commit(workspaces: GitWorkspaces, origin: Origin) -> None:
    first = origin.commit({"a": "1", "b": "b"})
    git(origin.path, "tag", "-a", "v1.0", "-m", "the first")
    second = origin.commit({"a": "1\n2", "b": "b"})

    folder = opened(workspaces, origin, second)

    assert git(folder, "log", "--format=%H").split() == [second, first]
    assert git(folder, "describe", "--tags") == f"v1.0-1-g{second[:7]}"
    assert git(folder, "diff", "--name-only", first, "HEAD") == "a"
    assert git(folder, "merge-base", first, "HEAD") == first
    assert git(folder, "blame", "-s", "a").splitlines()[1].endswith("2) 2")
    assert git(folder, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert git(folder, "rev-parse", "origin/main") == second
    assert git(folder, "remote", "get-url", "origin") == "https://forge.example/octo/hello"
    git(folder, "fsck", "--strict")


def test_nothing_seems_changed_in_it_and_git_reads_no_file_for_that(
    workspaces: GitWorkspaces, origin: Origin
) -> None:
    (origin.path / "link").symlink_to("a")
    (origin.path / "run").write_text("x")
    (origin.path / "run").chmod(0o755)
    for name in ("a", "folder/b", "empty", "folder.c", "long/" + "n" * 200):
        origin.path.joinpath(name).parent.mkdir(exist_ok=True)
        origin.path.joinpath(name).write_text(name if name != "empty" else "")
    commit = origin.commit_all()

    folder = opened(workspaces, origin, commit)
    # A file that looks as the index says is not read: with its time kept, another content is not seen.
    time = (folder / "a").stat().st_mtime_ns
    (folder / "a").write_text("b")
    os.utime(folder / "a", ns=(time, time))

    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "diff-files", "--name-only") == ""
    (folder / "folder/b").write_text("changed")
    (folder / "new").write_text("new")
    assert git(folder, "status", "--porcelain").splitlines() == ["M folder/b", "?? new"]


def test_a_tag_and_a_pull_request_are_checked_out_by_themselves(
    workspaces: GitWorkspaces, origin: Origin
) -> None:
    commit = origin.commit({"a": "1"})
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")
    git(origin.path, "tag", "-a", "v2", "-m", "it came later")

    tagged = opened(workspaces, origin, commit, History("refs/tags/v2"))
    assert git(tagged, "describe") == "v2"
    assert git(tagged, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"

    pulled = opened(workspaces, origin, commit, History("refs/pull/7/merge"), 2)
    assert git(pulled, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert git(pulled, "rev-parse", "refs/remotes/pull/7/merge") == commit


def test_of_the_refs_of_the_mirror_only_those_of_the_repository_are_seen(
    workspaces: GitWorkspaces, origin: Origin
) -> None:
    main = origin.commit({"a": "1"})
    pulled = git(origin.path, "commit-tree", origin.tree_of(main), "-m", "of a fork")
    workspaces.fetch(origin.repository, origin.route(pulled), "run-of-a-fork")
    git(origin.path, "branch", "topic/one")
    next_one = origin.commit({"a": "2"})

    folder = opened(workspaces, origin, next_one)

    refs = git(folder, "for-each-ref", "--format=%(refname)").splitlines()
    assert refs == ["refs/heads/main", "refs/remotes/origin/main", "refs/remotes/origin/topic/one"]


def test_names_that_are_no_text_are_refs_too(workspaces: GitWorkspaces, origin: Origin, home: Path) -> None:
    commit = origin.commit({"a": "1"})
    for name in (b"refs/tags/\xe9", "refs/heads/bl\u00a0ank".encode(), b'refs/heads/quo"te'):
        git(origin.path, "update-ref", os.fsdecode(name), commit)
    for attempt in (1, 2):
        folder = opened(workspaces, origin, commit, History('refs/heads/quo"te'), attempt)
        shown = subprocess.run(
            ["git", "-C", folder, "for-each-ref", "--format=%(refname)"], capture_output=True, check=True
        )
        assert shown.stdout.splitlines() == [
            b'refs/heads/quo"te',
            "refs/remotes/origin/bl\u00a0ank".encode(),
            b"refs/remotes/origin/main",
            b'refs/remotes/origin/quo"te',
            b"refs/tags/\xe9",
        ]
        # Packed or not.
        git(mirror_of(home), "--git-dir=.", "pack-refs", "--all")
        workspaces.let_go("nothing")


def test_a_ref_that_is_none_is_written_nowhere(workspaces: GitWorkspaces, origin: Origin) -> None:
    commit = origin.commit({"a": "1"})

    folder = opened(workspaces, origin, commit, History('refs/heads/x\n[core]\nfsmonitor = "touch y"'))

    assert git(folder, "rev-parse", "HEAD") == commit
    assert git(folder, "config", "--list").count("fsmonitor") == 0


def test_what_a_step_commits_is_there_after_a_resume(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commit = origin.commit({"a": "1"})
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")
    first = workspaces.open(origin.route(commit), "job-1", 1, None, MAIN)
    snapshot = first.snapshot
    assert first.save() == snapshot
    (first.path / "a").write_text("2")
    git(first.path, "commit", "--quiet", "--all", "--message", "by a step")
    made = git(first.path, "rev-parse", "HEAD")
    snapshot = first.save()

    second = opened(workspaces, origin, commit, MAIN, 2, snapshot)

    assert git(second, "log", "--format=%H").split() == [made, commit]
    assert git(second, "status", "--porcelain") == ""
    assert str(home / "lent/job-1/2") in (second / ".git/objects/info/alternates").read_text()


def test_the_history_of_a_living_job_outlives_its_mirror(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commits = [origin.commit({"a": text}) for text in "12"]
    folder = opened(workspaces, origin, commits[1])

    shutil.rmtree(mirror_of(home))

    assert git(folder, "log", "--format=%H").split() == commits[::-1]
    workspaces.retire("job-1")
    assert list((home / "lent").iterdir()) == []


def test_objects_are_nobodys_but_the_jobs_users_and_not_theirs_to_write(home: Path, origin: Origin) -> None:
    commit = origin.commit({"a": "1"})
    with GitWorkspaces(home, "file", (JOB_UID, JOB_UID)) as workspaces:
        opened(workspaces, origin, commit)
        lent = workspaces.lent("job-1", 1)

    assert (lent.stat().st_mode & 0o777, lent.stat().st_uid, lent.stat().st_gid) == (0o750, 0, JOB_UID)
    for folder, _, names in os.walk(lent):
        assert Path(folder).stat().st_uid == 0
        for name in names:
            found = Path(folder, name).stat()
            assert (found.st_mode & 0o777, found.st_uid) == (0o444, 0)


def checked_out(
    workspaces: GitWorkspaces, route: Route, root: Path, *path: str, wanted: Wanted = ALL
) -> Path:
    root.mkdir(exist_ok=True)
    workspaces.check_out(route, "job-1", 1, root, path, MAIN, wanted)
    return root.joinpath(*path)


@pytest.mark.parametrize("path", [(), ("deeper", "there")])
def test_a_checkout_replaces_what_is_there(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path, path: tuple[str, ...]
) -> None:
    route = origin.route(origin.commit({"a": "1", "in/b": "2"}))
    workspaces.fetch(origin.repository, route, "run-1")
    there = tmp_path.joinpath("root", *path)
    there.joinpath("in").mkdir(parents=True)
    there.joinpath("in/old").write_text("old")
    there.joinpath(".git").write_text("gitdir: /elsewhere")

    folder = checked_out(workspaces, route, tmp_path / "root", *path)

    assert sorted(one.name for one in folder.iterdir()) == [".git", "a", "in"]
    assert sorted(one.name for one in (folder / "in").iterdir()) == ["b"]
    assert git(folder, "status", "--porcelain") == ""
    # Another one over it, which leaves what is not its own.
    (folder / "in/new").write_text("new")
    (folder / "a").write_text("changed")
    checked_out(workspaces, route, tmp_path / "root", *path, wanted=Wanted(clean=False))
    assert ((folder / "a").read_text(), (folder / "in/new").read_text()) == ("1", "new")
    assert git(folder, "status", "--porcelain") == "?? in/new"


def test_a_checkout_that_is_ended_changes_nothing(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path
) -> None:
    route = origin.route(origin.commit({name: name for name in "abc"}))
    workspaces.fetch(origin.repository, route, "run-1")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/kept").write_text("kept")
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspaces.check_out(route, "job-1", 1, tmp_path / "root", (), MAIN, ALL, check)

    assert [one.name for one in (tmp_path / "root").iterdir()] == ["kept"]
    assert workspaces.read(route, "") == {name: name.encode() for name in "abc"}


def test_objects_on_another_disk_are_copied(
    workspaces: GitWorkspaces, origin: Origin, home: Path, tmp_path: Path
) -> None:
    commit = origin.commit({"a": "1"})
    shm = Path(mkdtemp(dir="/dev/shm"))
    try:
        home.mkdir()
        (home / "lent").symlink_to(shm)
        folder = opened(workspaces, origin, commit)
        assert git(folder, "log", "--format=%H") == commit
    finally:
        shutil.rmtree(shm)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("name", ["one", "one/.git", "one/in"])
def test_a_checkout_follows_no_link_that_is_in_the_way(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path, name: str, clean: bool
) -> None:
    route = origin.route(origin.commit({"in/a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "root" / name
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)

    folder = checked_out(workspaces, route, tmp_path / "root", "one", wanted=Wanted(clean=clean))

    assert (folder / "in/a").read_text() == "1"
    assert [one.name for one in elsewhere.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("patterns", "cone", "there"),
    [
        ("docs", True, {"top", "docs/a", "docs/deep/b"}),
        ("src/lib", True, {"top", "src/main", "src/lib/c"}),
        ("/*\n!/src/\n!/docs/", False, {"top"}),
        ("*.md\n", False, {"docs/x.md"}),
        ("src/**\n!src/lib/**", False, {"src/main"}),
        ("docs/deep/\n", False, {"docs/deep/b"}),
    ],
)
def test_a_sparse_checkout_has_what_git_would_have(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path, patterns: str, cone: bool, there: set[str]
) -> None:
    names = ("top", "docs/a", "docs/deep/b", "src/main", "src/lib/c", "docs/x.md")
    route = origin.route(origin.commit(dict.fromkeys(names, "x")))
    workspaces.fetch(origin.repository, route, "run-1")
    if "docs/a" in there:
        there = there | {"docs/x.md"}

    folder = checked_out(workspaces, route, tmp_path / "root", wanted=Wanted(sparse=patterns, cone=cone))

    def found() -> set[str]:
        files = (one for one in folder.rglob("*") if one.is_file())
        return {str(one.relative_to(folder)) for one in files if ".git/" not in str(one)}

    assert found() == there
    assert git(folder, "status", "--porcelain") == ""
    git(folder, "sparse-checkout", "reapply")
    assert found() == there


def test_folders_with_wildcards_are_no_cone(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")

    with pytest.raises(BrokenDefinition, match="sparse-checkout-cone-mode: false"):
        checked_out(workspaces, route, tmp_path / "root", wanted=Wanted(sparse="*.md"))


def test_submodules_are_those_that_the_tree_has(workspaces: GitWorkspaces, origin: Origin) -> None:
    modules = """
[submodule "lib"]
    path = lib
    url = ../lib.git
[submodule "not there"]
    path = gone
    url = ext::sh -c touch% x
[include]
    path = /etc/passwd
"""
    commit = origin.commit_tree(("100644", ".gitmodules", modules.encode()), ("160000", "lib", b"1" * 40))
    git(origin.path, "update-ref", "refs/heads/other", commit)
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")

    found = workspaces.submodules(origin.route(commit))

    assert [(one.name, one.path, one.url, one.commit) for one in found] == [
        ("lib", "lib", "../lib.git", "1" * 40)
    ]
    folder = opened(workspaces, origin, commit)
    assert git(folder, "status", "--porcelain") == ""


def test_a_shallow_commit_has_a_history_of_itself(workspaces: GitWorkspaces, origin: Origin) -> None:
    origin.commit({"a": "1"})
    route = origin.route(origin.commit({"a": "2"}))
    workspaces.fetch(origin.repository, route, "run-1", history=False)

    folder = workspaces.open(route, "job-1", 1, None, MAIN).path

    assert git(folder, "log", "--format=%H") == route.commit
    assert git(folder, "status", "--porcelain") == ""


def test_git_trusts_a_job_folder_of_the_steps_own_user(home: Path, origin: Origin, tmp_path: Path) -> None:
    commit = origin.commit({"a": "1"})
    history = History("refs/heads/main", owner=(JOB_UID, JOB_UID))
    with GitWorkspaces(home, "file", (JOB_UID, JOB_UID)) as workspaces:
        workspaces.fetch(origin.repository, origin.route(commit), "run-1")
        root = tmp_path / "root"
        root.mkdir()
        workspaces.check_out(origin.route(commit), "job-1", 1, root, ("own",), history, Wanted())
        ours = History("refs/heads/main")
        workspaces.check_out(origin.route(commit), "job-1", 1, root, ("ours",), ours, Wanted())

    assert git(root / "ours", "status", "--porcelain") == ""
    with pytest.raises(subprocess.CalledProcessError, match=r"status.*returned non-zero exit status 128"):
        git(root / "own", "status", "--porcelain")
