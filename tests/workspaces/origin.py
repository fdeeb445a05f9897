"""A real repository to fetch from, and jobs' folders as values to compare."""

import os
import subprocess
from pathlib import Path

from runner.model.source import Repository, Route

_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin:/usr/local/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "octo",
    "GIT_AUTHOR_EMAIL": "octo@example.com",
    "GIT_AUTHOR_DATE": "2026-01-01T12:00:00Z",
    "GIT_COMMITTER_NAME": "octo",
    "GIT_COMMITTER_EMAIL": "octo@example.com",
    "GIT_COMMITTER_DATE": "2026-01-01T12:00:00Z",
}

FORGE, NAME = "git", "octo/hello"


def git(folder: Path, *arguments: str, input: bytes = b"") -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, input=input, env=_ENVIRONMENT, capture_output=True, check=True)
    return done.stdout.decode().strip()


class Origin:
    """A repository that people push to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--initial-branch=main")

    @property
    def repository(self) -> Repository:
        return Repository(FORGE, NAME, str(self.path))

    def route(self, commit: str) -> Route:
        return Route(FORGE, NAME, commit)

    def commit(self, files: dict[str, str], branch: str = "main") -> str:
        """Commit these files and no others."""
        for path in git(self.path, "ls-files", "-z").split("\0"):
            if path:
                (self.path / path).unlink()
        for path, text in files.items():
            target = self.path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return self.commit_all(branch)

    def commit_all(self, branch: str = "main") -> str:
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", "a change")
        git(self.path, "branch", "--force", branch) if branch != "main" else None
        return git(self.path, "rev-parse", "HEAD")

    def commit_tree(self, *entries: tuple[str, str, bytes]) -> str:
        """Commit a tree as it is given (mode, name, content or object id), which `git add` would refuse."""
        raw = b""
        for mode, name, content in entries:
            id = content.decode() if mode in ("40000", "160000") else self.blob(content)
            raw += f"{mode} ".encode() + os.fsencode(name) + b"\0" + bytes.fromhex(id)
        tree = git(self.path, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", input=raw)
        return git(self.path, "commit-tree", tree, "-m", "a tree")

    def tree_of(self, commit: str) -> str:
        return git(self.path, "rev-parse", f"{commit}^{{tree}}")

    def blob(self, content: bytes) -> str:
        return git(self.path, "hash-object", "-w", "--stdin", input=content)

    def forget(self, commit: str) -> None:
        """Remove everything that is on no branch, as a forge does some day after a force-push."""
        git(self.path, "reflog", "expire", "--expire=now", "--all")
        git(self.path, "gc", "--quiet", "--prune=now")
        assert commit not in git(self.path, "cat-file", "--batch-all-objects", "--batch-check")


def contents(root: Path) -> dict[str, object]:
    """All of a folder as one value: types, modes, contents, link targets, and the times of files."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            status = path.lstat()
            key = os.fsdecode(os.path.relpath(path, root))
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[key] = ("folder", status.st_mode)
            elif path.is_file():
                found[key] = ("file", status.st_mode, status.st_mtime_ns, path.read_bytes())
    return found


def mirror_of(home: Path) -> Path:
    (mirror,) = (home / "mirrors").glob("*.git")
    return mirror
