"""The words of what is read, and whole examples of it: noise alone would hardly get past the first line."""

from tests.workflow.samples import SAMPLE

EXPRESSION = (
    *("${{ ", " }}", "(", ")", "[", "]", ",", ".", "*", "!", "==", "!=", "<", "<=", ">", ">=", "&&", "||"),
    *(
        " ",
        "'",
        "''",
        "'a'",
        "'{0}'",
        "'{'",
        "'{{'",
        "'[1,{\"a\":[2]}]'",
        "0",
        "1",
        "-1",
        "1.5",
        "1e99",
        "0x1F",
    ),
    *(
        "0o7",
        "9" * 30,
        "NaN",
        "Infinity",
        "null",
        "true",
        "github",
        "env",
        "steps",
        "matrix",
        "needs",
        "inputs",
    ),
    *("secrets", "runner", ".a", ".ref", ".event.x", "['b']", ".*", "contains(", "startsWith(", "endsWith("),
    *("format(", "join(", "toJSON(", "fromJSON(", "case(", "hashFiles(", "success()", "always()", "failure("),
    *("é", "ß", "İ", "\ud7ff", "\U0001f600", "\0", "\n", "\\", "|", "&", "=", "-", "+", '"', "nobody"),
)

WORKFLOW = (
    *("on: ", "push", "pull_request", "schedule", "workflow_dispatch", "workflow_call", "name: ", "env: "),
    *(
        "jobs: ",
        "runs-on: ",
        "steps: ",
        "run: ",
        "uses: ",
        "with: ",
        "needs: ",
        "if: ",
        "strategy: ",
        "matrix: ",
    ),
    *(
        "include: ",
        "exclude: ",
        "outputs: ",
        "inputs: ",
        "secrets: ",
        "inherit",
        "permissions: ",
        "write-all",
    ),
    *("concurrency: ", "group: ", "container: ", "image: ", "services: ", "credentials: ", "password: "),
    *(
        "branches: ",
        "paths: ",
        "types: ",
        "cron: ",
        "timezone: ",
        "'*/5 * * * *'",
        "'a/**'",
        "'[a-'",
        "default: ",
    ),
    *(
        "type: ",
        "choice",
        "number",
        "options: ",
        "required: ",
        "timeout-minutes: ",
        "shell: ",
        "bash",
        "retry: ",
    ),
    *("max-attempts: ", "delay: ", "on-exit-codes: ", "on-lost: ", "defaults: ", "id: ", "runs: ", "using: "),
    *(
        "composite",
        "node20",
        "docker",
        "main: ",
        "description: ",
        "./.github/workflows/a.yml",
        "./a",
        "a/b@v1",
    ),
    *(
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "\n  - ",
        "- ",
        "? ",
        ": ",
        ", ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "<<: ",
    ),
    *(
        "|\n ",
        ">-\n ",
        "'",
        '"',
        "\\x41",
        "!!str ",
        "!x ",
        "# ",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "\t",
        "\r\n",
    ),
    *(
        "0",
        "3.10",
        "0x1F",
        "1e999",
        ".inf",
        ".nan",
        "~",
        "true",
        "yes",
        "²",
        "٣",
        "é",
        "\u2028",
        "\ufeff",
        "a",
    ),
    *(
        "${{ ",
        " }}",
        "matrix.a",
        "inputs.a",
        "needs.a.outputs.b",
        "steps.a.outputs",
        "fromJSON('[]')",
        "github",
    ),
)

ENV_FILE = (
    "=",
    "<<",
    "\n",
    "\r\n",
    "\r",
    "A",
    "EOF",
    "NODE_OPTIONS",
    "\0",
    "\ufeff",
    " ",
    "é",
    "\u2028",
    "A=1\n",
)

SPOKEN = (
    *(
        "::",
        "##[",
        "]",
        " ",
        ",",
        ";",
        "=",
        "%0A",
        "%25",
        "%3A",
        "%5D",
        "%",
        "error",
        "add-mask",
        "set-output",
    ),
    *("file=a", "line=1", "\0", "\r", "é", "\u2028", "group", "stop-commands"),
)

WHOLE = b"""\
on:
  push: {branches: [main, '!a/**'], paths-ignore: ['docs/*.md']}
  schedule: [{cron: '*/15 0-6 * JAN-MAR MON#1', timezone: Europe/Berlin}]
  workflow_dispatch: {inputs: {level: {type: choice, options: [a, b], default: a}}}
  workflow_call:
    inputs: {n: {type: number, default: 3}}
    secrets: {key: {required: true}}
    outputs: {x: {value: '${{ jobs.a.outputs.x }}'}}
run-name: by ${{ github.actor }}
permissions: {contents: read}
concurrency: {group: "${{ github.ref }}", cancel-in-progress: true}
jobs:
  a: &a
    runs-on: [self-hosted, "${{ matrix.os }}"]
    strategy: {matrix: {os: [x, y], include: [{os: x, n: 1}], exclude: [{os: y}]}, max-parallel: 2}
    outputs: {x: "${{ steps.s.outputs.x }}"}
    container: {image: a, credentials: {username: u, password: "${{ secrets.P }}"}, ports: ['1:1']}
    services: {db: {image: b, env: {A: 1}}}
    environment: {name: e, url: "https://${{ env.A }}"}
    steps:
      - {id: s, run: "echo ${{ format('{0}', matrix.n) }}", shell: bash, timeout-minutes: 3.5}
      - {uses: ./a, with: {x: 1}, if: "!cancelled() && steps.s.outcome == 'success'"}
      - parallel: [{run: a, retry: {max-attempts: 2, delay: 3s, on-exit-codes: [1]}, on-lost: ask}]
      - {wait-all: , continue-on-error: true}
  b: {needs: [a], uses: ./.github/workflows/b.yml, with: {n: "${{ fromJSON('1') }}"}, secrets: inherit}
  c: *a
"""

ACTION = b"""\
name: A
description: b
inputs: {level: {required: true, default: "${{ github.token }}"}}
outputs: {out: {value: "${{ steps.s.outputs.x }}"}}
runs:
  using: composite
  steps:
    - {id: s, run: "echo ${{ inputs.level }}", shell: bash, if: always()}
    - {uses: a/b@v1, with: {x: 1}}
"""

WORKFLOWS = (SAMPLE.encode(), WHOLE)
ACTIONS = (
    ACTION,
    b"name: A\ndescription: b\nruns: {using: node20, main: a.js, post: b.js, post-if: success()}\n",
    b"name: A\ndescription: b\nruns: {using: docker, image: Dockerfile, args: ['${{ inputs.a }}']}\n",
)
EXPRESSIONS = (
    b"${{ github.event.x[0].*.name }} and ${{ format('{0} {{', toJSON(needs.*.result)) }}",
    b"!cancelled() && (steps['a'].outputs.b == 'x' || fromJSON('[1, 2]')[1] >= 0x1F)",
    b"contains(github.ref, 'a') && join(github.event.x.*.name, ', ') || case(true, 1, NaN)",
)
ENV_FILES = (b"A=1\nB<<EOF\nx\ny\nEOF\n", b"\xef\xbb\xbfPATH=a=b\r\nC<<=\n=\n")
LINES = (b"::error file=a%2Cb,line=1::x%0Ay\n", b"  ::add-mask::a\nsaid ##[set-output name=x;]y%5D\n")

MATCHER = (
    *(
        '{"problemMatcher": [',
        '{"owner": "a", ',
        '"severity": "warning", ',
        '"pattern": [',
        '{"regexp": "',
        '", ',
    ),
    *(
        '"message": 1',
        '"file": 2',
        '"line": 1',
        '"column": 3',
        '"loop": true',
        '"code": 1',
        '"fromPath": 1',
        "}",
    ),
    *(
        "]",
        "}]}",
        ", ",
        "^",
        "$",
        "(",
        ")",
        "(?:",
        "(?=",
        "(?P<a>",
        "(?R)",
        "(?i)",
        "|",
        ".*",
        ".+",
        "a",
        "[^:]",
    ),
    *(
        "{2}",
        "{1,9}",
        "{e<=2}",
        "\\\\d",
        "\\\\1",
        "\\\\p{L}",
        "\\\\X",
        "*+",
        "??",
        "\n---\n",
        "\n",
        ":",
        "3",
        "-1",
    ),
    *("null", "true", "1e9", "é", "\u2028", "\x1b[31m", "\0", "a.c:3: error: x\n"),
)
MATCHERS = (
    b"""{"problemMatcher": [{"owner": "gcc", "severity": "error", "pattern": [{
"regexp": "^(.*):(\\\\d+):\\\\s+(warning|error):\\\\s+(.*)$",
"file": 1, "line": 2, "severity": 3, "message": 4}]}]}
---
a.c:3: error: x
fine
""",
    b"""{"problemMatcher": [{"owner": "two", "pattern": [{"regexp": "^([^\\\\s].*)$", "file": 1}, {
 "regexp": "^\\\\s+(\\\\d+):(\\\\d+)\\\\s+(.*)$", "line": 1, "column": 2, "message": 3, "loop": true}]}]}
---
a.js
  1:2 Bad
  3:4 Odd

last
""",
)

PLAN = (
    *(
        "on: push\n",
        "on: [push, workflow_call]\n",
        "jobs:\n",
        "  a:\n",
        "  b:\n",
        "    needs: a\n",
        "    needs: [a, b]\n",
    ),
    *(
        "    runs-on: x\n",
        "    runs-on: ",
        "    steps: [run: x]\n",
        "    name: ",
        "    if: ",
        "    outputs: {o: '",
    ),
    *(
        "    strategy:\n",
        "      matrix: ",
        "      fail-fast: ",
        "      max-parallel: ",
        "    uses: ./.github/workflows/b.yml\n",
    ),
    *(
        "    with: {i: ",
        "\n",
        "'}\n",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "x: ",
        "include: ",
        "exclude: ",
        "[1, 2]",
        "{x: [1, 2]}",
    ),
    *(
        "${{ ",
        " }}",
        "matrix.x",
        "matrix",
        "needs.a.result",
        "needs.a.outputs.o",
        "needs.*.result",
        "inputs.i",
    ),
    *(
        "fromJSON('[1,{\"x\":null}]')",
        'fromJSON(\'{"x":[1,"a"]}\')',
        "toJSON(needs)",
        "always()",
        "cancelled()",
    ),
    *(
        "failure('a')",
        "success()",
        "!",
        "&&",
        "||",
        "==",
        "github.event",
        "strategy.job-index",
        "vars.A",
        "'",
        '"',
    ),
    *("true", "false", "0", "-1", "1e99", "NaN", "null", "'\\0'", "é", "format('{0}', ", ")", "(", "join("),
)
PLANS = (
    b"""on: [push, workflow_call]
jobs:
  a:
    runs-on: x
    outputs: {o: '["p", "q"]', m: "${{ toJSON(matrix) }}"}
    strategy: {matrix: {x: [1, 2], include: [{x: 1, y: 2}]}, max-parallel: 1}
    steps: [run: x]
  b:
    needs: a
    if: always() && needs.a.result != ''
    name: b of ${{ matrix.x }}
    runs-on: ["${{ matrix.x }}"]
    strategy:
      matrix: {x: "${{ fromJSON(needs.a.outputs.o || '[1]') }}"}
      fail-fast: "${{ needs.a.result == 'x' }}"
    steps: [run: x]
""",
    b"""on:
  push:
  workflow_call:
    inputs: {i: {type: number, default: 3}}
    outputs: {o: {value: "${{ jobs.c.outputs.o }}"}}
jobs:
  c:
    if: inputs.i != 2
    runs-on: x
    outputs: {o: "${{ inputs.i }}"}
    steps: [run: x]
  d:
    needs: c
    if: "!cancelled() || success('c')"
    uses: ./.github/workflows/b.yml
    with: {i: "${{ fromJSON('2') }}"}
""",
)

PYTHON = (
    *(
        "from runner.sdk import workflow\n",
        "import runner.sdk as s\n",
        "@workflow(",
        "@s.workflow(",
        "@",
        "on=",
    ),
    *(
        "async def a(e, s): ...\n",
        "async ",
        "def ",
        "class ",
        "await ",
        "yield ",
        "lambda ",
        "import ",
        "from ",
    ),
    *(
        '"push"',
        "env=",
        "runs_on=",
        "retry=",
        "concurrency=",
        "timeout_minutes=",
        "outputs=",
        "name=",
        "steps=",
    ),
    *('{"workflow_call": {"inputs": {}}}', '"${{ ', ' }}"', "${{ github.ref }}", "steps.a.outputs.b", "if_="),
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "{1:",
        "{a}",
        ",",
        ":",
        ";",
        ".",
        "a.",
        ".a",
        "a()",
        "a[0]",
        "**",
        "*",
        "-",
    ),
    *(
        "not ",
        "+",
        "1+",
        "1**",
        "a<",
        " and ",
        " if ",
        " else ",
        "1 if 1 else ",
        " for a in ",
        " in ",
        "lambda:",
    ),
    *("if a:\n", "elif a:\n", "else:\n", " pass\n", "try:\n", "except a:\n", "match a:\n", " case ", "with "),
    *(
        "'",
        '"',
        "'''",
        '"""',
        "f'",
        'f"""',
        "r'",
        "b'",
        "u'",
        "\\",
        "\\n",
        "\\x41",
        "\\N{SPACE}",
        "\\ud800",
        "\\d",
    ),
    *(
        "\n",
        "\r\n",
        "\r",
        "\n ",
        "\t",
        "\x0c",
        "#",
        "\\\n",
        "\0",
        "\u2028",
        "\ufeff",
        "é",
        "a\u0301",
        "²",
        "٣",
        "a",
    ),
    *(
        "9",
        "0x",
        "1e999",
        "1_0",
        "1j",
        "...",
        "None",
        "True",
        "# coding: latin-1\n",
        "a=",
        "a:=",
        "->",
        "!r",
        "|",
    ),
)
PYTHONS = (
    b"""# coding: utf-8
from runner.sdk import workflow

@workflow(
    name="Ship", run_name="by ${{ github.actor }}",
    on={"push": {"branches": ["main", "!old"]}, "workflow_dispatch": {"inputs": {"l": {"type": "choice",
        "options": ("a", "b"), "default": "a"}}}, "workflow_call": {"inputs": {"n": {"type": "number"}}}},
    concurrency={"group": "${{ github.ref }}", "cancel-in-progress": True}, permissions={"contents": "read"},
    env={"A": r"\\d" '\\x41 ${{ inputs.n }}' # and
        "more", "B": -1.5}, container={"image": "a"}, services={"db": "b"}, runs_on=["x", "${{ vars.os }}"],
    environment={"name": "e"}, timeout_minutes=3.5, retry={"max-attempts": 3, "on-exit-codes": [1]},
)
async def ship(event, step):
    return f"{event!r:>{10}}" if event else [one async for one in step]
""",
    b'import runner.sdk as s\nimport lib\n@s.workflow(on="push")\nasync def a(e, s, /):\n    pass\n',
)
