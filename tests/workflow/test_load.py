"""What a workflow file comes to."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expr.template import parse_template
from runner.workflow.document import (
    DEFAULT_TIMEOUT,
    Container,
    Filter,
    InvalidWorkflow,
    JobDef,
    Pos,
    Run,
    StepDef,
    Steps,
    Trigger,
    Triggers,
    Workflow,
    circle,
)
from runner.workflow.supported import load
from tests.workflow.samples import SAMPLE, a_job, a_step, loaded, the_body, the_job, the_step

COMMON = {"LEVEL": parse_template("3.1"), "REF": parse_template("${{ github.ref }}")}


def run(script: str, shell: str, folder: str | None = None) -> Run:
    where = parse_template(folder) if folder is not None else None
    return Run(parse_template(script), parse_template(shell), where)


def test_a_whole_file_comes_to_one_value() -> None:
    branches, paths = Filter(("main", "release/**", "!release/old")), Filter(("docs/**",), ignore=True)
    assert loaded(SAMPLE) == Workflow(
        path="ci.yml",
        name="CI",
        on=Triggers({"push": Trigger("push", branches=branches, paths=paths)}),
        env=COMMON,
        jobs=(
            JobDef(
                key="build",
                name=parse_template("Build it"),
                pos=Pos(13, 3),
                body=Steps(
                    labels=tuple(map(parse_template, ("Self-Hosted", "linux", "LINUX"))),
                    env=COMMON,
                    steps=(
                        StepDef(
                            key="1",
                            id="compile",
                            body=run('make -j4\necho "done" >> "$GITHUB_OUTPUT"\n', "bash"),
                            pos=Pos(18, 9),
                        ),
                        StepDef(
                            key="2",
                            name=parse_template("Show ${{ steps.compile.outputs.x }}"),
                            body=run('echo "${{ env.LEVEL }}" and more', "bash", "sub"),
                            timeout=0.5,
                            continue_on_error=True,
                            pos=Pos(22, 9),
                        ),
                    ),
                ),
            ),
            JobDef(
                key="test",
                needs=("build",),
                pos=Pos(29, 3),
                body=Steps(
                    labels=(parse_template("linux"),),
                    container=Container(parse_template("alpine:3")),
                    timeout=10.0,
                    env={"OUT": parse_template("${{ needs.build.result }}")},
                    steps=(
                        StepDef(
                            key="1",
                            body=run("echo it's ${{ job.status }}", "python", "tests"),
                            pos=Pos(37, 9),
                        ),
                        StepDef(key="2", body=run("ls", "sh", "tests"), pos=Pos(39, 9)),
                    ),
                ),
            ),
        ),
    )


@pytest.mark.parametrize("on", ["push", "[push]", "{push: }", "{push: {}}", "[push, push]"])
def test_every_form_of_on_starts_on_every_push(on: str) -> None:
    assert loaded(a_job("{runs-on: x, steps: [{run: y}]}", f"on: {on}")).on == Triggers(
        {"push": Trigger("push")}
    )


def test_a_workflow_without_a_name_is_called_as_its_file() -> None:
    assert loaded(a_step("run: x")).name == "ci.yml"


def test_a_job_that_says_nothing_else_has_the_defaults() -> None:
    job, body = the_job(a_step("run: x")), the_body(a_step("run: x"))

    assert (job.title, job.needs, job.condition, job.strategy) == ("a", (), None, None)
    assert (body.timeout, body.container, body.env) == (DEFAULT_TIMEOUT, None, {})


def test_values_of_env_are_the_text_of_what_they_mean() -> None:
    step = the_step("run: x\nenv: {A: 0x10, B: true, C: , D: '', E: 1.50, F: '007', G: yes}")

    assert isinstance(step.env, dict)
    assert {name: value.literal for name, value in step.env.items()} == {
        "A": "16",
        "B": "true",
        "C": "",
        "D": "",
        "E": "1.5",
        "F": "007",
        "G": "yes",
    }


@pytest.mark.parametrize(
    ("step", "title"),
    [
        ("run: make all", "Run make all"),
        ("run: |\n\n    first\n    second", "Run first"),
        ("{run: x, name: 'Build  it'}", "Build it"),
        ("{run: x, name: 'For ${{ github.ref }}'}", "For ${{ github.ref }}"),
        (f"run: {'y' * 200}", f"Run {'y' * 75}…"),
    ],
)
def test_a_step_has_a_title_before_it_has_run(step: str, title: str) -> None:
    assert the_step(step).title == title


def test_a_step_may_name_what_ran_before_it() -> None:
    loaded(
        """\
        on: push
        jobs:
          first: {runs-on: x, steps: [{run: x}]}
          second:
            needs: [first]
            runs-on: x
            steps:
              - {id: One, run: x}
              - run: ${{ steps.one.outputs.a }} ${{ needs.FIRST.result }} ${{ format('{0}', 1) }}
              - run: ${{ steps.*.outcome }} ${{ toJSON(steps) }} ${{ steps[env.x] }}
        """
    )


def test_a_job_is_found_by_its_key() -> None:
    workflow = loaded(SAMPLE)

    assert workflow.job("test").needs == ("build",)
    with pytest.raises(KeyError):
        workflow.job("deploy")


def test_many_jobs_in_a_chain_are_no_circle() -> None:
    needs = {str(number): [str(number + 1)] for number in range(5_000)}

    assert circle({**needs, "5000": []}) == ()
    assert len(circle({**needs, "5000": ["0"]})) == 5_002


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10))
def test_a_circle_is_found_where_nothing_can_go_first(edges: list[tuple[int, int]]) -> None:
    needs = {str(node): [str(below) for above, below in edges if above == node] for node in range(6)}
    left = dict(needs)
    while free := [node for node, below in left.items() if not any(need in left for need in below)]:
        for node in free:
            del left[node]

    found = circle(needs)

    assert bool(found) is bool(left)
    if found:
        assert found[0] == found[-1]
        assert all(below in needs[above] for above, below in pairwise(found))


WORDS = """
    - : ${{ }} ' " | >- [ { *common &common !!str <<: % é null 1e999 0x env: if: needs: ? run: steps: 9
"""
SCRAPS = st.sampled_from(["", " ", "  ", "\n", "\t", "\0", "\ufeff", *(f"{word} " for word in WORDS.split())])


@given(st.data())
def test_a_damaged_file_is_loaded_or_refused_by_name(data: st.DataObject) -> None:
    text = SAMPLE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(SCRAPS) + text[start + data.draw(st.integers(0, 12)) :]

    assert_loaded_or_refused(text.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_loaded_or_refused_by_name(text: bytes) -> None:
    assert_loaded_or_refused(text)


def assert_loaded_or_refused(text: bytes) -> None:
    lines = text.decode(errors="replace").splitlines() or [""]
    problems = []
    try:
        load("ci.yml", text)
    except InvalidWorkflow as error:
        problems = list(error.problems)
        assert problems
    assert problems == sorted(problems)
    for problem in problems:
        assert 1 <= problem.line <= len(lines) + 1
        assert problem.col >= 1
        assert problem.message.isprintable()
