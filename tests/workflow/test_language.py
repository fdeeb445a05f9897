"""The whole language: what a file says, what is wrong with it, and what is only suspicious."""

import json

import pytest

from runner.expr.template import parse_condition, parse_template
from runner.workflow.document import (
    Call,
    Concurrency,
    Docker,
    Environment,
    Filter,
    Input,
    InvalidWorkflow,
    Parallel,
    Permissions,
    Retry,
    Reusable,
    Run,
    Schedule,
    Script,
    Snapshot,
    Steps,
    Strategy,
    Trigger,
    Triggers,
    Uses,
    Wait,
    Workflow,
)
from runner.workflow.jsonschema import json_schema
from runner.workflow.language import WORKFLOW
from runner.workflow.load import load, load_action, read_action, read_workflow
from tests.workflow.samples import a_job, a_step, warnings_of

JOB = "{runs-on: x, steps: [{run: y}]}"


def whole(text: str) -> Workflow:
    return load("ci.yml", text.encode())


def steps_of(job: str) -> Steps:
    (found,) = whole(a_job(job)).jobs
    assert isinstance(found.body, Steps)
    return found.body


def wrong(text: str) -> list[str]:
    errors = read_workflow("ci.yml", text.encode()).errors
    return [str(error).removeprefix("ci.yml:") for error in errors]


def test_every_way_to_start_is_read() -> None:
    on = """\
on:
  pull_request: {types: [opened], branches-ignore: [old], paths: ['src/**']}
  workflow_run: {workflows: [CI], types: completed}
  repository_dispatch: {types: [deploy]}
  issues:
  schedule: [{cron: '0 6 * * 1', timezone: Europe/Berlin}, {cron: '0 0 1 * *'}]
  workflow_dispatch:
    inputs:
      level: {type: choice, options: [low, high], default: low}
      dry: {type: boolean, required: true}
  workflow_call:
    inputs: {n: {type: number, default: 3}}
    secrets: {key: {required: true}, other: }
    outputs: {x: {value: '${{ jobs.a.outputs.x }}'}}
"""
    workflow = whole(f"{on}jobs: {{a: {JOB}}}\n")

    assert workflow.on == Triggers(
        events={
            "pull_request": Trigger(
                "pull_request",
                types=("opened",),
                branches=Filter(("old",), ignore=True),
                paths=Filter(("src/**",)),
            ),
            "workflow_run": Trigger("workflow_run", types=("completed",), workflows=("CI",)),
            "repository_dispatch": Trigger("repository_dispatch", types=("deploy",)),
            "issues": Trigger("issues"),
        },
        schedules=(Schedule("0 6 * * 1", "Europe/Berlin"), Schedule("0 0 1 * *")),
        dispatch={
            "level": Input("choice", default="low", options=("low", "high")),
            "dry": Input("boolean", required=True),
        },
        call=Call(
            inputs={"n": Input("number", default=3.0)},
            secrets={"key": True, "other": False},
            outputs={"x": parse_template("${{ jobs.a.outputs.x }}")},
        ),
    )


def test_a_workflow_says_more_than_its_jobs() -> None:
    workflow = whole(
        "run-name: by ${{ github.actor }}\npermissions: {contents: read}\n"
        f"concurrency: {{group: g, cancel-in-progress: true}}\non: push\njobs: {{a: {JOB}}}\n"
    )

    assert workflow.run_name == parse_template("by ${{ github.actor }}")
    assert workflow.permissions == Permissions({"contents": "read"})
    assert (workflow.permissions.of("contents"), workflow.permissions.of("issues")) == ("read", "none")
    assert workflow.concurrency == Concurrency(parse_template("g"), cancel_in_progress=True)


def test_a_job_has_a_condition_a_strategy_and_surroundings() -> None:
    text = a_job(
        """\
        if: github.ref == 'x'
        runs-on: [self-hosted, '${{ matrix.os }}']
        strategy: {matrix: {os: [a, b], include: [{os: a, n: 1}]}, fail-fast: false, max-parallel: 2}
        environment: {name: prod, url: 'https://x'}
        outputs: {x: '${{ steps.s.outputs.x }}'}
        services: {db: {image: postgres, ports: ['5432:5432']}, web: '${{ matrix.os }}'}
        snapshot: image
        continue-on-error: ${{ matrix.os == 'b' }}
        permissions: write-all
        steps: [{id: s, run: y}]
        """
    )
    (job,) = whole(text).jobs
    body = steps_of(text.split("  a:\n")[1].replace("\n    ", "\n").lstrip())

    assert job.condition == parse_condition("github.ref == 'x'")
    assert job.strategy == Strategy(
        {"os": ("a", "b"), "include": ({"os": "a", "n": 1.0},)}, fail_fast=False, max_parallel=2.0
    )
    assert job.continue_on_error == parse_template("${{ matrix.os == 'b' }}")
    assert job.permissions == Permissions(otherwise="write")
    assert body.labels == (parse_template("self-hosted"), parse_template("${{ matrix.os }}"))
    assert body.environment == Environment(parse_template("prod"), parse_template("https://x"))
    assert body.snapshot == Snapshot(parse_template("image"))
    assert body.outputs == {"x": parse_template("${{ steps.s.outputs.x }}")}
    assert isinstance(body.services, dict)
    assert list(body.services) == ["db", "web"]


def test_a_job_can_be_another_workflow() -> None:
    (job, other) = whole(
        "on: push\njobs:\n"
        "  a: {uses: ./.github/workflows/b.yml, with: {n: 1, t: '${{ github.sha }}'}, secrets: inherit}\n"
        "  b: {uses: o/r/.github/workflows/b.yml@v1, secrets: {k: '${{ secrets.K }}'}}\n"
    ).jobs

    assert job.body == Reusable(
        "./.github/workflows/b.yml", {"n": 1.0, "t": parse_template("${{ github.sha }}")}, secrets=None
    )
    assert other.body == Reusable(
        "o/r/.github/workflows/b.yml@v1", secrets={"k": parse_template("${{ secrets.K }}")}
    )


def test_a_step_runs_uses_waits_or_holds_others() -> None:
    body = steps_of(
        """\
        runs-on: x
        steps:
          - {uses: actions/checkout@v4, with: {depth: 1}, if: always()}
          - {id: bg, run: serve, background: true, shell: bash}
          - parallel: [{run: a}, {run: b}]
          - {wait: bg, continue-on-error: true}
          - wait-all:
        """
    )

    assert body.steps[0].body == Uses("actions/checkout@v4", {"depth": parse_template("1")})
    assert body.steps[0].condition == parse_condition("always()")
    assert (body.steps[1].background, body.steps[1].title) == (True, "Run serve")
    assert isinstance(body.steps[2].body, Parallel)
    assert [step.key for step in body.steps[2].body.steps] == ["3.1", "3.2"]
    assert [step.body for step in body.steps[3:]] == [Wait(("bg",)), Wait(None)]
    assert [step.continue_on_error for step in body.steps[3:]] == [True, False]


def test_the_values_of_a_containers_variables_may_use_more_than_their_names() -> None:
    env = "{'${{ matrix.a }}': '${{ runner.os }}'}"

    assert steps_of(f"runs-on: x\ncontainer: {{image: a, env: {env}}}\nsteps: [{{run: y}}]\n").container


def test_our_extensions_are_read() -> None:
    retry = "max-attempts: 3, delay: 30s, backoff: exponential, max-delay: 5m, jitter: true"
    said = f"on-lost: ask, retry: {{{retry}, on-exit-codes: [1, 75]}}"
    (step,) = steps_of(f"runs-on: x\nsteps: [{{run: y, {said}}}]\n").steps

    assert step.retry == Retry(3, 30.0, "exponential", 300.0, jitter=True, on_exit_codes=(1, 75))
    assert step.on_lost == "ask"


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("retry: {delay: 3}", 'a retry needs "max-attempts"'),
        (
            "retry: {max-attempts: 0}",
            '"max-attempts" is the number 0, but must be a whole number from 1 to 100',
        ),
        ("retry: {max-attempts: 101}", '"max-attempts" is the number 101, but must be a whole number from 1'),
        ("retry: {max-attempts: 1e308}", "but must be a whole number from 1 to 100"),
        ("retry: {max-attempts: 2, delay: soon}", '"soon" is no amount of time'),
        ("retry: {max-attempts: 2, delay: 9999999999999999d}", "is longer than 365 days"),
        ("retry: {max-attempts: 2, on-exit-codes: [²]}", '"²" is no exit code of a failure; 1 to 255 are'),
        ("retry: {max-attempts: 2, on-exit-codes: ['02551']}", '"02551" is no exit code of a failure'),
        ("retry: {max-attempts: 2, backoff: fast}", '"backoff" cannot be "fast"'),
        ("on-lost: wait", '"on-lost" cannot be "wait"; here you can use ask, fail, retry'),
    ],
)
def test_an_extension_that_is_wrong_says_so(extra: str, problem: str) -> None:
    (found,) = wrong(a_step(f"{{run: y, {extra}}}"))

    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"on: push\npermissions: all\njobs: {{a: {JOB}}}", '2:14: "permissions" cannot be "all"; here'),
        (f"on: push\npermissions: {{check: read}}\njobs: {{a: {JOB}}}", 'unknown key "check"; did you mean'),
        (
            f"on: {{issues: {{types: opend}}}}\njobs: {{a: {JOB}}}",
            'cannot be "opend"; did you mean "opened"?',
        ),
        (f"on: {{schedule: [{{cron: '* *'}}]}}\njobs: {{a: {JOB}}}", '1:24: "* *" is no time in cron\'s'),
        (
            f"on: {{schedule: [{{cron: '0 0 * * *', timezone: Nowhere}}]}}\njobs: {{a: {JOB}}}",
            "is no time zone",
        ),
        (
            f"on: push\nconcurrency: g\njobs: {{a: {JOB[:-1]}, concurrency: g}}}}",
            "would wait for each other in",
        ),
        ("on: push\njobs: {a: {uses: ./x.yml}}", '"./x.yml" is no workflow to call'),
        (a_job("{uses: ./.github/workflows/x.yml, steps: []}"), '"steps" cannot stand beside "uses"'),
        (a_step("{uses: a/b@v1, run: x}"), '"run" cannot stand beside "uses"'),
        (a_step("{uses: a/b}"), "no version after @"),
        (a_step("{run: x, if: 'a ${{ true }}'}"), "makes a condition that is always true"),
        (a_step("{run: x, if: secrets.K}"), '"secrets" cannot be used here; here you can use env, github'),
        (a_step("run: ${{ format('{1}', 1) }}"), "the format asks for {1}, but there are 1 values"),
        (
            a_job("{runs-on: x, container: {image: a, env: {'${{ runner.os }}': 1}}, steps: [{run: y}]}"),
            '"runner" cannot be used here; here you can use github, inputs, matrix, needs, strategy, vars',
        ),
        (a_job("{runs-on: x, services: 'a', steps: [{run: y}]}"), '"services" is the text "a", but must be'),
        (a_job("{runs-on: x, strategy: {matrix: {a: []}}, steps: [{run: y}]}"), '"a" is an empty list'),
        (
            "on: {workflow_dispatch: {inputs: {a: {type: boolean, default: 1}}}}\n"
            f"jobs: {{a: {JOB}}}",
            'the default of "a" is 1, but must be true or false',
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, problem: str) -> None:
    found = wrong(text)

    assert found
    assert all(problem in one for one in found)


@pytest.mark.parametrize(
    ("job", "warning"),
    [
        ("{runs-on: x, steps: [{run: '${{ matrix.os }}'}]}", 'this job has no matrix, and so not "os"'),
        (
            "{runs-on: x, strategy: {matrix: {os: [a]}}, steps: [{run: '${{ matrix.oss }}'}]}",
            'the matrix has no key "oss"; did you mean "os"?',
        ),
        ("{runs-on: x, steps: [{run: '${{ inputs.a }}'}]}", 'this workflow has no input "a"'),
        (
            "{runs-on: x, steps: [{run: '${{ runner.oss }}'}]}",
            'there is no property "oss"; did you mean "os"?',
        ),
        ("{runs-on: x, steps: [{run: '${{ needs.b.result }}'}]}", 'this job\'s "needs" does not name "b"'),
        ("{runs-on: x, steps: [{run: '${{ github.sha.x }}'}]}", "a string has no properties"),
        ("{runs-on: x, steps: [{run: '${{ runner }}'}]}", "an object is no text; toJSON gives one of it"),
        ("{runs-on: x, steps: [{run: \"${{ fromJSON('{') }}\"}]}", "this is no JSON"),
        (
            "{runs-on: x, strategy: {matrix: {os: [a], exclude: [{so: a}]}}, steps: [{run: y}]}",
            'the matrix has no "so" to exclude; here you can use os',
        ),
        ("{runs-on: x, needs: [], steps: [{run: y}]}", '"needs" is empty, so the job waits for none'),
    ],
)
def test_what_github_takes_but_is_surely_a_mistake_is_a_warning(job: str, warning: str) -> None:
    (found,) = warnings_of(a_job(job))

    assert warning in found


def test_what_a_file_cannot_tell_is_not_complained_about() -> None:
    assert (
        warnings_of(
            a_job(
                """\
                runs-on: ${{ matrix.os }}
                strategy: {matrix: '${{ fromJSON(vars.M) }}'}
                env: {A: '${{ matrix.any.thing }}'}
                steps:
                  - run: ${{ github.event.any.thing }} ${{ env.B }} ${{ job.services.x.ports['1'] }}
                """
            )
        )
        == []
    )


LIBRARY = b"""\
on: {workflow_call: {inputs: {n: {type: number, required: true}}, secrets: {k: {required: true}}}}
permissions: {contents: write}
jobs: {a: {runs-on: x, steps: [{run: y}]}}
"""
ACTION = b"""\
name: A
description: b
inputs: {level: {required: true}}
outputs: {out: {value: x}}
runs: {using: composite, steps: []}
"""


def test_what_is_used_is_compared_with_how() -> None:
    files = {".github/workflows/lib.yml": LIBRARY, "act/action.yml": ACTION}
    text = """\
on: push
permissions: {contents: read}
jobs:
  call:
    uses: ./.github/workflows/lib.yml
    with: {n: x, m: 1}
  use:
    runs-on: x
    steps:
      - {id: act, uses: ./act, with: {lvl: 1}}
      - run: ${{ steps.act.outputs.uot }}
"""
    reading = read_workflow("ci.yml", text.encode(), files.get)

    assert [
        (problem.line, problem.warning, problem.message.split(";")[0]) for problem in reading.problems
    ] == [
        (4, False, '"./.github/workflows/lib.yml" asks for contents: write, but its caller has read'),
        (5, False, 'the called workflow needs the secret "k"'),
        (6, False, 'the input "n" must be a number'),
        (6, False, 'the called workflow has no input "m"'),
        (10, True, 'the action needs the input "level"'),
        (10, True, 'the action has no input "lvl"'),
        (11, True, 'that action has no output "uot"'),
    ]


def test_an_action_is_composite_a_script_or_an_image() -> None:
    head = "name: A\ndescription: b\n"
    composite = load_action(
        "action.yml", f"{head}runs: {{using: composite, steps: [{{run: x, shell: sh}}]}}".encode()
    )
    script = load_action("action.yml", f"{head}runs: {{using: node20, main: a.js, post: b.js}}".encode())
    image = load_action("action.yml", f"{head}runs: {{using: docker, image: Dockerfile, args: [x]}}".encode())

    assert composite.runs.steps[0].body == Run(parse_template("x"), parse_template("sh"))  # type: ignore[union-attr]
    assert script.runs == Script("node20", "a.js", post="b.js")
    assert image.runs == Docker("Dockerfile", args=(parse_template("x"),))


def test_of_keys_that_github_does_not_know_no_notice_is_taken_in_what_is_used() -> None:
    text = "inputs: {a: {default: b, example: c}}\noutputs: {d: {example: e}}\nmaintainer: f\nruns: "

    used = load_action("action.yml", f"{text}{{using: node20, main: g.js}}".encode())

    assert (list(used.inputs), list(used.outputs)) == (["a"], ["d"])
    with pytest.raises(InvalidWorkflow, match='unknown key "mian"'):
        load_action("action.yml", f"{text}{{using: node20, main: g.js, mian: h.js}}".encode())
    assert len(read_action("action.yml", f"{text}{{using: node20, main: g.js}}".encode()).errors) > 2


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ("{using: node20}", 'a JavaScript action needs "main"'),
        ("{using: composite}", 'a composite action needs "steps"'),
        ("{using: composite, steps: [{run: x}]}", 'a step needs "shell"'),
        ("{using: docker, image: x, main: y}", '"main" cannot stand beside using: docker'),
        ("{using: perl}", '"perl" cannot be "using"'),
        ("{main: x}", 'runs needs "using"'),
        ("{using: node20, main: x, pre: y, pre-if: '${{ true }}'}", '"pre-if" is an expression as it is'),
    ],
)
def test_an_action_that_cannot_run_says_why(runs: str, problem: str) -> None:
    (found,) = read_action("action.yml", f"name: A\ndescription: b\nruns: {runs}\n".encode()).errors

    assert problem in found.message


def test_a_file_with_errors_has_no_value() -> None:
    with pytest.raises(InvalidWorkflow, match="needs"):
        whole("on: push")


def test_the_schema_names_every_key_and_can_be_printed() -> None:
    schema = json_schema(WORKFLOW, "workflow")

    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert set(schema["properties"]) == set(WORKFLOW.keys)
    assert "not GitHub" in json.dumps(schema)
