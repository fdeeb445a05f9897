"""Workflow files for tests, and what `load` says about them."""

from textwrap import dedent

import pytest

from runner.workflow.document import InvalidWorkflow, JobDef, StepDef, Steps, Workflow
from runner.workflow.load import read_workflow
from runner.workflow.supported import load

SAMPLE = """\
name: CI
on:
  push:
    branches: [main, 'release/**', '!release/old']
    paths-ignore: ['docs/**']
env: &common
  LEVEL: 3.10
  REF: ${{ github.ref }}
defaults:
  run:
    shell: bash
jobs:
  build:
    name: Build it
    runs-on: [Self-Hosted, linux, LINUX]
    env: *common
    steps:
      - id: compile
        run: |
          make -j4
          echo "done" >> "$GITHUB_OUTPUT"
      - name: Show ${{ steps.compile.outputs.x }}
        run: >-
          echo "${{ env.LEVEL }}"
          and more
        working-directory: sub
        timeout-minutes: 0.5
        continue-on-error: true
  test:
    needs: BUILD
    runs-on: linux
    container: {image: 'alpine:3'}
    timeout-minutes: 10
    env: {OUT: "${{ needs.build.result }}"}
    defaults: {run: {shell: sh, working-directory: tests}}
    steps:
      - run: 'echo it''s ${{ job.status }}'
        shell: python
      - {run: ls}
"""


def loaded(text: str) -> Workflow:
    return load("ci.yml", dedent(text).encode())


def problems_of(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        load("ci.yml", text if isinstance(text, bytes) else dedent(text).encode())
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem).removeprefix("ci.yml:") for problem in caught.value.problems]


def warnings_of(text: str) -> list[str]:
    reading = read_workflow("ci.yml", dedent(text).encode())
    assert reading.errors == ()
    return [str(problem).removeprefix("ci.yml:") for problem in reading.problems]


def a_job(job: str, top: str = "on: push") -> str:
    """A file around the body of one job, which begins in line 4 and column 5."""
    return f"{top}\njobs:\n  a:\n{indented(dedent(job), 4)}"


def a_step(step: str) -> str:
    """A file around the body of one step, which begins in line 6 and column 9."""
    body = indented(dedent(step), 4).lstrip()
    return a_job(f"runs-on: x\nsteps:\n  - {body}")


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


def the_job(text: str) -> JobDef:
    (job,) = loaded(text).jobs
    return job


def the_body(text: str) -> Steps:
    body = the_job(text).body
    assert isinstance(body, Steps)
    return body


def the_step(step: str) -> StepDef:
    (found,) = the_body(a_step(step)).steps
    return found
