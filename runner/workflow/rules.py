"""What must be so between the parts of a workflow file, and no description of one part can say."""

from runner.expr.template import OPEN
from runner.workflow.checks import schedule_time
from runner.workflow.compose import Mapping, Node, Scalar, Sequence
from runner.workflow.container_checks import refused_of_job
from runner.workflow.cron import LEAST_MINUTES, parse_cron
from runner.workflow.document import Pos, circle
from runner.workflow.reading import Reader, entries_of, items_of, value_at
from runner.workflow.references import BadReference, parse_call
from runner.workflow.waits import check_wait
from runner.workflow.words import cut, here, meant

CONFINED = "confined"
"""The rule that containers stay within their job, which is ours and not GitHub's."""


def check_rules(reader: Reader, root: Node) -> None:
    check_filters(reader, value_at(root, "on"))
    check_inputs(reader, value_at(root, "on"))
    check_schedules(reader, value_at(root, "on", "schedule"))
    jobs = {key.text: (key, job) for key, job in entries_of(value_at(root, "jobs"))}
    check_needs(reader, jobs)
    check_groups(reader, root, jobs)
    for _, job in jobs.values():
        check_step_ids(reader, items_of(value_at(job, "steps")))
        for step in items_of(value_at(job, "steps")):
            check_wait(reader, step)
        check_call(reader, job)
        check_exclude(reader, value_at(job, "strategy", "matrix"))
        check_containers(reader, job)


def check_filters(reader: Reader, on: Node | None) -> None:
    for _, event in entries_of(on):
        keys = {key.text: key for key, _ in entries_of(event)}
        for key in ("branches", "tags", "paths"):
            ignored = keys.get(f"{key}-ignore")
            if key in keys and ignored is not None:
                what = f'"{key}" and "{key}-ignore" exclude each other'
                what = f'{what}; in "{key}", a pattern after "!" leaves out'
                reader.problem(ignored.pos, what)


def check_schedules(reader: Reader, schedules: Node | None) -> None:
    for one in items_of(schedules):
        cron = value_at(one, "cron")
        if not isinstance(cron, Scalar) or schedule_time(cron.text) is not None:
            continue
        gap = parse_cron(cron.text).shortest_gap
        if gap < LEAST_MINUTES:
            what = (
                f'"{cut(cron.text)}" starts every {gap} minutes; GitHub starts nothing under {LEAST_MINUTES}'
            )
            reader.problem(cron.pos, what, "schedule", warning=True)


def check_inputs(reader: Reader, on: Node | None) -> None:
    for event in ("workflow_dispatch", "workflow_call"):
        for name, one in entries_of(value_at(on, event, "inputs")):
            kind, default = value_at(one, "type"), value_at(one, "default")
            kind_name = kind.text if isinstance(kind, Scalar) else "string"
            if kind_name == "choice" and value_at(one, "options") is None:
                reader.problem(name.pos, f'the input "{cut(name.text)}" is a choice, and needs "options"')
            if kind_name != "choice" and event == "workflow_dispatch":
                for key, _ in entries_of(one):
                    if key.text == "options":
                        what = f'"options" belongs to inputs of the type choice, not {cut(kind_name)}'
                        reader.problem(key.pos, what)
            if isinstance(default, Scalar) and OPEN not in default.text:
                check_default(reader, name, kind_name, default, value_at(one, "options"))


def check_default(reader: Reader, name: Scalar, kind: str, default: Scalar, options: Node | None) -> None:
    value = default.value
    wanted = ""
    if kind == "boolean" and not isinstance(value, bool):
        wanted = "true or false"
    elif kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        wanted = "a number"
    elif kind == "choice" and isinstance(options, Sequence):
        texts = [option.text for option in options.items if isinstance(option, Scalar)]
        wanted = "" if default.text in texts or not texts else f"one of {', '.join(texts)}"
    if wanted:
        what = f'the default of "{cut(name.text)}" is {cut(default.text) or "empty"}, but must be {wanted}'
        reader.problem(default.pos, what)


def check_needs(reader: Reader, jobs: dict[str, tuple[Scalar, Node]]) -> None:
    """Say which needed jobs there are not, and where jobs wait for each other; one circle to begin with."""
    keys = {key.lower(): key for key in jobs}
    wanted: dict[str, list[str]] = {}
    places: dict[str, Pos] = {}
    for key, (word, job) in jobs.items():
        needs = value_at(job, "needs")
        places[key] = needs.pos if needs is not None else word.pos
        wanted[key] = []
        if isinstance(needs, Sequence) and not needs.items:
            reader.problem(needs.pos, '"needs" is empty, so the job waits for none', "needs", warning=True)
        for item in items_of(needs):
            if isinstance(item, Scalar) and item.text and OPEN not in item.text:
                check_need(reader, item, key, keys, wanted[key])
    path = circle(wanted)
    if path:
        shown = path if len(path) <= 12 else (*path[:10], "…", path[-1])
        what = f"these jobs wait for each other: {' needs '.join(shown)}"
        reader.problem(min(jobs[key][0].pos for key in path), what, "needs")


def check_need(reader: Reader, item: Scalar, job: str, keys: dict[str, str], wanted: list[str]) -> None:
    need = keys.get(item.text.lower())
    if need is None:
        others = [other for other in keys.values() if other != job]
        reader.problem(
            item.pos, f'there is no job "{cut(item.text)}" to need{meant(item.text, others)}', "needs"
        )
    elif need == job:
        reader.problem(item.pos, f'the job "{job}" cannot need itself', "needs")
    elif need in wanted:
        reader.problem(item.pos, f'the job "{job}" needs "{need}" already', "needs")
    else:
        wanted.append(need)


def check_groups(reader: Reader, root: Node, jobs: dict[str, tuple[Scalar, Node]]) -> None:
    """A workflow that holds its own group while a job waits for it waits for ever."""
    whole = value_at(root, "concurrency")
    check_queue(reader, whole)
    outer = group_of(whole)
    for key, (_, job) in jobs.items():
        node = value_at(job, "concurrency")
        check_queue(reader, node)
        inner = group_of(node)
        if outer is not None and inner is not None and OPEN not in inner.text and outer.text == inner.text:
            group = cut(inner.text)
            what = f'the workflow and its job "{cut(key)}" would wait for each other in the group "{group}"'
            reader.problem(outer.pos, what)
            reader.problem(inner.pos, what)


def group_of(node: Node | None) -> Scalar | None:
    group = value_at(node, "group") if isinstance(node, Mapping) else node
    return group if isinstance(group, Scalar) else None


def check_queue(reader: Reader, node: Node | None) -> None:
    queue, cancel = value_at(node, "queue"), value_at(node, "cancel-in-progress")
    if (
        isinstance(queue, Scalar)
        and queue.text == "max"
        and isinstance(cancel, Scalar)
        and cancel.value is True
    ):
        key = next(key for key, _ in entries_of(node) if key.text == "queue")
        reader.problem(key.pos, '"queue: max" lets runs wait, but "cancel-in-progress" cancels those that do')


def check_step_ids(reader: Reader, steps: tuple[Node, ...]) -> None:
    seen: set[str] = set()
    for step in steps:
        node = value_at(step, "id")
        if isinstance(node, Scalar) and node.text:
            if node.text.lower() in seen:
                reader.problem(
                    node.pos, f'another step before this one has the id "{cut(node.text)}"', "name"
                )
            seen.add(node.text.lower())


def check_call(reader: Reader, job: Node) -> None:
    uses = value_at(job, "uses")
    if not isinstance(uses, Scalar) or not uses.text or OPEN in uses.text:
        return
    try:
        parse_call(uses.text, reader.path.rpartition("/")[0])
    except BadReference as error:
        reader.problem(uses.pos, f'"{cut(uses.text)}" is no workflow to call: {error}', "value")


def check_exclude(reader: Reader, matrix: Node | None) -> None:
    keys = {
        key.text.lower(): key.text for key, _ in entries_of(matrix) if key.text not in ("include", "exclude")
    }
    if any(OPEN in key for key in keys):
        return
    for item in items_of(value_at(matrix, "exclude")):
        for name, _ in entries_of(item):
            if name.text.lower() not in keys and OPEN not in name.text:
                what = f'the matrix has no "{cut(name.text)}" to exclude{here(keys.values())}'
                reader.problem(name.pos, what, "matrix", warning=True)


def check_containers(reader: Reader, job: Node) -> None:
    for key, value in entries_of(job):
        if key.text == "container" and isinstance(value, Scalar) and not value.text:
            reader.problem(value.pos, '"container" is empty, so the job runs in none', warning=True)
    for node, problem in refused_of_job(job):
        reader.problem(node.pos, problem, CONFINED, warning=True)
    services = [service for _, service in entries_of(value_at(job, "services"))]
    for container in (value_at(job, "container"), *services):
        password = value_at(container, "credentials", "password")
        if isinstance(password, Scalar) and password.text and OPEN not in password.text:
            what = "whoever can read this file can read the password; put it into a secret"
            reader.problem(password.pos, what, "credentials", warning=True)
