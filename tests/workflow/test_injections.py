"""What strangers write, where it becomes part of a script; and what is no reason to warn."""

import json

import pytest

from runner.workflow.load import read_action, read_workflow
from tests.workflow.samples import a_step, loaded, warnings_of

TITLE = "github.event.issue.title"


def warned(step: str) -> list[str]:
    return warnings_of(a_step(step))


def test_it_is_told_where_it_stands_and_what_would_have_worked() -> None:
    assert warned('run: |\n  echo hello\n  echo "it is ${{ github.event.pull_request.title }}"') == [
        "8:27: github.event.pull_request.title can be written by strangers, and becomes part of the script "
        'here; hand it over as a variable: "env: {TITLE: ${{ github.event.pull_request.title }}}", and '
        '"$TITLE" in the script'
    ]


@pytest.mark.parametrize(
    "value",
    [
        TITLE,
        "GitHub.Event.Issue.BODY",
        "github['event']['pull_request'].body",
        "github.head_ref",
        "github.event.pull_request.head.ref",
        "github.event.pull_request.head.label",
        "github.event.pull_request.head.repo.default_branch",
        "github.event.comment.body",
        "github.event.review.body",
        "github.event.discussion.title",
        "github.event.pages.*.page_name",
        "github.event.pages[0].page_name",
        "github.event.commits[github.run_number].message",
        "join(github.event.commits.*.author.email, ' ')",
        "github.event.head_commit.message",
        "github.event.head_commit.author.name",
        "github.event.workflow_run.head_branch",
        "github.event[env.WHAT].title",
        "toJSON(github.event.issue)",
        "toJSON(github.event)",
        "toJSON(github)",
        f"format('{{0}}', {TITLE})",
        f"{TITLE} || 'none'",
        f"github.ref == 'x' && {TITLE} || 'none'",
        f"fromJSON(toJSON({TITLE}))",
        "fromJSON(toJSON(github.event.issue)).title",
        f"case(true, {TITLE}, 'none')",
    ],
)
def test_what_strangers_write_is_warned_of(value: str) -> None:
    (found,) = warned(f"run: |\n  echo ${{{{ {value} }}}}")

    assert "can be written by strangers, and becomes part of the script here" in found


@pytest.mark.parametrize(
    "value",
    [
        *("github.sha", "github.ref", "github.ref_name", "github.actor", "github.event_name", "github.event"),
        *("github.event.number", "github.event.action", "github.event.issue.number", "github.event.issue"),
        *("github.event.pull_request.number", "github.event.pull_request.head.sha"),
        *("github.event.pull_request.base.ref", "github.event.repository.name", "github.event.before"),
        *("github.event.repository.default_branch", "github.event.release.tag_name", "github.event.commits"),
        *("env.TITLE", "runner.temp", "toJSON(github.event.repository)", "github.event.head_commit.id"),
        f"contains({TITLE}, 'x')",
        f"startsWith({TITLE}, 'x') && 'yes' || 'no'",
        f"{TITLE} == 'x'",
        f"!{TITLE}",
        f"{TITLE} && 'it has one'",
        f"hashFiles({TITLE})",
        "matrix[github.event.issue.title]",
    ],
)
def test_what_only_those_choose_who_may_push_is_not(value: str) -> None:
    text = a_step(f"run: |\n  echo ${{{{ {value} }}}}").replace(
        "runs-on: x", "runs-on: x\n    strategy: {matrix: {a: [1]}}"
    )
    found = read_workflow("ci.yml", text.encode()).problems

    assert [problem for problem in found if problem.rule == "injection"] == []


@pytest.mark.parametrize(
    "step",
    [
        f"name: ${{{{ {TITLE} }}}}\nrun: 'true'",
        f"if: {TITLE} == 'x'\nrun: 'true'",
        f'env: {{TITLE: "${{{{ {TITLE} }}}}"}}\nrun: echo "$TITLE"',
        f"working-directory: ${{{{ {TITLE} }}}}\nrun: 'true'",
        f'uses: octo/action@v1\nwith: {{script: "${{{{ {TITLE} }}}}", title: "${{{{ {TITLE} }}}}"}}',
        f'uses: actions/github-script@v7\nwith: {{script: "1", title: "${{{{ {TITLE} }}}}"}}',
    ],
)
def test_what_becomes_no_script_is_not(step: str) -> None:
    assert warned(step) == []


def test_the_script_of_github_script_is_one_too() -> None:
    (found,) = warned(f"uses: Actions/GitHub-Script@v7\nwith: {{script: \"f('${{{{ {TITLE} }}}}')\"}}")

    assert found.startswith("7:32: github.event.issue.title can be written by strangers")
    assert found.endswith("and process.env.TITLE in the script")


def test_the_scripts_of_an_action_are_too() -> None:
    steps = [{"shell": "bash", "run": "echo ${{ github.head_ref }} ${{ inputs.a }}"}]
    action = {
        "name": "a",
        "description": "b",
        "inputs": {"a": {}},
        "runs": {"using": "composite", "steps": steps},
    }

    reading = read_action("action.yml", json.dumps(action).encode())

    assert [(one.rule, one.warning) for one in reading.problems] == [("injection", True)]
    assert reading.errors == ()


def test_it_runs_all_the_same_however_many_there_are_and_hides_no_error() -> None:
    many = a_step("run: |\n" + f"  echo ${{{{ {TITLE} }}}}\n" * 300)
    wrong = many + "      - rnu: y\n"

    reading, broken = (read_workflow("ci.yml", text.encode()) for text in (many, wrong))

    assert loaded(many).jobs[0].key == "a"
    assert reading.errors == ()
    assert 50 < len(reading.problems) <= 101
    assert [one.line for one in broken.errors] == [307, 307]


def after_a_wait(value: str, uses: str = "runner/wait@v1", given: str = "signal: go") -> str:
    steps = f"id: go\nuses: {uses}\nwith: {{{given}}}\n"
    return a_step(steps).rstrip() + f"\n      - run: echo ${{{{ {value} }}}}\n"


def answers_in(text: str) -> list[str]:
    return [one.message for one in read_workflow("ci.yml", text.encode()).problems if one.rule == "injection"]


@pytest.mark.parametrize(
    "value",
    [
        "steps.go.outputs.region",
        "steps.GO.outputs.sender",
        "steps['go'].outputs.payload",
        "toJSON(steps)",
        "fromJSON(steps.go.outputs.payload).region",
        "steps.*.outputs.region",
    ],
)
def test_what_a_signal_brings_is_warned_of(value: str) -> None:
    (found,) = answers_in(after_a_wait(value))
    assert "can be written by whoever answers that step, and becomes part of the script here" in found


def test_of_an_approval_the_comment_is_warned_of() -> None:
    (found,) = answers_in(after_a_wait("steps.go.outputs.comment", "Runner/Approve@v1", "message: ship"))
    assert "hand it over as a variable" in found
    assert answers_in(after_a_wait("steps.go.outputs.by", "runner/approve@v1", "message: ship")) == []


@pytest.mark.parametrize("value", ["steps.other.outputs.region", "steps.go.outcome", "steps.go.outputs"])
def test_what_no_signal_brings_is_not(value: str) -> None:
    text = after_a_wait(value).replace("      - id: go", "      - {id: other, run: x}\n      - id: go")
    assert answers_in(text) == []
