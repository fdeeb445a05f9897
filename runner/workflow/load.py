"""The text of a workflow file -> a Workflow, or every problem at once."""

from runner.workflow.compose import Mapping, Node, Scalar, Sequence, compose
from runner.workflow.document import DEFAULT_TIMEOUT, InvalidWorkflow, JobDef, Problem, Triggers, Workflow
from runner.workflow.events import read_triggers
from runner.workflow.needs import Wanted, check_needs
from runner.workflow.reading import MAX_PROBLEMS, Enough, Names, Reader, only
from runner.workflow.schema import (
    CONTAINER,
    JOB,
    JOB_DEFAULTS,
    JOB_ENV,
    NOTHING,
    RUNS_ON,
    WORKFLOW,
    WORKFLOW_ENV,
)
from runner.workflow.steps import IDENTIFIER, IDENTIFIER_RULE, Defaults, read_defaults, read_steps

MAX_BYTES = 512 * 1024
MAX_KEY = 100


def load(path: str, text: bytes) -> Workflow:
    """Read a workflow file; `path` is how problems name it.

    Raises `InvalidWorkflow` with every problem in it, in the order of the file, and nothing else
    whatever the bytes are.
    """
    problems: list[Problem] = []
    source = decode(path, text, problems)
    root = None if source is None else compose(path, source, problems)
    if source is None or root is None:
        if not problems:
            problems.append(Problem(path, 1, 1, 'the file is empty; a workflow needs "on" and "jobs"'))
        raise InvalidWorkflow(in_order(problems))
    try:
        workflow = read_workflow(Reader(path, source, problems), path, root)
    except Enough:
        raise InvalidWorkflow(in_order(problems)) from None
    if problems:
        raise InvalidWorkflow(in_order(problems))
    return workflow


def decode(path: str, text: bytes, problems: list[Problem]) -> str | None:
    """The file as text; None, and a problem, where it is none."""
    if len(text) > MAX_BYTES:
        what = f"the file has {len(text)} bytes; a workflow file is limited to {MAX_BYTES}"
        problems.append(Problem(path, 1, 1, what))
        return None
    for mark, name in (
        (b"\xef\xbb\xbf", "begins with a byte order mark"),
        (b"\xff\xfe", "is UTF-16"),
        (b"\xfe\xff", "is UTF-16"),
    ):
        if text.startswith(mark):
            what = f"the file {name}; save it as UTF-8 without a byte order mark"
            problems.append(Problem(path, 1, 1, what))
            return None
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        line, col = before.count("\n") + 1, len(before) - before.rfind("\n")
        problems.append(Problem(path, line, col, f"the byte 0x{text[error.start]:02x} is not UTF-8"))
        return None


def in_order(problems: list[Problem]) -> list[Problem]:
    """The problems by place, each once: a value that has an alias is read more than once."""
    ordered = sorted(set(problems))
    if len(ordered) <= MAX_PROBLEMS:
        return ordered
    rest = ordered[MAX_PROBLEMS]
    return [*ordered[:MAX_PROBLEMS], Problem(rest.path, rest.line, rest.col, "and more problems like these")]


def read_workflow(reader: Reader, path: str, root: Node) -> Workflow:
    fields = reader.fields(root, "the file", WORKFLOW)
    if isinstance(root, Mapping):
        for key in ("on", "jobs"):
            if key not in fields:
                reader.problem(root.pos, f'a workflow needs "{key}"')
    on = read_triggers(reader, fields["on"]) if "on" in fields else Triggers()
    name = only(fields, "name")
    env, defaults = only(fields, "env"), only(fields, "defaults")
    if (description := only(fields, "description")) is not None:
        reader.text(description, "description")
    return Workflow(
        path=path,
        name=(reader.text(name, "name") if name is not None else None) or path,
        on=on,
        env=reader.templates(env, "env", WORKFLOW_ENV) if env is not None else {},
        jobs=read_jobs(
            reader,
            fields.get("jobs"),
            read_defaults(reader, defaults, NOTHING) if defaults is not None else Defaults(),
        ),
    )


def read_jobs(reader: Reader, node: Node | None, defaults: Defaults) -> tuple[JobDef, ...]:
    if node is None:
        return ()
    if not isinstance(node, Mapping) or not node.entries:
        reader.wrong(node, "jobs", "a mapping with at least one job")
        return ()
    named = reader.named(node, "jobs")
    keys = {name.text.lower(): name.text for name, _ in named}
    wanted: dict[str, Wanted] = {}
    jobs = [read_job(reader, name, value, defaults, keys, wanted) for name, value in named]
    check_needs(reader, wanted)
    return tuple(jobs)


def read_job(
    reader: Reader,
    key: Scalar,
    node: Node,
    defaults: Defaults,
    keys: dict[str, str],
    wanted: dict[str, Wanted],
) -> JobDef:
    check_key(reader, key)
    fields = reader.fields(node, key.text, JOB)
    if isinstance(node, Mapping) and "uses" not in {name.text for name, _ in node.entries}:
        for needed in ("runs-on", "steps"):
            if needed not in fields:
                reader.problem(key.pos, f'the job "{key.text}" needs "{needed}"')
    wanted[key.text] = Wanted.read(reader, only(fields, "needs"), key, keys)
    names = Names(needs={job.lower(): job for job in wanted[key.text].jobs})
    name, env, timeout = only(fields, "name"), only(fields, "env"), only(fields, "timeout-minutes")
    own, container = only(fields, "defaults"), only(fields, "container")
    if own is not None:
        defaults = read_defaults(reader, own, JOB_DEFAULTS, names).over(defaults)
    return JobDef(
        key=key.text,
        name=(reader.text(name, "name") if name is not None else None) or key.text,
        runs_on=read_labels(reader, fields["runs-on"]) if "runs-on" in fields else (),
        steps=read_steps(reader, fields["steps"], defaults, names) if "steps" in fields else (),
        pos=key.pos,
        needs=wanted[key.text].jobs,
        env=reader.templates(env, "env", JOB_ENV, names) if env is not None else {},
        timeout=(reader.minutes(timeout, "timeout-minutes") if timeout is not None else None)
        or DEFAULT_TIMEOUT,
        container=read_container(reader, container) if container is not None else None,
    )


def check_key(reader: Reader, key: Scalar) -> None:
    if IDENTIFIER.fullmatch(key.text) is None or key.text.startswith("__") or len(key.text) > MAX_KEY:
        what = f'"{key.text[:MAX_KEY]}" cannot name a job; {IDENTIFIER_RULE}'
        reader.problem(key.pos, what)


def read_labels(reader: Reader, node: Node) -> tuple[str, ...]:
    if isinstance(node, Mapping):
        reader.fields(node, "runs-on", RUNS_ON)
        if not node.entries:
            reader.wrong(node, "runs-on", "a label or a list of labels")
        return ()
    if isinstance(node, Scalar | Sequence):
        return tuple(dict.fromkeys(label.lower() for label, _ in reader.texts(node, "runs-on")))
    return ()


def read_container(reader: Reader, node: Node) -> str | None:
    image, pos = node, node.pos
    if isinstance(node, Mapping):
        fields = reader.fields(node, "container", CONTAINER)
        if "image" not in fields:
            reader.problem(pos, 'a container needs "image"')
            return None
        image = fields["image"]
    text = reader.text(image, "container", "the name of an image, or a mapping with image")
    if text is not None and not is_image(text):
        reader.problem(image.pos, f'"{text[:60]}" cannot be the name of an image')
    return text


def is_image(text: str) -> bool:
    # Docker takes what begins with a dash for an option.
    return not text.startswith("-") and not any(character.isspace() for character in text)
