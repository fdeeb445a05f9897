"""What is wrong with a workflow file: each problem with its place, and what would have worked."""

import pytest

from runner.workflow.load import MAX_BYTES
from tests.workflow.samples import a_job, a_step, problems_of, warnings_of

JOB = "{runs-on: x, steps: [{run: y}]}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", '1:1: the file is empty; a workflow needs "on" and "jobs"'),
        ("# nothing\n", '1:1: the file is empty; a workflow needs "on" and "jobs"'),
        (
            "- a",
            "1:1: the file is a list, but must be a mapping with name, description, run-name, on",
        ),
        (f"jobs: {{a: {JOB}}}", '1:1: a workflow needs "on"'),
        ("on: push", '1:1: a workflow needs "jobs"'),
        (
            "on: push\njobs: {}",
            '2:7: "jobs" is an empty mapping, but must be a mapping with at least one job',
        ),
        ("on: push\njobs:", '2:6: "jobs" is empty, but must be a mapping with at least one job'),
    ],
)
def test_a_file_that_is_no_workflow(text: str, problem: str) -> None:
    (found,) = problems_of(text)

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("on", "problem"),
    [
        ("image_version", "1:5: event `image_version` is not supported yet; here you can use branch"),
        (
            "[push, image_version]",
            "1:12: event `image_version` is not supported yet; here you can use branch",
        ),
        (
            "{push: , image_version: }",
            "1:14: event `image_version` is not supported yet; here you can use branch",
        ),
        ("pusch", '1:5: unknown event `pusch`; did you mean "push"?'),
        ("zzz", "1:5: unknown event `zzz`; here you can use branch_protection_rule, check_run"),
        ("[]", '1:5: "on" is an empty list, but must be a list of events'),
        ("3", '1:5: "on" is the number 3, but must be'),
        ("[[push]]", '1:6: "on" is a list, but must be an event'),
        ("{push: {branch: main}}", '1:13: unknown key "branch"; did you mean "branches"?'),
        ("{push: main}", '1:12: "push" is the text "main", but must be a mapping with branches,'),
        ("{push: {branches: []}}", '1:23: "branches" is an empty list, but must be'),
        (
            "{push: {branches: ['a b']}}",
            '1:24: "a b" is no pattern for names of branches and tags: no branch or tag has',
        ),
        ("{push: {paths: './a'}}", '1:20: "./a" is no pattern for paths: paths begin at the root'),
        ("{push: {tags: a, tags-ignore: b}}", '1:22: "tags" and "tags-ignore" exclude each other'),
    ],
)
def test_an_event_that_cannot_start_it(on: str, problem: str) -> None:
    (found,) = problems_of(f"on: {on}\njobs: {{a: {JOB}}}\n")

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("{runs-on: x, step: [{run: y}]}", '4:18: unknown key "step"; did you mean "steps"?'),
        (
            "{runs-on: x, steps: [{run: y}], snapshot: a}",
            '4:37: "snapshot" is not supported yet for images; here you can use durable, local, off',
        ),
        (
            "{runs-on: x, steps: [{run: y}], snapshot: {image-name: durable}}",
            '4:37: "snapshot" is not supported yet for images; here you can use durable, local, off',
        ),
        (
            "{runs-on: x, steps: [{run: y}], snapshot: Durable}",
            '4:47: "Durable" is no word of "snapshot"; write durable',
        ),
        ("{runs-on: x, steps: [{uses: ../x}]}", '4:33: "../x" is no action: it leads out of the repository'),
        ("{uses: o/../.github/workflows/x.yml@v1}", '4:12: "o/../.github/workflows/x.yml@v1" is no workflow'),
        ("{steps: [{run: y}]}", '3:3: the job "a" needs "runs-on"'),
        ("{runs-on: x}", '3:3: the job "a" needs "steps"'),
        (
            "{runs-on: x, steps: []}",
            '4:25: "steps" is an empty list, but must be a list with at least one step',
        ),
        (
            "{runs-on: x, steps: [{uses: a/b@v1, with: {}}]}",
            '4:47: "with" is an empty mapping, but must be a mapping with at least one entry',
        ),
        ("{runs-on: {group: x}, steps: [{run: y}]}", '4:16: "group" is not supported yet'),
        ("{runs-on: '${{ a }}', steps: [{run: y}]}", '4:20: no context named "a"'),
        ("{runs-on: [], steps: [{run: y}]}", '4:15: "runs-on" is an empty list, but must be'),
        (
            "{runs-on: x, steps: [{run: y}], container: {}}",
            '4:48: "container" is an empty mapping, but must be a mapping with image',
        ),
        ("{runs-on: x, steps: [{run: y}], container: -v}", '4:48: "-v" cannot be the name of an image'),
        (
            "{runs-on: x, steps: [{run: y}], container: {image: a, ports: [x]}}",
            '4:67: "x" is no port; write 5432, 5432:5432, 8000-8010 or 5353:53/udp',
        ),
        (
            f"{{runs-on: x, steps: [{{run: y}}], container: {{image: a, ports: [{'1-9, ' * 14}1-9]}}}}",
            "4:137: a container can have 128 ports",
        ),
        (
            f"{{runs-on: x, steps: [{{run: y}}], services: {{{', '.join(f's{n}: a' for n in range(21))}}}}}",
            "4:47: a job can have 20 services",
        ),
        (
            "{runs-on: x, steps: [{run: y}], container: {image: a, options: --user root}}",
            '4:68: the container of a job cannot have the option "--user"; here you can use --cpu-shares, ',
        ),
        (
            "{runs-on: x, steps: [{run: y}], services: {b: {image: a, options: --privileged}}}",
            '4:71: a service cannot have the option "--privileged"; here you can use --cpu-shares, --cpus, ',
        ),
        (
            "{runs-on: x, steps: [{run: y}], services: {b: {image: a, volumes: ['/:/b']}}}",
            '4:72: "/:/b": a folder of the machine cannot be a volume; use a name, as in name:/folder, or ',
        ),
        (
            "{runs-on: x, steps: [{run: y}], services: {b: runner.local/private:1}}",
            '4:51: "runner.local/private:1": images of runner.local/ are made here and cannot be named',
        ),
        ("{runs-on: x, steps: [{run: y}], needs: a}", '4:44: the job "a" cannot need itself'),
        ("{runs-on: x, steps: [{run: y}], needs: [b]}", '4:45: there is no job "b" to need'),
        (
            "{runs-on: x, steps: [{run: y}], timeout-minutes: 0}",
            '4:54: "timeout-minutes" is the number 0, but must be a number of minutes above 0',
        ),
        (
            "{runs-on: x, steps: [{run: y}], timeout-minutes: .inf}",
            '4:54: "timeout-minutes" is the',
        ),
        ("{runs-on: x, steps: [{run: y}], timeout-minutes: true}", '4:54: "timeout-minutes" is true, but'),
        ("{runs-on: x, steps: [{run: y}], env: [A]}", '4:42: "env" is a list, but must be a mapping'),
        ("{runs-on: x, steps: [{run: y}], env: {'A=': 1}}", '4:43: "A=" cannot be the name of'),
        (
            "{runs-on: x, steps: [{run: y}], env: {a: 1, A: 2}}",
            '4:49: "A" and "a" in line 4 differ only in case',
        ),
    ],
)
def test_a_job_that_cannot_run(job: str, problem: str) -> None:
    found = problems_of(a_job(job))

    assert any(each.startswith(problem) for each in found), found


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("name: x", '6:9: step 1 needs "run"'),
        ("uses: actions/..@v4", '6:15: "actions/..@v4" is no action: ".." cannot be the name of'),
        ("uses: docker://runner.local/action:1", '6:15: "runner.local/action:1": images of runner.local/'),
        ("run:", '6:13: "run" is empty, but must be a script'),
        ("run: [x]", '6:14: "run" is a list, but must be a script'),
        ("{run: x, id: 1a}", '6:22: "1a" cannot be a name here; use letters'),
        ("{run: x, id: __a}", '6:22: "__a" cannot be a name here; use letters'),
        (
            "{run: x, shell: zsh}",
            "6:25: unknown shell 'zsh'; here you can use bash, sh, python, pwsh, or a command",
        ),
        ("{run: x, shell: cmd}", '6:25: the shell "cmd" is not supported yet; here you can use bash'),
        ('{run: x, shell: "a \'{0}"}', "6:25: the shell 'a '{0}' cannot be split into words"),
        (
            "{run: x, continue-on-error: 1}",
            '6:37: "continue-on-error" is the number 1, but must be true or false',
        ),
        ("{run: x, timeout-minutes: '5'}", '6:35: "timeout-minutes" is the text "5", but must be'),
        ("step", "6:9: step 1 is the text"),
    ],
)
def test_a_step_that_cannot_run(step: str, problem: str) -> None:
    (found,) = problems_of(a_step(step))

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (
            "run: echo ${{ githb.sha }}",
            '6:23: no context named "githb"; here you can use env, github, inputs, job, matrix, needs',
        ),
        ("run: ${{ always() }}", '6:18: always() can only be used in "if"'),
        ("run: ${{ github.sha", "6:14: this ${{ has no }} that closes it"),
        ("run: '${{ ''a'' b }}'", "6:25: unexpected b"),
        ('run: "\\x41\\t${{ b }}"', '6:25: no context named "b"'),
        ("run: a\n  ${{ b }}", '7:15: no context named "b"'),
        ("run: |\n  first\n    ${{ b }}", '8:17: no context named "b"'),
        ("run: |2-\n\n  é ${{ 'x' == }}", "8:21: the expression ends too early, after =="),
        ("run: >\n  folded\n  line\n\n  ${{ b }}", '10:15: no context named "b"'),
        ("env: {A: '${{ b }}'}\nrun: x", '6:23: no context named "b"'),
    ],
)
def test_an_expression_is_wrong_at_its_very_place(step: str, problem: str) -> None:
    (found,) = problems_of(a_step(step))

    assert found.startswith(problem)


def test_each_place_has_its_own_contexts() -> None:
    assert problems_of(
        f"""\
        on: push
        env: {{A: "${{{{ env.B }}}}", B: "${{{{ hashFiles('x') }}}}"}}
        defaults: {{run: {{working-directory: "${{{{ github.ref }}}}"}}}}
        jobs:
          a: {JOB[:-1]}, env: {{C: "${{{{ steps.x }}}}"}}}}
        """
    ) == [
        '2:15: "env" cannot be used here; here you can use github, inputs, secrets, vars',
        "2:34: hashFiles() cannot be used here",
        '3:37: an expression cannot stand in "working-directory"; write a text',
        '5:52: "steps" cannot be used here; here you can use github, inputs, matrix, needs, secrets, '
        "strategy, vars",
    ]


def test_steps_are_known_to_those_after_them_only() -> None:
    assert warnings_of(
        a_job(
            """\
            runs-on: x
            steps:
              - {id: one, run: "${{ steps.two.outcome }}"}
              - {id: two, run: "${{ steps.ONE.outcome }}"}
              - {id: three, run: "${{ steps.on.outcome }} ${{ steps.one.output.x }}"}
            """
        )
    ) == [
        '6:35: no step before this one has the id "two"',
        '8:37: no step before this one has the id "on"; did you mean "one"?',
        '8:65: unknown property "output"; did you mean "outputs"?',
    ]


def test_jobs_that_wait_for_each_other_are_named_in_a_circle() -> None:
    assert problems_of(
        f"""\
        on: push
        jobs:
          a: {{needs: [b], {JOB[1:]}
          b: {{needs: c, {JOB[1:]}
          c: {{needs: B, {JOB[1:]}
        """
    ) == ["4:3: these jobs wait for each other: b needs c needs b"]


def test_the_key_of_a_job_is_a_name() -> None:
    found = problems_of(f"on: push\njobs:\n  1a: {JOB}\n  __b: {JOB}\n  'c d': {JOB}\n")

    assert [problem.split(";")[0] for problem in found] == [
        '3:3: "1a" cannot be a name here',
        '4:3: "__b" cannot be a name here',
        '5:3: "c d" cannot be a name here',
    ]


def test_every_problem_is_told_at_once_and_in_order() -> None:
    found = problems_of(
        "on: [push, image_version]\njobs:\n  a:\n    step: []\n    runs-on: ${{ x }}\nnames: x\n"
    )

    assert [problem.split(": ")[0] for problem in found] == ["1:12", "3:3", "4:5", "5:18", "6:1"]


def test_a_value_with_an_alias_is_complained_about_once() -> None:
    text = f"on: push\njobs:\n  a: {JOB[:-1]}, env: &e {{A: [x]}}}}\n  b: {JOB[:-1]}, env: *e}}\n"

    assert problems_of(text) == ['3:50: "A" is a list, but must be a text']


def test_a_problem_is_one_line_whatever_it_quotes() -> None:
    text = '"a\\nb\\x1b[31m\\u202e": 1\non: push\njobs: {a: ' + JOB + "}\n"

    (found,) = problems_of(text)

    assert found.startswith('1:1: unknown key "a\\nb\\x1b[31m\\u202e"')


def test_problems_without_end_are_cut() -> None:
    found = problems_of(a_step("run: " + "${{ b }}" * 20_000))

    assert len(found) <= 101


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"on: push\nname: \xff", "2:7: the byte 0xff is not UTF-8"),
        ("é: x".encode("latin-1"), "1:1: the byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfon: push", "1:1: the file begins with a byte order mark; save it as UTF-8 without"),
        ("on: push".encode("utf-16"), "1:1: the file is UTF-16; save it as UTF-8 without"),
        (b"on: push\nname: a\0b", "2:8: the character U+0000 cannot stand in a workflow file"),
        (b"on: push\n\tname: a", "2:1: a tab cannot indent or begin a value in YAML; use spaces"),
        (b"a" * (MAX_BYTES + 1), f"1:1: the file has {MAX_BYTES + 1} bytes; a workflow file is limited to"),
    ],
)
def test_bytes_that_are_no_yaml_are_named_with_their_place(text: bytes, problem: str) -> None:
    (found,) = problems_of(text)

    assert found.startswith(problem)
