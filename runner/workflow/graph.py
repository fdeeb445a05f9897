"""The graph of a workflow's jobs, as text, Mermaid or SVG."""

from xml.sax.saxutils import escape

from runner.workflow.document import JobDef, Reusable, Workflow
from runner.workflow.plan import stages

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 180, 36, 60, 18, 16
LONGEST = 24


def label_of(job: JobDef) -> str:
    title = " ".join(job.title.split())
    varied = " (matrix)" if job.strategy is not None and job.strategy.matrix is not None else ""
    called = " (workflow)" if isinstance(job.body, Reusable) else ""
    return f"{title}{varied}{called}"


def as_text(workflow: Workflow) -> str:
    """One line for each job, stage by stage, with what it waits for."""
    lines = []
    for number, stage in enumerate(stages(workflow), start=1):
        for key in stage:
            job = workflow.job(key)
            after = f"  <- {', '.join(job.needs)}" if job.needs else ""
            name = f"  {label_of(job)}" if label_of(job) != key else ""
            lines.append(f"{number}  {key}{name}{after}")
    return "\n".join(lines)


def as_mermaid(workflow: Workflow) -> str:
    names = {job.key: f"job{number}" for number, job in enumerate(workflow.jobs, start=1)}
    lines = ["flowchart LR"]
    for job in workflow.jobs:
        label = label_of(job).replace("#", "#35;").replace('"', "#quot;")
        lines.append(f'  {names[job.key]}["{label}"]')
    for job in workflow.jobs:
        lines += [f"  {names[need]} --> {names[job.key]}" for need in job.needs]
    return "\n".join(lines)


def as_svg(workflow: Workflow) -> str:
    """Stages from left to right; a line from each job to those that need it."""
    columns = stages(workflow)
    places = {
        key: (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
        for column, stage in enumerate(columns)
        for row, key in enumerate(stage)
    }
    width = 2 * MARGIN + len(columns) * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + max(map(len, columns), default=0) * (HEIGHT + GAP_Y) - GAP_Y
    drawn = [line for job in workflow.jobs for line in lines_to(job, places)]
    drawn += [box for job in workflow.jobs for box in box_of(job, places[job.key])]
    title = escape(f"Jobs of {workflow.name}")
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
            f"<title>{title}</title>",
            *drawn,
            "</svg>",
        )
    )


def lines_to(job: JobDef, places: dict[str, tuple[int, int]]) -> list[str]:
    x, y = places[job.key]
    found = []
    for need in job.needs:
        left, top = places[need][0] + WIDTH, places[need][1] + HEIGHT // 2
        bend = (left + x) // 2
        path = f"M{left} {top} C{bend} {top} {bend} {y + HEIGHT // 2} {x} {y + HEIGHT // 2}"
        found.append(f'<path d="{path}" fill="none" stroke="#8b949e"/>')
    return found


def box_of(job: JobDef, place: tuple[int, int]) -> list[str]:
    x, y = place
    label = label_of(job)
    shown = label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
    return [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#f6f8fa" stroke="#8b949e"/>',
        f'<text x="{x + 12}" y="{y + HEIGHT // 2 + 5}" fill="#1f2328">{escape(shown)}'
        f"<title>{escape(label)}</title></text>",
    ]
