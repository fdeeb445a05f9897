"""Workflows in Python: what the decorator says is what the YAML beside it says, and nothing is run."""

import threading
import warnings
from dataclasses import replace
from textwrap import dedent

import pytest

from runner.workflow.document import InvalidWorkflow, Pos, Steps, Workflow
from runner.workflow.load import MAX_BYTES, is_workflow, read_workflow
from runner.workflow.outline import outline
from runner.workflow.supported import load
from tests.workflow.samples import loaded

PATH = ".runner/workflows/deploy.py"
IMPORT = "from runner.sdk import workflow\n"


def written(said: str, before: str = IMPORT) -> str:
    """A file whose decorator says this, in line 2 and from column 11."""
    return f"{before}@workflow({said})\nasync def deploy(event, step):\n    pass\n"


def the_workflow(text: str) -> Workflow:
    return load(PATH, dedent(text).encode())


def the_body(text: str) -> Steps:
    (job,) = the_workflow(text).jobs
    assert isinstance(job.body, Steps)
    return job.body


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        load(PATH, text if isinstance(text, bytes) else dedent(text).encode())
    return [str(problem).removeprefix(f"{PATH}:") for problem in caught.value.problems]


def meaning(workflow: Workflow) -> Workflow:
    """All that it says, but for where, and for the steps."""
    jobs = tuple(
        replace(job, pos=Pos(1, 1), body=replace(job.body, steps=(), function=None))
        for job in workflow.jobs
        if isinstance(job.body, Steps)
    )
    return replace(workflow, path="", jobs=jobs)


def test_a_decorated_function_means_what_the_yaml_beside_it_means() -> None:
    python = """\
        from runner.sdk import workflow

        @workflow(
            name="Ship it",
            run_name="by ${{ github.actor }}",
            on={
                "push": {"branches": ["main", "!old"]},
                "schedule": [{"cron": "0 3 * * *"}],
                "workflow_dispatch": {"inputs": {"level": {"type": "choice", "options": ("a", "b")}}},
                "workflow_call": {"inputs": {"n": {"type": "number", "default": -3}}},
            },
            permissions={"contents": "read"},
            concurrency={"group": "ship", "cancel-in-progress": True},
            runs_on=["self-hosted", "linux"],
            env={"A": 1, "B": True, "C": None, "D": 1.50, "E": "${{ github.ref }}" " and more"},
            container={"image": "alpine:3", "env": {"X": "y"}},
            services={"db": "postgres:16"},
            environment={"name": "production", "url": "https://example.test"},
            timeout_minutes=12.5,
            continue_on_error=True,
            snapshot="local",
            retry={"max-attempts": 3, "delay": "3s", "on-exit-codes": [1, 2]},
            on_lost="ask",
        )
        async def deploy(event, step):
            await step.sh("ship", "make ship")
        """
    yaml = """\
        name: Ship it
        run-name: by ${{ github.actor }}
        on:
          push: {branches: [main, '!old']}
          schedule: [{cron: 0 3 * * *}]
          workflow_dispatch: {inputs: {level: {type: choice, options: [a, b]}}}
          workflow_call: {inputs: {n: {type: number, default: -3}}}
        permissions: {contents: read}
        concurrency: {group: ship, cancel-in-progress: true}
        jobs:
          deploy:
            runs-on: [self-hosted, linux]
            env: {A: 1, B: true, C: , D: 1.50, E: '${{ github.ref }} and more'}
            container: {image: 'alpine:3', env: {X: y}}
            services: {db: 'postgres:16'}
            environment: {name: production, url: 'https://example.test'}
            timeout-minutes: 12.5
            continue-on-error: true
            snapshot: local
            retry: {max-attempts: 3, delay: 3s, on-exit-codes: [1, 2]}
            on-lost: ask
            steps: [{run: x}]
        """

    assert meaning(the_workflow(python)) == meaning(loaded(yaml))


def test_its_one_job_is_the_function_and_has_no_steps_of_its_own() -> None:
    workflow = the_workflow(written('on="push"'))
    (job,) = workflow.jobs

    assert (workflow.path, workflow.name) == (PATH, "deploy")
    assert (job.key, job.pos) == ("deploy", Pos(3, 11))
    assert isinstance(job.body, Steps)
    # Without labels any worker takes it.
    assert (job.body.steps, job.body.function, job.body.labels) == ((), "deploy", ())
    assert outline(read_workflow(PATH, written('on="push"').encode()).root) == [
        {"id": "deploy", "type": "job", "steps": []}
    ]


@pytest.mark.parametrize(
    "on", ['"push"', '["push"]', '("push",)', '{"push": None}', '{"push": {}}', '"pu" "sh"']
)
def test_every_form_of_on_is_known(on: str) -> None:
    assert list(the_workflow(written(f"on={on}")).on.events) == ["push"]


@pytest.mark.parametrize(
    ("before", "decorator"),
    [
        ("from runner.sdk import workflow", "workflow"),
        ("from runner.sdk import workflow as w", "w"),
        ("from runner.sdk import *", "workflow"),
        ("import runner.sdk", "runner.sdk.workflow"),
        ("import os, runner.sdk as sdk", "sdk.workflow"),
        ("from runner import sdk", "sdk.workflow"),
        ("from runner import sdk as s", "s.workflow"),
        ("try:\n    from runner . sdk import (step,\n    workflow)\nexcept ImportError: pass", "workflow"),
    ],
)
def test_the_decorator_is_known_by_its_import(before: str, decorator: str) -> None:
    text = f'{before}\n@other\n@{decorator}(on="push")\nasync def a(e, s, /): ...\n'

    assert the_workflow(text).jobs[0].key == "a"
    assert is_workflow(PATH, text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1\n",
        '@workflow(on="push")\nasync def a(e, s): ...\n',
        'from other import workflow\n@workflow(on="push")\nasync def a(e, s): ...\n',
        'from runner.sdk import step\n@workflow(on="push")\nasync def a(e, s): ...\n',
        'from .runner.sdk import workflow\n@workflow(on="push")\nasync def a(e, s): ...\n',
        'import runner.sdk\n@sdk.workflow(on="push")\nasync def a(e, s): ...\n',
        "from runner.sdk import workflow\nasync def a(e, s): ...\n",
        "this is no workflow, and no Python",
    ],
)
def test_what_decorates_no_function_is_a_module_and_no_workflow(text: str) -> None:
    assert not is_workflow(PATH, text.encode())
    with pytest.raises(InvalidWorkflow):
        load(PATH, text.encode())


def test_what_nobody_can_read_is_a_workflow_where_it_names_the_decorator() -> None:
    assert is_workflow(PATH, f"{IMPORT}@workflow(\n".encode())
    assert is_workflow(PATH, f"{IMPORT}# \xff".encode("latin-1"))
    assert not is_workflow(PATH, b"import runner.sdk\nx = (\n")
    assert not is_workflow(".github/workflows/a.py", written('on="push"').encode())
    assert not is_workflow(".runner/workflows/below/a.py", written('on="push"').encode())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "1:1: no function here is decorated with @workflow(...); that comes with: from runner"),
        (
            written('on="push"') + written('on="push"', before="").replace("deploy", "b"),
            "5:2: a file has one workflow, and that in line 2 is one already",
        ),
        (
            IMPORT + '@workflow(on="push")\ndef a(e, s): ...\n',
            '3:5: "a" is no async function; write: async def a(event, step)',
        ),
        (
            IMPORT + '@workflow(on="push")\nclass A: ...\n',
            '3:7: "A" is a class; write: async def A(event, step)',
        ),
        (
            IMPORT + 'if True:\n    @workflow(on="push")\n    async  def a(e, s): ...\n',
            '4:16: "a" must stand at the left margin, in no other block',
        ),
        *(
            (
                IMPORT + f'@workflow(on="push")\nasync def a({given}): ...\n',
                '3:11: "a" is called with the event and the steps; write (event, step)',
            )
            for given in ("", "e", "e, s, t", "e, s, *t", "e, s, **t", "e, s, *, t", "*e")
        ),
        (IMPORT + "@workflow\nasync def a(e, s): ...\n", '2:2: a workflow says what starts it; write'),
        (written(""), '2:2: a workflow needs "on"'),
        (written('"push"'), '2:11: everything is said by its name, as in on="push"'),
        (written('on="push", on="push"'), '2:22: "on" is already given in line 2'),
        (written('on="push", env={"A": 1, "A": 2}'), '2:35: the key "A" is already given in line 2'),
        (written('on="push", env={"A": 1, **x}'), '2:37: ** cannot stand in "env"'),
        (written('on="push", **x'), "2:22: write the names out"),
        (written('on="push", env={1: 2}'), '2:27: a key in "env" must be a text in quotes'),
        (written('on="push", runs_no="x"'), '2:22: unknown name "runs_no"; did you mean "runs_on"?'),
        (written('on="push", env={"A": f"{x}"}'), '2:32: an f-string cannot stand in "A"'),
        (written('on="push", env={"A": x}'), '2:32: the name x cannot stand in "A"'),
        (written('on="push", env={"A": x()}'), '2:32: a call cannot stand in "A"'),
        (written('on="push", env={"A": "a" + "b"}'), '2:32: a calculation cannot stand in "A"'),
        (written('on="push", env={"A": b"b"}'), '2:32: a bytes cannot stand in "A"'),
        (written('on="push", runs_on=[*x]'), '2:31: * cannot stand in "runs_on"'),
        (written('on="push", runs_on={"x"}'), '2:30: a set cannot stand in "runs_on"'),
        (written('on="push", steps=[]'), '2:22: "steps" has no place here: the function asks for its steps'),
        (written('on="push", needs="a"'), '2:22: "needs" has no place here: the function is the only job'),
        (written('on="push", if_="a"'), '2:22: "if_" has no place here: the function decides'),
        (written('on="push", strategy={}'), '2:22: "strategy" has no place here: a loop in the function'),
        (written('on="push", env={"A": "\\ud800"}'), "2:32: the text has half of a character"),
        (written(f'on="push", timeout_minutes=0x{"f" * 400}'), '2:38: the number in "timeout_minutes" has'),
        (written('on="push", timeout_minutes=-3'), '2:38: "timeout-minutes" is the number -3, but must be'),
        (written('on="pusch"'), '2:14: unknown event `pusch`; did you mean "push"?'),
        (written('on="push"').replace("deploy", "déploy"), '3:11: "déploy" cannot be a name here'),
        (written(f'on={"[" * 60}{"]" * 60}'), "2:64: the workflow is more than 50 levels deep"),
        (written(f'on=[{"1," * 10_001}]'), "2:20013: the workflow has more than 10000 values"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(text: str, said: str) -> None:
    (found,) = problems(text)

    assert found.startswith(said)


@pytest.mark.parametrize(
    "literal",
    [
        '"x ${{ nobody }}"',
        "'''x ${{ nobody }}'''",
        'r"\\d\\" ${{ nobody }}"',
        '"\\d\\n\\x20\\u0041\\N{SPACE}\\101\\\\ ${{ nobody }}"',
        '"x" "" "é" \'${{ nobody }}\'',
        '("\\x41"    u"${{ nobody }}")',
    ],
)
def test_the_place_of_a_character_is_found_in_every_form_of_a_text(literal: str) -> None:
    text = written(f'on="push", env={{"É": {literal}}}')
    (found,) = problems(text)

    col = text.splitlines()[1].index("nobody") + 1
    assert found.startswith(f"2:{col}: no context named")


def test_a_text_of_several_parts_is_followed_over_lines_and_comments() -> None:
    said = 'on="push", env={"A": (\n"a " # "${{\n\n  """b\n c ${{ nobody }}""")}'

    assert problems(written(said))[0].startswith("6:8: no context named")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_end_as_on_any_machine(end: str) -> None:
    text = written('on="push",\n env={"A": "\u2028${{ nobody }}"}').replace("\n", end)

    assert problems(text.encode())[0].startswith("3:18: no context named")


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(problems(written("on=x, env=y, need=1"))) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a b\n", "1:3: not valid Python: invalid syntax"),
        (b"x = 1\nif x:\ny\n", "3:1: not valid Python: expected an indented block after 'if'"),
        (b"x = '", "1:5: not valid Python: unterminated string literal"),
        (b"\tif x:\n        y\n", "1:"),
        (b"x = 1\0\n", "1:6: the character U+0000 cannot stand in a workflow file"),
        (b"\xef\xbb\xbfx = 1\n", "1:1: the file begins with a byte order mark"),
        (b"\xff\xfex\0", "1:1: the file is UTF-16"),
        (b"#!/usr/bin/python\n# -*- coding: latin-1 -*-\n", '1:1: the file says that it is in "latin-1"'),
        (b"x = '\xe9'\n", "1:6: the byte 0xe9 is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "1:1: the file has 524289 bytes; a workflow file is limited to 524288"),
    ],
)  # fmt: skip
def test_what_is_no_python_has_its_place_and_pythons_words(text: bytes, said: str) -> None:
    (found,) = problems(text)

    assert found.startswith(said)


def test_what_python_warns_of_is_no_problem_and_is_not_said() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        workflow = the_workflow("# coding: utf-8\n" + written('on="push"') + "x = '\\d' is 1\n")

    assert (workflow.name, said) == ("deploy", [])


HALF = MAX_BYTES // 2
TOO_MUCH = {
    "brackets": "(" * MAX_BYTES,
    "brackets that are closed": "(" * HALF + ")" * HALF,
    "braces": "{1:" * (MAX_BYTES // 3),
    "signs": "-" * (MAX_BYTES - 1) + "1",
    "negations": "not " * (MAX_BYTES // 4 - 1) + "1",
    "attributes": "a." * (HALF - 1) + "a",
    "attributes, below what is counted": "+".join(["a" + ".a" * 90] * 500),
    "attributes of calls": "a" + ".a()" * 800,
    "calls": "f" + "()" * (HALF - 1),
    "choices": "1 if 1 else " * (MAX_BYTES // 12 - 1) + "1",
    "functions": "lambda:" * (MAX_BYTES // 7 - 1) + "1",
    "sums": "1+" * (HALF - 1) + "1",
    "short sums": "1+" * 2000 + "1",
    "powers": "1**" * 2000 + "1",
    "elif": "if a: pass\n" + "elif a: pass\n" * 5000,
    "blocks": "".join(" " * depth + "if 1:\n" for depth in range(1000)),
    "numbers": "9" * MAX_BYTES,
    "statements": "a;" * HALF,
    "items": "a," * HALF,
    # Each of these takes gigabytes, or minutes.
    "the name of a module": "import a" + ".a" * (HALF - 4),
    "the name of a module in parts": "import a" + ".\\\n a" * (MAX_BYTES // 5 - 4),
    "a name that is not only letters": "import a" + ".a\u0301" * (MAX_BYTES // 4 - 4),
    "f-strings": "f'" + "{a}" * (MAX_BYTES // 3 - 2) + "'",
    "f-strings in f-strings": "f'''" + '{f"""' + "{f'{a}{a}'}" * (MAX_BYTES // 11 - 4) + '"""}' + "'''",
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_python_cannot_read_is_refused_with_a_place(kind: str) -> None:
    (found,) = problems(TOO_MUCH[kind])

    assert found.split(":")[0].isdecimal()


def test_what_is_deep_is_refused_alike_however_deep_its_reader_stands() -> None:
    text = written('on="push"') + "x = " + "1+" * 600 + "1\n"

    def below(depth: int) -> list[str]:
        return problems(text) if depth == 0 else below(depth - 1)

    (found,) = below(0)
    assert found.endswith("the code is more than 500 levels deep here")
    assert below(500) == [found]


def test_the_deepest_code_is_read_in_a_thread_as_workers_have_them() -> None:
    found: list[str] = []
    text = written('on="push"') + "x = " + "1+" * 400 + "1\n" + "(" * 190 + "1" + ")" * 190
    thread = threading.Thread(target=lambda: found.append(the_workflow(text).name))
    thread.start()
    thread.join()

    assert found == ["deploy"]


def test_a_workflow_in_yaml_calls_one_in_python_as_its_job() -> None:
    called = written('on={"workflow_call": {"inputs": {"n": {"type": "number", "required": True}}}}')
    files = {PATH: called.encode(), ".runner/workflows/other.py": written('on="push"').encode()}

    def said(job: str) -> list[str]:
        text = f"on: push\njobs:\n  a: {job}\n"
        return [one.message for one in read_workflow("a.yml", text.encode(), files.get).problems]

    assert said(f"{{uses: ./{PATH}, with: {{n: 1}}}}") == []
    assert said(f"{{uses: ./{PATH}}}") == ['the called workflow needs the input "n"']
    assert said("{uses: ./.runner/workflows/other.py}") == [
        '"./.runner/workflows/other.py" cannot be called; it does not start on workflow_call'
    ]
    assert "one in Python is called as" in said("{uses: ./.github/workflows/a.py}")[0]
    assert "by its own repository only" in said("{uses: o/r/.runner/workflows/a.py@v1}")[0]
