"""Files in Git LFS: their contents in checkouts, where they come from, and who is told what on the way."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from threading import Event, Thread

import pytest

from runner.engine.ports import History, Large, Wanted
from runner.errors import BrokenDefinition, Rejected, Unavailable
from runner.model.source import Repository, Route
from runner.workspaces import GitWorkspaces
from runner.workspaces.large import Shelf, WrongContent
from runner.workspaces.pointers import pointer_in
from tests.workspaces.forge import Forge, a_forge, a_pointer, basic, digest_of
from tests.workspaces.origin import Origin, git, mirror_of

BIG, OTHER = b"\0large\n" * 50_000, b"another" * 1000
ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
LOGIN = "octo:s3cret"
ALL = Wanted()
PATHS = ["a/docs/c.bin", "a/x.png.bin", "docs/a.bin", "docs/deep/b.bin"]


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    with a_forge(tmp_path / "forge", LOGIN) as made:
        yield made


def a_home(path: Path, bytes: int = 0, hindrance: str | None = "not here") -> GitWorkspaces:
    networks = [ip_network("127.0.0.0/8")]
    return GitWorkspaces(path, "http:file", networks=networks, fetch_bytes=bytes, hindrance=lambda: hindrance)


@pytest.fixture
def workspaces(home: Path) -> Iterator[GitWorkspaces]:
    with a_home(home) as opened:
        yield opened


def pushed(forge: Forge, origin: Origin, files: dict[str, str]) -> tuple[Repository, Route]:
    """A repository of the forge with one commit."""
    commit = origin.commit(files)
    if not (forge.root / "o/n.git").exists():
        forge.a_repository("o/n")
    git(origin.path, "push", "--quiet", "--force", str(forge.root / "o/n.git"), "HEAD:refs/heads/main")
    url = forge.url.replace("://", f"://{LOGIN}@", 1) + "/o/n"
    return Repository("git", "o/n", url, registration="1"), Route("git", "o/n", commit)


def checked_out(
    workspaces: GitWorkspaces,
    repository: Repository,
    route: Route,
    wanted: Wanted = ALL,
    check: Callable[[], None] = lambda: None,
) -> tuple[Path, Mapping[str, Large]]:
    """A job's folder with a checkout below it."""
    workspaces.fetch(repository, route, "run")
    root = workspaces.open(route, "job", 1, None).path
    large = workspaces.fetch_large(repository, route, wanted, check)
    filled = Wanted(sparse=wanted.sparse, cone=wanted.cone, large=large)
    workspaces.check_out(route, "job", 1, root, ["there"], History("refs/heads/main"), filled)
    return root / "there", large


def test_pointers_become_what_they_point_to_and_git_sees_no_change(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces
) -> None:
    files = {
        ".gitattributes": ATTRIBUTES,
        "sub/.gitattributes": "plain.bin -filter\n",
        "big.bin": forge.keep(BIG),
        "sub/other.bin": forge.keep(OTHER),
        "sub/plain.bin": forge.keep(b"a pointer that nobody asked to follow" * 9),
        "looks-like.txt": a_pointer(b"not in LFS"),
        "broken.bin": "version https://git-lfs.github.com/spec/v1\nand so on, which makes it a plain file\n",
    }

    there, large = checked_out(workspaces, *pushed(forge, origin, files))

    assert large == {
        "big.bin": Large(digest_of(BIG), len(BIG)),
        "sub/other.bin": Large(digest_of(OTHER), len(OTHER)),
    }
    assert (there / "big.bin").read_bytes() == BIG
    assert (there / "sub/other.bin").read_bytes() == OTHER
    for name in ("sub/plain.bin", "looks-like.txt", "broken.bin"):
        assert (there / name).read_text() == files[name]
    assert git(there, "status", "--porcelain") == ""
    git(there, "add", "--all")
    assert git(there, "diff", "--cached", "--name-only") == ""


def test_a_content_comes_once_and_a_step_that_writes_its_file_does_not_change_the_next_one(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, home: Path
) -> None:
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "big.bin": forge.keep(BIG)})
    there, _ = checked_out(workspaces, repository, route)
    with (there / "big.bin").open("r+b") as file:
        file.write(b"changed")

    again, _ = checked_out(workspaces, repository, route)

    assert (again / "big.bin").read_bytes() == BIG
    assert len(forge.paths(digest_of(BIG))) == 1
    assert len(forge.paths("/objects/batch")) == 1


def test_what_was_kept_is_fetched_again_where_it_is_not_whole(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, home: Path
) -> None:
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "big.bin": forge.keep(BIG)})
    checked_out(workspaces, repository, route)
    (kept,) = (mirror_of(home) / "lfs").glob("??/??/*")
    os.truncate(kept, 10)

    there, _ = checked_out(workspaces, repository, route)

    assert (there / "big.bin").read_bytes() == BIG


def test_another_registration_of_the_name_gets_nothing_that_was_kept(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces
) -> None:
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "big.bin": forge.keep(BIG)})
    checked_out(workspaces, repository, route)
    forge.contents.clear()
    anew = Repository("git", "o/n", repository.url, registration="2")

    with pytest.raises(Rejected, match=r"'big.bin' is not on its LFS server"):
        checked_out(workspaces, anew, route)


def test_only_what_a_sparse_checkout_and_the_configuration_want_is_fetched(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces
) -> None:
    files = {
        ".gitattributes": ATTRIBUTES,
        ".lfsconfig": "[lfs]\n\tfetchexclude = docs/old/**, *.tmp.bin\n",
        "docs/a.bin": forge.keep(BIG),
        "docs/b.tmp.bin": a_pointer(b"nowhere"),
        "docs/old/c.bin": a_pointer(b"nowhere too"),
        "src/d.bin": a_pointer(b"nowhere either"),
    }
    repository, route = pushed(forge, origin, files)

    there, large = checked_out(workspaces, repository, route, Wanted(sparse="docs"))

    assert list(large) == ["docs/a.bin"]
    assert (there / "docs/a.bin").read_bytes() == BIG
    assert (there / "docs/b.tmp.bin").read_text() == files["docs/b.tmp.bin"]
    assert git(there, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", ["a plain folder", "an overlay"])
def test_a_job_folder_that_is_as_it_began_gets_the_contents_alone(
    forge: Forge, origin: Origin, home: Path, kind: str
) -> None:
    files = {".gitattributes": ATTRIBUTES, "sub/big.bin": forge.keep(BIG), "sub/plain": "p"}
    repository, route = pushed(forge, origin, files)
    with a_home(home, hindrance=None if kind == "an overlay" else "not here") as workspaces:
        there_alone(workspaces, repository, route)


def there_alone(workspaces: GitWorkspaces, repository: Repository, route: Route) -> None:
    workspaces.fetch(repository, route, "run")
    history = History("refs/heads/main")
    root = workspaces.open(route, "job", 1, None, history).path
    before = (root / "sub/plain").stat().st_ino

    large = workspaces.fetch_large(repository, route, Wanted())
    workspaces.check_out(route, "job", 1, root, [], history, Wanted(large=large, there=True))

    assert (root / "sub/big.bin").read_bytes() == BIG
    assert (root / "sub/plain").stat().st_ino == before
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "log", "--oneline")


def test_the_login_goes_to_the_server_of_the_repository_and_nowhere_else(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, tmp_path: Path
) -> None:
    with a_forge(tmp_path / "store") as store, a_forge(tmp_path / "third") as third:
        for one in (store, third):
            one.contents = forge.contents
        forge.elsewhere, store.redirect = store, third.url
        repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG)})

        there, _ = checked_out(workspaces, repository, route)

        assert (there / "a.bin").read_bytes() == BIG
        path = f"/contents/{digest_of(BIG)}"
        assert store.asked == third.asked == [("GET", path, "")]
    assert ("POST", "/o/n.git/info/lfs/objects/batch", basic(LOGIN)) in forge.asked


def test_what_the_server_says_for_a_content_is_sent_along(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, tmp_path: Path
) -> None:
    with a_forge(tmp_path / "store") as store:
        store.contents = forge.contents
        pointer = forge.keep(BIG)
        action = {
            "href": f"{store.url}/contents/{digest_of(BIG)}",
            "header": {"Authorization": "Remote x"},
        }
        forge.answer = {"objects": [{"oid": digest_of(BIG), "size": 1, "actions": {"download": action}}]}
        repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": pointer})

        checked_out(workspaces, repository, route)

        assert store.asked == [("GET", f"/contents/{digest_of(BIG)}", "Remote x")]


def test_a_server_that_the_files_name_is_on_the_same_host_and_gets_no_login(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces
) -> None:
    config = f"[lfs]\n\turl = {forge.url}/other/n.git/info/lfs\n"
    files = {".gitattributes": ATTRIBUTES, ".lfsconfig": config, "a.bin": forge.keep(BIG)}
    repository, route = pushed(forge, origin, files)

    with pytest.raises(Rejected, match="refuses whoever has no login"):
        checked_out(workspaces, repository, route)
    assert ("POST", "/other/n.git/info/lfs/objects/batch", "") in forge.asked

    files[".lfsconfig"] = f"[lfs]\n\turl = {forge.url}/o/n.git/info/lfs\n"
    there, _ = checked_out(workspaces, *pushed(forge, origin, files))
    assert (there / "a.bin").read_bytes() == BIG


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "http://evil.test/o/n.git/info/lfs",
            "lfs.url leads to 'evil.test'; contents are fetched from",
        ),
        ("http://octo:s3cret@127.0.0.1/x", "must be https://HOST/PATH, without a login"),
        ("file:///srv/lfs", "must be https://HOST/PATH"),
        ("ext::sh -c x", "must be https://HOST/PATH"),
        ("http://[::1/x", "must be https://HOST/PATH"),
    ],
)
def test_a_server_elsewhere_is_refused(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, url: str, why: str
) -> None:
    files = {
        ".gitattributes": ATTRIBUTES,
        ".lfsconfig": f'[lfs]\n\turl = "{url}"\n',
        "a.bin": forge.keep(BIG),
    }

    with pytest.raises(Rejected, match=why.replace(".", r"\.")):
        checked_out(workspaces, *pushed(forge, origin, files))

    assert forge.paths("/objects/batch") == []


@pytest.mark.parametrize(
    ("href", "why"),
    [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254, which is not public"),
        ("http://[::ffff:10.0.0.1]/x", "which is not public"),
        ("file:///etc/passwd", "an address that is not https://HOST/PATH"),
        ("https://127.0.0.1/x", "the protocol 'https' of its LFS server is not allowed"),
        ("http://a@127.0.0.1/x", "an address that is not https://HOST/PATH"),
        ("http://[::1/", "an address that cannot be read"),
    ],
)
def test_a_content_is_fetched_from_where_git_could_fetch_too(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, href: str, why: str
) -> None:
    action = {"download": {"href": href}}
    forge.answer = {"objects": [{"oid": digest_of(BIG), "size": len(BIG), "actions": action}]}
    files = {".gitattributes": ATTRIBUTES, "a.bin": a_pointer(BIG)}

    with pytest.raises(Rejected, match=why):
        checked_out(workspaces, *pushed(forge, origin, files))


def test_a_server_that_stumbles_is_asked_again(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.workspaces.batches.PAUSE_SECONDS", 0.01)
    forge.failures = [503, 404]
    files = {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG), "b.bin": forge.keep(OTHER)}

    there, _ = checked_out(workspaces, *pushed(forge, origin, files))

    assert ((there / "a.bin").read_bytes(), (there / "b.bin").read_bytes()) == (BIG, OTHER)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (BIG[:-1] + b"!", "'a.bin': what was sent has another SHA-256"),
        (BIG + b"!", f"'a.bin': more than the {len(BIG)} bytes of it were sent"),
        (BIG[:-1], f"'a.bin': {len(BIG) - 1} bytes were sent instead of {len(BIG)}"),
    ],
)
def test_what_is_not_what_was_asked_for_is_never_used(
    forge: Forge,
    origin: Origin,
    workspaces: GitWorkspaces,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    why: str,
) -> None:
    monkeypatch.setattr("runner.workspaces.batches.PAUSE_SECONDS", 0.01)
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": a_pointer(BIG)})
    forge.contents[digest_of(BIG)] = sent

    with pytest.raises(Unavailable, match=why):
        checked_out(workspaces, repository, route)

    assert [path for path in (mirror_of(home) / "lfs").rglob("*") if path.is_file()] == [
        mirror_of(home) / "lfs/.lock"
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"transfer": "tus", "objects": []}, "offers no basic transfer"),
        ({"hash_algo": "sha512", "objects": []}, "offers no basic transfer"),
        (
            {"objects": [{"oid": digest_of(BIG), "error": {"code": 422, "message": "x\x1b"}}]},
            r"422: 'x\\x1b'",
        ),
    ],
)
def test_an_answer_that_ends_it_is_told(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, answer: dict[str, object], why: str
) -> None:
    forge.answer = answer

    pushed_there = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": a_pointer(BIG)})
    with pytest.raises(Rejected, match=why):
        checked_out(workspaces, *pushed_there)


@pytest.mark.parametrize(
    "answer",
    [
        {"objects": None},
        {"objects": [None, {"oid": 1}, {"oid": digest_of(BIG), "actions": {"download": {"href": 1}}}]},
        {"objects": [{"oid": digest_of(BIG), "error": {"code": 503}}]},
    ],
)
def test_an_answer_that_says_nothing_is_as_none(
    forge: Forge,
    origin: Origin,
    workspaces: GitWorkspaces,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, object],
) -> None:
    monkeypatch.setattr("runner.workspaces.batches.PAUSE_SECONDS", 0.01)
    forge.answer = answer

    pushed_there = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": a_pointer(BIG)})
    with pytest.raises(Unavailable, match=r"1 files of LFS cannot be fetched now; 'a.bin': "):
        checked_out(workspaces, *pushed_there)


def test_more_than_one_fetch_may_bring_is_refused_before_it_is_asked_for(
    forge: Forge, origin: Origin, home: Path
) -> None:
    files = {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG), "b.bin": forge.keep(OTHER)}
    repository, route = pushed(forge, origin, files)

    with (
        a_home(home, bytes=len(BIG)) as workspaces,
        pytest.raises(Rejected, match=rf"the 2 .* are {len(BIG) + len(OTHER)} bytes.*RUNNER_FETCH_BYTES"),
    ):
        checked_out(workspaces, repository, route)

    assert forge.paths("/objects/batch") == []


def test_who_waits_no_more_ends_a_download_in_its_midst(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces, home: Path
) -> None:
    class Cancelled(Exception):
        pass

    def check() -> None:
        if forge.begun.is_set():
            raise Cancelled

    forge.held = Event()
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG)})

    with pytest.raises(Cancelled):
        checked_out(workspaces, repository, route, check=check)

    assert not forge.held.is_set()
    assert list((mirror_of(home) / "lfs").glob(".aside-*")) == []


def test_two_that_want_the_same_fetch_it_once(
    forge: Forge, origin: Origin, workspaces: GitWorkspaces
) -> None:
    forge.held = Event()
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG)})
    workspaces.fetch(repository, route, "run")
    waiting = Event()

    def fetched(check: Callable[[], None]) -> None:
        workspaces.fetch_large(repository, route, Wanted(), check)

    first = Thread(target=fetched, args=(lambda: None,))
    first.start()
    assert forge.begun.wait(30)
    second = Thread(target=fetched, args=(waiting.set,))
    second.start()
    assert waiting.wait(30)
    forge.held.set()
    for one in (first, second):
        one.join()

    assert len(forge.paths(digest_of(BIG))) == 1


def test_a_proxy_is_asked_for_contents_as_git_asks_it(forge: Forge, origin: Origin, home: Path) -> None:
    repository, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG)})
    forge.elsewhere = replace(forge, url="http://forge.test")
    repository = replace(repository, url=f"http://{LOGIN}@forge.test/o/n")
    environment = {"http_proxy": forge.url}

    with GitWorkspaces(home, "http", environment=environment, lookup=lambda host: ()) as workspaces:
        there, _ = checked_out(workspaces, repository, route)

        assert (there / "a.bin").read_bytes() == BIG


def test_an_ssh_server_says_where_contents_are_and_lends_a_login(
    forge: Forge, origin: Origin, home: Path, tmp_path: Path
) -> None:
    _, route = pushed(forge, origin, {".gitattributes": ATTRIBUTES, "a.bin": forge.keep(BIG)})
    bin, said = tmp_path / "bin", tmp_path / "said"
    bin.mkdir()
    answer = {"href": f"{forge.url}/o/n.git/info/lfs", "header": {"Authorization": basic(LOGIN)}}
    for name, script in {
        # What ssh does, but that the other machine is this one.
        "ssh": f'for one; do command=$one; done; PATH="{bin}:$PATH"; eval "$command"',
        "git-lfs-authenticate": f"echo \"$@\" > {said}; echo '{json.dumps(answer)}'",
    }.items():
        (bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin / name).chmod(0o755)
    path = forge.root / "o/n.git"
    repository = Repository("git", "o/n", f"ssh://git@127.0.0.1:22{path}", registration="1")
    environment = {"GIT_SSH_COMMAND": str(bin / "ssh"), "PATH": os.environ["PATH"]}
    networks = [ip_network("127.0.0.0/8")]

    with GitWorkspaces(home, "http:ssh", environment=environment, networks=networks) as workspaces:
        there, _ = checked_out(workspaces, repository, route)
        assert (there / "a.bin").read_bytes() == BIG
        (bin / "git-lfs-authenticate").write_text("#!/bin/sh\necho 'Permission denied' >&2; exit 1\n")
        anew = replace(repository, registration="2")
        with pytest.raises(Rejected, match="its ssh server gives no login for LFS: Permission denied"):
            checked_out(workspaces, anew, route)

    assert said.read_text() == f"{path} download\n"


def test_a_repository_on_this_machine_has_its_contents_in_its_own_folder(
    origin: Origin, workspaces: GitWorkspaces
) -> None:
    commit = origin.commit({".gitattributes": ATTRIBUTES, "a.bin": a_pointer(BIG)})
    digest = digest_of(BIG)
    kept = origin.path / ".git/lfs/objects" / digest[:2] / digest[2:4] / digest

    with pytest.raises(Rejected, match=r"'a.bin' is not in the LFS folder of the repository"):
        checked_out(workspaces, origin.repository, origin.route(commit))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(OTHER)
    with pytest.raises(Rejected, match=r"'a.bin' is damaged in"):
        checked_out(workspaces, origin.repository, origin.route(commit))
    kept.unlink()
    kept.symlink_to("/etc/passwd")
    with pytest.raises(Rejected, match=r"'a.bin' is not in the LFS folder"):
        checked_out(workspaces, origin.repository, origin.route(commit))
    kept.unlink()
    kept.write_bytes(BIG)
    there, _ = checked_out(workspaces, origin.repository, origin.route(commit))

    assert (there / "a.bin").read_bytes() == BIG


def test_contents_are_the_first_to_go_where_mirrors_take_too_much(
    origin: Origin, workspaces: GitWorkspaces, home: Path
) -> None:
    commit = origin.commit({".gitattributes": ATTRIBUTES, "a.bin": a_pointer(BIG)})
    digest = digest_of(BIG)
    kept = origin.path / ".git/lfs/objects" / digest[:2] / digest[2:4] / digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(BIG)
    checked_out(workspaces, origin.repository, origin.route(commit))
    (ours,) = (mirror_of(home) / "lfs").glob("??/??/*")

    workspaces.tend(1)
    assert ours.exists()
    os.utime(ours, (0, 0))
    workspaces.tend(1)

    assert not ours.exists()
    assert mirror_of(home).exists()


def test_pointers_are_read_as_git_lfs_writes_them() -> None:
    good = a_pointer(BIG)
    assert pointer_in("a", good.encode()) == Large(digest_of(BIG), len(BIG))
    assert pointer_in("a", good.replace("\n", "\r\n").encode()) is not None
    assert pointer_in("a", good.replace("https://git-lfs", "https://hawser").encode()) is not None
    for bad in (
        b"",
        b"\xff",
        good.replace("sha256", "md5").encode(),
        good.replace("spec/v1", "spec/v9").encode(),
        good.replace("size ", "size -").encode(),
        good.encode() + good.encode(),
        good.encode() + b"x" * 1024,
        "\n".join(reversed(good.splitlines())).encode(),
    ):
        assert pointer_in("a", bad) is None
    first, *others = good.splitlines()
    extended = "\n".join([first, f"ext-0-case sha256:{'0' * 64}", *others])
    with pytest.raises(BrokenDefinition, match="'a' was put into LFS by 'ext-0-case', a program"):
        pointer_in("a", extended.encode())


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ("fetchinclude = docs, *.png.bin", PATHS),
        ("fetchinclude = /docs/deep/", ["docs/deep/b.bin"]),
        ("fetchexclude = docs/**, a/docs", ["a/x.png.bin"]),
        ('fetchinclude = "a, docs"\n\tfetchexclude = "docs"', ["a/x.png.bin"]),
        (
            'fetchexclude = "[attr]filter, !docs, \\"q"',
            ["a/docs/c.bin", "a/x.png.bin", "docs/a.bin", "docs/deep/b.bin"],
        ),
        ("fetchexclude = " + "*x" * 200, PATHS),
    ],
)
def test_what_the_configuration_leaves_out(
    origin: Origin, workspaces: GitWorkspaces, config: str, wanted: list[str]
) -> None:
    files = {path: a_pointer(BIG) for path in PATHS}
    commit = origin.commit({".gitattributes": ATTRIBUTES, ".lfsconfig": f"[lfs]\n\t{config}\n", **files})
    kept = origin.path / ".git/lfs/objects" / digest_of(BIG)[:2] / digest_of(BIG)[2:4] / digest_of(BIG)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(BIG)
    workspaces.fetch(origin.repository, origin.route(commit), "run")

    assert sorted(workspaces.fetch_large(origin.repository, origin.route(commit), Wanted())) == wanted


def test_a_shelf_keeps_nothing_of_what_breaks_off(tmp_path: Path) -> None:
    shelf, one = Shelf(tmp_path / "shelf"), Large(digest_of(BIG), len(BIG))

    with pytest.raises(WrongContent):
        shelf.put(one, [BIG[:100]])

    assert not shelf.take(one)
    shelf.put(one, [BIG[:100], BIG[100:]])
    assert shelf.take(one)
    assert subprocess.run(["sha256sum", shelf.place(one)], capture_output=True, check=True).stdout.startswith(
        one.id.encode()
    )


def test_nobody_waits_for_ever_for_another_who_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.workspaces.large.PATIENCE_SECONDS", 0.01)
    shelf = Shelf(tmp_path / "shelf")
    others = f"process {os.getpid()} has held it"

    with shelf.filling(lambda: None), pytest.raises(Unavailable, match=others), shelf.filling(lambda: None):
        pytest.fail("two have it at once")

    with shelf.filling(lambda: None):
        assert (tmp_path / "shelf").is_dir()
