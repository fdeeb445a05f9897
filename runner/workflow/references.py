"""`uses`: which action or workflow is meant."""

import posixpath
import re
from dataclasses import dataclass

OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?|[A-Za-z0-9][A-Za-z0-9_-]*")
REPOSITORY = re.compile(r"[A-Za-z0-9._-]+")
WORKFLOW_FILE = re.compile(r"[^/\\]+\.ya?ml")
PYTHON_FILE = re.compile(r"\.runner/workflows/[^/\\]+\.py")
WORKFLOW_FOLDER = re.compile(r"\.github/workflows[^/]*")
FOLDERS = (".github/workflows", ".runner/workflows")
SHORT_COMMIT_ID = re.compile(r"[0-9a-f]{7,39}")
NOT_IN_REFS = frozenset(" ~^:?*[\\")

ACTION_FORMS = "write owner/repository@ref, owner/repository/folder@ref, ./folder or docker://image"
CALL_FORMS = (
    "write ./.github/workflows/file.yml, ./.runner/workflows/file.yml or "
    "owner/repository/.github/workflows/file.yml@ref"
)


class BadReference(ValueError):
    """It names neither an action nor a workflow; the message says why."""


@dataclass(frozen=True, slots=True)
class Local:
    """A folder or file of this repository at this commit, without `./` in front.

    `fixed`: it was written `$/`, which is the repository that the file itself belongs to, at its commit.
    """

    path: str
    fixed: bool = False

    def __str__(self) -> str:
        return f"./{self.path}"


@dataclass(frozen=True, slots=True)
class Remote:
    """What another repository has at one of its versions."""

    repository: str
    path: str
    ref: str

    @property
    def version(self) -> str:
        """What is pinned: the repository as a whole."""
        return f"{self.repository}@{self.ref}"

    def __str__(self) -> str:
        return f"{self.repository}/{self.path}@{self.ref}" if self.path else self.version


@dataclass(frozen=True, slots=True)
class Image:
    name: str


def parse_action(text: str) -> Local | Remote | Image:
    """What a step uses. Raises `BadReference`."""
    if text.startswith("docker://"):
        if not text.removeprefix("docker://"):
            raise BadReference("docker:// lacks the name of an image")
        return Image(text.removeprefix("docker://"))
    found: Local | Remote = a_local(text) if is_local(text) else parse_remote(text, ACTION_FORMS)
    path = found.path
    if isinstance(found, Local) and posixpath.normpath(path.replace("\\", "/")).split("/")[0] == "..":
        raise BadReference(f"it leads out of the repository; {ACTION_FORMS}")
    if (
        not text.startswith("$")
        and path.startswith(".github/workflows/")
        and WORKFLOW_FILE.fullmatch(path.rpartition("/")[2])
    ):
        raise BadReference('a workflow is no step; call it with "uses" in a job of its own')
    return found


def parse_call(text: str, home: str = "") -> Local | Remote:
    """Which workflow a job calls, from a workflow in the folder `home`. Raises `BadReference`."""
    if is_local(text):
        if "@" in text:
            raise BadReference("a workflow of this repository is taken at the same commit; leave out the @")
        path = local_path(text)
        if PYTHON_FILE.fullmatch(path) is None:
            check_workflow_path(path, (*FOLDERS, home) if home else FOLDERS)
        return a_local(text)
    found = parse_remote(text, CALL_FORMS)
    check_workflow_path(found.path, FOLDERS)
    check_ref(found.ref)
    return found


def called_from(text: str, home: Remote | None) -> str:
    """How a run names a workflow that a job calls, from a file in `home`; None is the run's own repository.

    That is its path in the run's own repository, or all of its `uses` in another one.
    """
    found = parse_call(text, local_path(text).rpartition("/")[0] if is_local(text) else "")
    if isinstance(found, Local) and home is not None:
        return str(Remote(home.repository, found.path, home.ref))
    return found.path if isinstance(found, Local) else str(found)


def remote_call(called: str) -> Remote | None:
    """What `called_from` gave, where it is a workflow of another repository."""
    # A workflow of the run's own has no @ in its path.
    return parse_remote(called, CALL_FORMS) if "@" in called else None


def a_local(text: str) -> Local:
    return Local(local_path(text), text.startswith("$/"))


def is_local(text: str) -> bool:
    return text.startswith(("./", "../", "$/", ".\\"))


def local_path(text: str) -> str:
    return text.removeprefix("./").removeprefix("$/").removesuffix("/")


def parse_remote(text: str, forms: str) -> Remote:
    name, at, ref = text.partition("@")
    owner, _, rest = name.partition("/")
    repository, _, path = rest.partition("/")
    if not at or not ref or not repository:
        raise BadReference(
            f"it names no {'version after @' if repository else 'owner and repository'}; {forms}"
        )
    if OWNER.fullmatch(owner) is None:
        raise BadReference(f'"{owner[:40]}" cannot be the owner of a repository; {forms}')
    if REPOSITORY.fullmatch(repository) is None or repository in (".", ".."):
        raise BadReference(f'"{repository[:40]}" cannot be the name of a repository; {forms}')
    return Remote(f"{owner}/{repository}", path.removesuffix("/"), ref)


def check_workflow_path(path: str, folders: tuple[str, ...]) -> None:
    folder, _, name = path.rpartition("/")
    if folder not in folders and WORKFLOW_FOLDER.fullmatch(folder) is None:
        raise BadReference(f"workflows are called from {' or '.join(FOLDERS)}; {CALL_FORMS}")
    if name.endswith(".py"):
        raise BadReference(
            "one in Python is called as ./.runner/workflows/file.py, by its own repository only"
        )
    if WORKFLOW_FILE.fullmatch(name) is None:
        raise BadReference(f'"{name[:40]}" is no workflow file; its name ends with .yml or .yaml')


def check_ref(ref: str) -> None:
    if ref.startswith(("/", ".")) or ref.endswith(("/", ".")):
        raise BadReference(f'no version begins or ends with "/" or ".", as "{ref[:40]}" does')
    if ref.endswith(".lock") or ".." in ref or "//" in ref or "@{" in ref or NOT_IN_REFS & set(ref):
        raise BadReference(f'"{ref[:40]}" cannot be the name of a version')
