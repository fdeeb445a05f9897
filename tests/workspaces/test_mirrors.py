"""Mirrors under everything that happens to them: races, kills, force-pushes, garbage collection."""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine.ports import History
from runner.errors import Rejected, Unavailable
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces
from runner.workspaces.git import Git, GitFailed
from runner.workspaces.hosts import Hosts
from runner.workspaces.mirrors import Mirror
from runner.workspaces.names import Address
from runner.workspaces.reading import Readers
from tests.executors.jobs import survivors
from tests.workspaces.origin import FORGE, NAME, Origin, git, mirror_of

FETCH = """
import sys
import time
from pathlib import Path
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces
home, url, commit, keep = sys.argv[1:]
with GitWorkspaces(Path(home), "file:ssh", environment={"GIT_SSH_COMMAND": "@SSH@"}) as workspaces:
    route = Route("git", "octo/hello", commit)
    workspaces.fetch(Repository("git", "octo/hello", url), route, keep)
    workspaces.read(route, "")
    print("fetched", flush=True)
    sys.stdin.read()
"""

STALLING_SSH = """#!/bin/sh
# Hands over the first bytes of what git asks for, says so, and hangs.
for command; do :; done
eval "$command" | { dd bs=1 count=3000 status=none; echo $$ > %s; cat %s; }
"""


@contextmanager
def fetching_process(
    home: Path, url: str, commit: str, keep: str, ssh: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """A process that fetches and then waits for the end of its stdin; it dies with the block."""
    script = FETCH.replace("@SSH@", ssh)
    command = [sys.executable, "-c", script, str(home), url, commit, keep]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def readers_in(home: Path) -> list[int]:
    """The living processes that read the mirrors of one home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            said = (entry / "cmdline").read_bytes()
            if b"\0cat-file\0" in said and f"--git-dir={home}/".encode() in said:
                found.append(int(entry.name))
    return found


def wait_until_dead(process: int) -> None:
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 20)[0], f"process {process} is still there"
    finally:
        os.close(descriptor)


class StallingSsh:
    """An ssh whose other side stops in the middle of a pack."""

    def __init__(self, folder: Path) -> None:
        self._report, hang, self.command = folder / "report", folder / "hang", folder / "ssh"
        os.mkfifo(self._report)
        os.mkfifo(hang)
        self.command.write_text(STALLING_SSH % (self._report, hang))
        self.command.chmod(0o755)

    def wait(self) -> int:
        """The process that hangs, once it does."""
        return int(self._report.read_text())


@pytest.fixture
def stalling_ssh(tmp_path: Path) -> StallingSsh:
    return StallingSsh(tmp_path)


def a_large_commit(origin: Origin) -> str:
    origin.path.joinpath("random").write_bytes(os.urandom(300_000))
    return origin.commit_all()


def test_a_kept_commit_outlives_a_force_push_a_deleted_branch_and_garbage_collection(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    kept = origin.commit({"a": "kept"}, branch="topic")
    workspaces.fetch(origin.repository, origin.route(kept), "run/1")
    git(origin.path, "branch", "--delete", "--force", "topic")
    git(origin.path, "checkout", "--quiet", "--orphan", "fresh")
    pushed = origin.commit({"a": "pushed"})
    git(origin.path, "branch", "--force", "main")
    origin.forget(kept)
    workspaces.fetch(origin.repository, origin.route(pushed), "run/2")

    mirror = mirror_of(home)
    git(mirror, "--git-dir=.", "gc", "--quiet", "--prune=now")

    refs = git(mirror, "--git-dir=.", "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    assert f"refs/runner/keep/run%2F1 {kept}" in refs
    assert (workspaces.open(origin.route(kept), "17", 1, None).path / "a").read_text() == "kept"


def test_a_ref_written_without_git_is_one_that_git_reads_and_a_released_one_is_gone(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "packed")
    git(mirror_of(home), "--git-dir=.", "pack-refs", "--all")
    workspaces.fetch(origin.repository, route, "loose")
    git(mirror_of(home), "--git-dir=.", "fsck", "--strict")

    before = git(mirror_of(home), "--git-dir=.", "for-each-ref", "--format=%(refname)", "refs/runner/keep")
    workspaces.release(route, "packed")
    workspaces.release(route, "loose")

    assert before.splitlines() == ["refs/runner/keep/loose", "refs/runner/keep/packed"]
    assert git(mirror_of(home), "--git-dir=.", "for-each-ref", "refs/runner/keep") == ""


def test_commits_are_held_while_git_packs_the_refs_of_others(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-0")
    mirror, over = mirror_of(home), threading.Event()

    def pack() -> None:
        while not over.is_set():
            git(mirror, "--git-dir=.", "pack-refs", "--all", "--prune")

    with ThreadPoolExecutor(1) as thread:
        packing = thread.submit(pack)
        try:
            for number in range(300):
                workspaces.fetch(origin.repository, route, f"run-{number}")
        finally:
            over.set()
    packing.result()

    assert len(git(mirror, "--git-dir=.", "for-each-ref", "refs/runner/keep").splitlines()) == 300


def test_a_commit_that_is_here_is_fetched_without_the_repository(
    workspaces: GitWorkspaces, origin: Origin
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    shutil.rmtree(origin.path)

    workspaces.fetch(origin.repository, route, "run-1")
    workspaces.fetch(origin.repository, route, "run-2")

    assert workspaces.read(route, "") == {"a": b"1"}


def test_an_open_reader_sees_what_another_process_fetched_later(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    first = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, first, "run-1")
    workspaces.read(first, "")
    readers = readers_in(home)
    second = origin.route(origin.commit({"a": "2"}))
    with GitWorkspaces(home, "file") as other:
        other.fetch(origin.repository, second, "run-2")

    assert workspaces.read(second, "") == {"a": b"2"}
    assert readers_in(home) == readers != []


def test_a_reader_that_died_is_replaced(workspaces: GitWorkspaces, origin: Origin, home: Path) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    (reader,) = readers_in(home)
    os.kill(reader, signal.SIGKILL)
    os.waitid(os.P_PID, reader, os.WEXITED | os.WNOWAIT)

    assert workspaces.read(route, "") == {"a": b"1"}
    (other,) = readers_in(home)
    assert other != reader


def test_a_forked_process_has_readers_of_its_own(workspaces: GitWorkspaces, origin: Origin) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    child = os.fork()
    if not child:
        try:
            good = workspaces.read(route, "") == {"a": b"1"}
            workspaces.close()
            os._exit(0 if good else 1)
        finally:
            os._exit(2)

    assert os.waitpid(child, 0)[1] == 0
    assert workspaces.read(route, "") == {"a": b"1"}


def test_readers_end_with_the_process_that_has_them_open(origin: Origin, home: Path) -> None:
    commit = origin.commit({"a": "1"})
    with fetching_process(home, str(origin.path), commit, "run-1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fetched\n"
        readers = readers_in(home)
        process.kill()

    assert len(readers) == 1
    wait_until_dead(readers[0])


def test_threads_and_processes_fetch_the_same_repository_at_once(origin: Origin, home: Path) -> None:
    commits = [origin.commit({"a": str(number)}) for number in range(8)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                fetching_process(home, str(origin.path), commits[number], f"process-{number}")
            )
            for number in range(2)
        ]
        workspaces = stack.enter_context(GitWorkspaces(home, "file"))
        threads = stack.enter_context(ThreadPoolExecutor(8))
        fetches = [
            threads.submit(workspaces.fetch, origin.repository, origin.route(commit), f"thread-{commit}")
            for commit in commits
        ]
        for fetch in fetches:
            fetch.result()
        read = [workspaces.read(origin.route(commit), "") for commit in commits]
        answers = [process.communicate("")[0] for process in processes]

    assert answers == ["fetched\n"] * 2
    assert read == [{"a": str(number).encode()} for number in range(8)]
    refs = git(mirror_of(home), "--git-dir=.", "for-each-ref", "--format=%(refname)", "refs/runner/keep")
    assert len(refs.splitlines()) == 10
    assert git(mirror_of(home), "--git-dir=.", "fsck", "--strict") == ""


def test_a_mirror_is_made_once_by_whoever_is_first(origin: Origin, home: Path) -> None:
    origin.commit({"a": "1"})
    with GitWorkspaces(home, "file") as workspaces, ThreadPoolExecutor(8) as threads:
        resolved = list(threads.map(lambda _: workspaces.resolve(origin.repository, "main"), range(8)))

    assert len(set(resolved)) == 1
    assert [path.name for path in (home / "mirrors").iterdir()] == ["git%2Focto%2Fhello.git"]


def test_a_fetch_killed_in_the_middle_of_a_pack_leaves_a_usable_mirror(
    origin: Origin, home: Path, stalling_ssh: StallingSsh
) -> None:
    first = origin.commit({"a": "1"})
    with GitWorkspaces(home, "file") as workspaces:
        workspaces.fetch(origin.repository, origin.route(first), "run-1")
    commit = a_large_commit(origin)
    url = f"ssh://host{origin.path}"
    with fetching_process(home, url, commit, "run-2", str(stalling_ssh.command)) as process:
        hanging = stalling_ssh.wait()
        process.kill()
    os.killpg(os.getpgid(hanging), signal.SIGKILL)

    with GitWorkspaces(home, "file") as workspaces:
        workspaces.fetch(origin.repository, origin.route(commit), "run-2")
        opened = workspaces.open(origin.route(commit), "17", 1, None)
        assert (opened.path / "random").stat().st_size == 300_000


@pytest.mark.parametrize(("timeout", "seconds"), [(5, None), (600, 5), (5, 600)])
def test_a_repository_that_hangs_is_unavailable_in_time_and_nothing_of_git_is_left(
    origin: Origin,
    home: Path,
    tmp_path: Path,
    stalling_ssh: StallingSsh,
    timeout: float,
    seconds: float | None,
) -> None:
    commit = a_large_commit(origin)
    repository = Repository(FORGE, NAME, f"ssh://host{origin.path}")
    environment = {"GIT_SSH_COMMAND": str(stalling_ssh.command)}
    opened = GitWorkspaces(home, "ssh", environment=environment, timeout=timeout)

    # Nobody reads what the ssh reports: it hangs at that at the latest.
    with closing(opened), pytest.raises(Unavailable, match="git fetch did not finish in 5 seconds"):
        opened.fetch(repository, origin.route(commit), "run-1", seconds=seconds)

    assert survivors(f"{tmp_path}/") == []


def test_what_is_no_commit_is_rejected(workspaces: GitWorkspaces, origin: Origin) -> None:
    origin.commit({"a": "1"})
    git(origin.path, "tag", "-a", "v1", "-m", "a tag object")
    tag = git(origin.path, "rev-parse", "v1")

    with pytest.raises(Rejected, match=f"{tag} is a tag in octo/hello; give the id of a commit"):
        workspaces.fetch(origin.repository, origin.route(tag), "run-1")


def test_a_local_repository_of_another_user_is_named_as_such() -> None:
    advice = (
        b"fatal: detected dubious ownership in repository at '/x'\nTo add an exception, call:\n\n\tgit x\n"
    )

    assert "another user" in GitFailed(advice).said


@pytest.mark.parametrize("host", ["[", "a.example", "a.example:8443"])
def test_whatever_a_forge_calls_itself_is_named_where_its_certificate_is_not_trusted(host: str) -> None:
    said = f"fatal: remote error: unable to access 'https://me:secret@{host}/a': server certificate expired"

    assert GitFailed(said.encode()).said.startswith(f"the certificate of {host} is not trusted (server ")


def test_a_mirror_that_an_administrator_removed_is_made_again(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    shutil.rmtree(mirror_of(home))

    with pytest.raises(Unavailable, match="was not fetched to this machine yet"):
        workspaces.read(route, "")
    workspaces.fetch(origin.repository, route, "run-1")

    assert workspaces.read(route, "") == {"a": b"1"}


def test_whoever_registers_a_name_again_reaches_nothing_of_who_had_it(
    workspaces: GitWorkspaces, origin: Origin, home: Path, tmp_path: Path
) -> None:
    secret = origin.route(origin.commit({"a": "secret"}))
    other = Origin(tmp_path / "other")
    public = other.route(other.commit({"a": "public"}))
    former = replace(origin.repository, registration="1")
    latter = replace(other.repository, registration="2")
    workspaces.fetch(former, secret, "run-1")
    workspaces.read(secret, "")

    for keep in ("run-1", "run-2"):
        with pytest.raises(Rejected, match="has no commit"):
            workspaces.fetch(latter, secret, keep)
    with pytest.raises(Unavailable, match="was not fetched"):
        workspaces.read(secret, "")
    workspaces.fetch(latter, public, "run-3")

    assert workspaces.read(public, "") == {"a": b"public"}
    refs = git(mirror_of(home), "--git-dir=.", "for-each-ref", "--format=%(objectname)").split()
    assert set(refs) == {public.commit}


def test_a_job_of_a_former_registration_puts_nothing_into_the_mirror_of_the_next(
    workspaces: GitWorkspaces, origin: Origin, home: Path, tmp_path: Path
) -> None:
    first = origin.route(origin.commit({"a": "1"}))
    secret = origin.route(origin.commit({"a": "secret"}))
    former, latter = (replace(origin.repository, registration=number) for number in "12")
    workspaces.fetch(former, first, "run-1")
    with GitWorkspaces(home, "file") as meanwhile:
        meanwhile.fetch(latter, first, "run-2")
    held = Mirror(mirror_of(home), NAME, Git("file", {}), Hosts((), {}), Readers(Git("file", {})), timeout=60)

    with pytest.raises(Unavailable, match="was registered anew"):
        held.download(Address(str(origin.path)), secret.commit)


def test_objects_that_were_lost_are_fetched_again(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commit = origin.commit({"a": "1"})
    workspaces.fetch(origin.repository, origin.route(commit), "run-1")
    mirror = mirror_of(home)
    text = git(mirror, "--git-dir=.", "cat-file", "commit", commit) + "\n"
    for pack in (mirror / "objects/pack").iterdir():
        pack.unlink()
    git(mirror, "--git-dir=.", "hash-object", "-t", "commit", "-w", "--stdin", input=text.encode())

    with GitWorkspaces(home, "file") as workspaces:
        with pytest.raises(Unavailable, match="the next fetch gets it again"):
            workspaces.read(origin.route(commit), "")
        workspaces.fetch(origin.repository, origin.route(commit), "run-1")

        assert workspaces.read(origin.route(commit), "") == {"a": b"1"}


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_mirror_whose_objects_are_damaged_is_made_again(
    workspaces: GitWorkspaces, origin: Origin, home: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    commit = a_large_commit(origin)
    route = origin.route(commit)
    workspaces.fetch(origin.repository, route, "run-1")
    workspaces.close()
    for pack in (mirror_of(home) / "objects/pack").glob("*.pack"):
        if damage == "removed":
            pack.unlink()
        else:
            pack.chmod(0o600)
            os.truncate(pack, pack.stat().st_size // 2)

    with pytest.raises(Unavailable, match="the next fetch gets it again"):
        workspaces.open(route, "17", 1, None)
    workspaces.fetch(origin.repository, route, "run-1")

    assert (workspaces.open(route, "17", 1, None).path / "random").stat().st_size == 300_000
    assert "a mirror is damaged" in caplog.text


def test_a_fetch_that_brings_more_than_it_may_is_ended(origin: Origin, home: Path) -> None:
    small = origin.commit({"a": "1"})
    with GitWorkspaces(home, "file", fetch_bytes=200_000) as workspaces:
        workspaces.fetch(origin.repository, origin.route(small), "run-1")
        origin.path.joinpath("random").write_bytes(os.urandom(30_000_000))
        large = origin.commit_all()

        with pytest.raises(Rejected, match=r"sends more than 200000 bytes .* \(RUNNER_FETCH_BYTES\)"):
            workspaces.fetch(origin.repository, origin.route(large), "run-2")

        assert list((mirror_of(home) / "objects/pack").glob("tmp_*")) == []
        assert workspaces.read(origin.route(small), "") == {"a": b"1"}


def test_whoever_fetches_gets_what_others_wait_for(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    first = origin.commit({"a": "1"})
    workspaces.fetch(origin.repository, origin.route(first), "run-1")
    pulled = [git(origin.path, "commit-tree", origin.tree_of(first), "-m", text) for text in "xy"]
    (mirror_of(home) / "wanted-by-somebody").write_text(pulled[1])

    workspaces.fetch(origin.repository, origin.route(pulled[0]), "run-2")
    shutil.move(origin.path, home / "away")

    workspaces.fetch(origin.repository, origin.route(pulled[1]), "run-3")


def test_many_fetches_leave_few_packs_and_every_commit(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commits = []
    for number in range(27):
        commits.append(origin.commit({"a": str(number)}))
        workspaces.fetch(origin.repository, origin.route(commits[-1]), f"run-{number}")

    assert len(list((mirror_of(home) / "objects/pack").glob("*.pack"))) < 10
    assert [workspaces.read(origin.route(commit), "")["a"] for commit in commits] == [
        str(number).encode() for number in range(27)
    ]


def test_what_is_cloned_for_all_is_apart_from_a_tenant_of_the_same_name(
    workspaces: GitWorkspaces, origin: Origin, home: Path, tmp_path: Path
) -> None:
    other = Origin(tmp_path / "other")
    ours, theirs = origin.commit({"a": "ours"}), other.commit({"a": "theirs"})
    open_to_all = Repository("actions", NAME, str(other.path), registration="/first")
    workspaces.fetch(origin.repository, origin.route(ours), "run-1")
    workspaces.fetch(open_to_all, Route("actions", NAME, theirs), "run-1")

    assert workspaces.read(Route("actions", NAME, theirs), "") == {"a": b"theirs"}
    with pytest.raises(Unavailable, match="was not fetched to this machine yet"):
        workspaces.read(Route("actions", NAME, ours), "")
    with pytest.raises(Unavailable, match="was not fetched to this machine yet"):
        workspaces.read(origin.route(theirs), "")


def test_what_was_cloned_from_another_address_is_not_taken_for_this_ones(
    workspaces: GitWorkspaces, origin: Origin, tmp_path: Path
) -> None:
    other = Origin(tmp_path / "other")
    former, _ = origin.commit({"a": "former"}), other.commit({"a": "new"})
    before, now = (
        Repository("actions", NAME, str(one.path), registration=str(one.path)) for one in (origin, other)
    )
    workspaces.fetch(before, Route("actions", NAME, former), "run-1")

    with pytest.raises(Rejected, match=f"has no commit {former}"):
        workspaces.fetch(now, Route("actions", NAME, former), "run-1")


def test_of_what_is_fetched_without_its_history_there_are_the_commits_themselves(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    first, second, third = (origin.commit({"a": text * 1000}) for text in "123")
    for commit in (second, third):
        workspaces.fetch(origin.repository, origin.route(commit), commit, history=False)
        # What one leaves who was killed meanwhile.
        (mirror_of(home) / "shallow.lock").touch()

    assert [workspaces.read(origin.route(one), "")["a"][:1] for one in (second, third)] == [b"2", b"3"]
    with pytest.raises(Unavailable, match="was not fetched to this machine yet"):
        workspaces.read(origin.route(first), "")
    workspaces.fetch(origin.repository, origin.route(first), "first", history=False)
    assert workspaces.read(origin.route(first), "")["a"][:1] == b"1"


def test_what_is_missing_of_a_commit_without_history_is_fetched_anew(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commit = origin.commit({"a": "1", "b/c": "2"})
    route = origin.route(commit)
    workspaces.fetch(origin.repository, route, "run-1", history=False)
    for pack in (mirror_of(home) / "objects/pack").iterdir():
        pack.unlink()
    workspaces.close()
    workspaces.fetch(origin.repository, route, "run-2", history=False)

    assert workspaces.read(route, "b") == {"b/c": b"2"}


def test_of_mirrors_that_do_not_fit_the_ones_go_that_were_not_used_for_longest(
    workspaces: GitWorkspaces, home: Path, tmp_path: Path
) -> None:
    names = ("octo/old", "octo/older", "octo/of-a-job", "octo/new")
    for age, name in ((2, names[0]), (4, names[1]), (6, names[2]), (0, names[3])):
        origin = Origin(tmp_path / name)
        route = Route(FORGE, name, a_large_commit(origin))
        workspaces.fetch(Repository(FORGE, name, str(origin.path)), route, "run-1")
        if name == "octo/of-a-job":
            workspaces.open(route, "job-1", 1, None, History("refs/heads/main"))
        mirror = home / "mirrors" / f"git%2F{name.replace('/', '%2F')}.git"
        then = time.time() - age * 3600
        os.utime(mirror / "registration", (then, then))

    def there() -> set[str]:
        return {path.stem.rpartition("%2F")[2] for path in (home / "mirrors").glob("*.git")}

    workspaces.tend(0)
    assert there() == {"old", "older", "of-a-job", "new"}
    workspaces.tend(1_100_000)
    assert there() == {"old", "of-a-job", "new"}
    workspaces.tend(1)
    assert there() == {"of-a-job", "new"}
    workspaces.retire("job-1")
    workspaces.tend(1)
    assert there() == {"new"}


def test_a_mirror_is_not_removed_as_long_as_its_commits_are_needed(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    route = origin.route(origin.commit({"a": "1"}))
    workspaces.fetch(origin.repository, route, "run-1")
    mirror = mirror_of(home)
    git(mirror, "pack-refs", "--all")
    workspaces.fetch(origin.repository, route, "run-2")
    then = time.time() - 2 * 3600
    os.utime(mirror / "registration", (then, then))
    asked = []

    def needed(keeps: Collection[str]) -> bool:
        asked.append(keeps)
        return len(asked) == 1

    workspaces.tend(1, needed)
    assert mirror.exists()
    workspaces.tend(1, needed)
    assert not mirror.exists()
    assert asked == [{"run-1", "run-2"}] * 2


def test_mirrors_are_put_in_order_when_nobody_waits(
    workspaces: GitWorkspaces, origin: Origin, home: Path
) -> None:
    commits = []
    for number in range(8):
        commits.append(origin.commit({"a": str(number)}))
        workspaces.fetch(origin.repository, origin.route(commits[-1]), f"run-{number}")
    opened = workspaces.open(origin.route(commits[-1]), "job-1", 1, None, History("refs/heads/main"))
    mirror = mirror_of(home)

    with (mirror.parent / f"{mirror.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workspaces.tend(1)
        assert not (mirror / "objects/info/commit-graph").exists()
    workspaces.tend(1)

    assert (mirror / "objects/info/commit-graph").exists()
    assert len(list((mirror / "objects/pack").glob("*.pack"))) < 4
    assert git(opened.path, "log", "--format=%H").split() == commits[::-1]
