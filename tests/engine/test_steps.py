"""What steps of actions leave behind, and what is still there when another worker goes on with a job."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.engine.commands import FILE_BYTES
from runner.engine.control import cancel
from runner.engine.outcomes import within_limits
from runner.engine.perform import perform
from runner.engine.ports import Command, Exit
from runner.errors import DatabaseUnavailable
from runner.model.run import Finished, Run
from runner.model.step import Outcome, Result
from runner.workflow.containers import ContainerSpec
from tests.engine.conftest import Bench

PATIENT = 20.0


def write(command: Command, variable: str, text: str) -> None:
    Path(command.env[variable]).write_text(text)


def action(bench: Bench, text: str, name: str = "act") -> None:
    folder = bench.workspaces.folder / name
    folder.mkdir(exist_ok=True)
    (folder / "action.yml").write_text(text)


def composite(*steps: str, rest: str = "") -> str:
    listed = "".join(f"    - {{shell: bash, {step}}}\n" for step in steps)
    return f"name: a\ndescription: a\n{rest}runs:\n  using: composite\n  steps:\n{listed}"


NODE = "name: n\ndescription: n\nruns: {using: node20, main: main.js, post: post.js}\n"


def job(*steps: str, said: str = "") -> str:
    listed = "".join(f"      - {{{step}}}\n" for step in steps)
    return f"on: push\njobs:\n  a:\n    runs-on: linux\n{said}    steps:\n{listed}"


def outcomes(bench: Bench, run: Run) -> dict[str, Outcome]:
    return {key: one.outcome for key, one in bench.store.recall(bench.store.load(run.id).jobs[0]).items()}


def conclusions(bench: Bench, run: Run) -> dict[str, str]:
    return {key: str(one.conclusion) for key, one in outcomes(bench, run).items()}


def told(command: Command) -> str:
    """What a command does: the name of an action's file, else its script."""
    path = Path(command.argv[-1])
    return path.name if path.suffix == ".js" else path.read_text()


def doing(bench: Bench, **what: Callable[[Command], Exit | None]) -> list[str]:
    """Have each script do what is said for it, by its first word; gives all that were begun."""
    begun: list[str] = []

    def act(command: Command) -> Exit:
        begun.append(told(command))
        found = what.get(begun[-1].split()[0].replace(".", "_"))
        return (found(command) if found else None) or Exit(0)

    bench.executor.act = act
    return begun


def lost(command: Command) -> Exit:
    raise DatabaseUnavailable("away")


def go_on(bench: Bench) -> None:
    """Another worker takes over what was lost."""
    perform(bench.store.stranded(everything=True).envelopes[0], bench.station)


# --- actions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["success()", "failure() || success()", "'!cancelled()'"])
def test_a_step_of_an_action_that_does_not_ask_for_it_is_cancelled(bench: Bench, condition: str) -> None:
    action(bench, composite(f"run: inner, if: {condition}", "run: after", "run: tidy, if: always()"))
    run = bench.a_run(job("uses: ./act", "run: never"))

    def inner(command: Command) -> Exit:
        assert command.cancellable
        cancel(run.id, store=bench.store, dispatcher=bench.bell)
        assert bench.executor.sandboxes[-1].interrupted.wait(PATIENT)
        return Exit(130, "cancel")

    begun = doing(bench, inner=inner)
    bench.work()

    assert begun == ["inner", "tidy"]
    assert [command.cancellable for command in bench.executor.commands] == [True, False]
    assert bench.store.load(run.id).result is Result.CANCELLED


def test_a_step_of_an_action_that_was_begun_all_the_same_is_not_cancelled(bench: Bench) -> None:
    action(bench, composite("run: inner, if: success()", "run: after"))
    run = bench.a_run(job("run: one", "uses: ./act, if: always()"))

    def one(command: Command) -> Exit:
        cancel(run.id, store=bench.store, dispatcher=bench.bell)
        assert bench.executor.sandboxes[-1].interrupted.wait(PATIENT)
        return Exit(130, "cancel")

    begun = doing(bench, one=one)
    bench.work()

    assert begun == ["one", "inner", "after"]
    assert conclusions(bench, run) == {"1": "cancelled", "2": "success"}


def test_what_an_action_left_to_be_done_is_done_though_its_outputs_cannot_be_evaluated(bench: Bench) -> None:
    action(bench, NODE, "node")
    rest = "outputs: {bad: {description: x, value: \"${{ fromJSON('{') }}\"}}\n"
    action(bench, composite("run: one").replace("shell: bash, run: one", "uses: ./node"), "plain")
    action(bench, composite("run: one", rest=rest).replace("shell: bash, run: one", "uses: ./node"))
    run = bench.a_run(job("uses: ./act", "run: 'two'"))

    begun = doing(bench)
    bench.work()

    assert begun == ["main.js", "post.js"]
    assert conclusions(bench, run) == {"1": "failure", "1.1.post": "success"}
    assert "fromJSON" in outcomes(bench, run)["1"].reason


def test_what_an_action_left_to_be_done_is_done_though_it_wrote_nonsense(bench: Bench) -> None:
    action(bench, NODE)
    run = bench.a_run(job("uses: ./act"))

    def main(command: Command) -> None:
        write(command, "GITHUB_OUTPUT", "nonsense\n")

    begun = doing(bench, main_js=main)
    bench.work()

    assert begun == ["main.js", "post.js"]
    assert outcomes(bench, run)["1"].reason.startswith("GITHUB_OUTPUT:1")
    assert conclusions(bench, run) == {"1": "failure", "1.post": "success"}


def test_what_is_done_at_the_end_is_done_in_reverse_with_its_state_and_hides_secrets(bench: Bench) -> None:
    action(bench, NODE, "first")
    action(bench, NODE, "second")
    run = bench.a_run(job("uses: ./first", "uses: ./second"))
    states: list[str | None] = []

    def main(command: Command) -> None:
        write(command, "GITHUB_STATE", f"place={command.env['RUNNER_STEP']}\n")

    def post(command: Command) -> None:
        states.append(command.env.get("STATE_place"))
        write(command, "GITHUB_STEP_SUMMARY", "hush")

    doing(bench, main_js=main, post_js=post)
    masks(bench, "2.post", "hush")
    bench.work()

    assert states == ["2", "1"]
    assert outcomes(bench, run)["1.post"].summary == "***"
    assert outcomes(bench, run)["2.post"].masks == ("hush",)


def masks(bench: Bench, step: str, secret: str) -> None:
    """Have a step print that something is a secret."""
    inner, open_ = bench.executor.act, bench.executor.open

    def opened(
        workspace: Path, temp: Path, label: str, container: ContainerSpec | None, lent: Path | None
    ) -> object:
        sandbox = open_(workspace, temp, label, container)
        run = sandbox.run

        def printing(command: Command, log: Callable[[bytes], None]) -> Exit:
            place = command.env["RUNNER_STEP"] + (".post" if command.argv[-1].endswith("post.js") else "")
            if place == step:
                log(f"::add-mask::{secret}\n".encode())
            return run(command, log)

        sandbox.run = printing  # type: ignore[method-assign]
        return sandbox

    bench.executor.open, bench.executor.act = opened, inner  # type: ignore[method-assign,assignment]


# --- another worker goes on ---------------------------------------------------------------------


def test_everything_that_steps_left_is_there_when_another_worker_goes_on(bench: Bench) -> None:
    action(bench, NODE, "node")
    action(
        bench,
        composite(
            "run: inner", rest="outputs: {w: {description: x, value: '${{ steps.i.outputs.w }}'}}\n"
        ).replace("run: inner", "run: inner, id: i"),
    )
    text = job(
        "uses: ./node",
        "uses: ./act, id: act",
        "run: three",
        "run: 'four ${{ steps.act.outputs.w }} ${{ env.KEPT }}'",
    )
    run = bench.a_run(text)
    seen: list[str | None] = []

    def main(command: Command) -> None:
        write(command, "GITHUB_STATE", "place=here\n")

    def inner(command: Command) -> None:
        write(command, "GITHUB_OUTPUT", "w=word\n")
        write(command, "GITHUB_ENV", "KEPT=yes\n")
        write(command, "GITHUB_PATH", "/opt/kept\n")

    def post(command: Command) -> None:
        seen.append(command.env.get("STATE_place"))

    said = {"main_js": main, "inner": inner, "post_js": post}
    masks(bench, "2.1", "hush")
    first = doing(bench, three=lost, **said)
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    second = doing(bench, four=printed_hush, **said)
    go_on(bench)

    assert bench.store.load(run.id).result is Result.SUCCESS
    assert (first, second) == (["main.js", "inner", "three"], ["three", "four word yes", "post.js"])
    assert bench.executor.commands[-2].env["PATH"].startswith("/opt/kept:")
    assert seen == ["here"]
    assert outcomes(bench, run)["4"].summary == "***"


def printed_hush(command: Command) -> None:
    write(command, "GITHUB_STEP_SUMMARY", "hush")


def test_a_worker_that_is_lost_between_two_posts_leaves_the_rest_to_another(bench: Bench) -> None:
    action(bench, NODE, "first")
    action(bench, NODE, "second")
    run = bench.a_run(job("uses: ./first", "uses: ./second"))
    ends: list[str] = []

    def post(command: Command) -> None:
        ends.append(command.env["RUNNER_STEP"] + " " + command.env["RUNNER_ATTEMPT"])
        if ends[-1] == "1 1":
            raise DatabaseUnavailable("away")

    doing(bench, post_js=post)
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    go_on(bench)

    assert ends == ["2 1", "1 1", "1 2"]
    assert conclusions(bench, run) == dict.fromkeys(["1", "2", "2.post", "1.post"], "success")


def test_a_job_that_is_out_of_time_when_another_worker_takes_it_still_knows_what_its_steps_gave(
    bench: Bench,
) -> None:
    text = job(
        "run: one, id: one",
        "run: two",
        "run: 'three ${{ steps.one.outputs.place }}', if: always()",
        said="    timeout-minutes: 1\n",
    )
    run = bench.a_run(text)

    def one(command: Command) -> None:
        write(command, "GITHUB_OUTPUT", "place=here\n")

    doing(bench, one=one, two=lost)
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    begun = doing(bench)
    message = bench.store.stranded(everything=True).envelopes[0]
    long = timedelta(minutes=2)
    bench.store.update(run.id, lambda run, now: run.with_job(replace(run.jobs[0], worked=long)))
    perform(message, bench.station)

    assert begun == ["three here"]
    assert bench.store.load(run.id).result is Result.TIMED_OUT


def test_a_step_that_differs_from_what_was_recorded_stops_the_job_and_its_posts(bench: Bench) -> None:
    action(bench, NODE)
    bench.a_run(job("uses: ./act, with: {x: 1}", "run: two"))
    doing(bench, two=lost)
    with pytest.raises(DatabaseUnavailable):
        bench.work()
    bench.write(job("uses: ./act, with: {x: 2}", "run: two"))
    begun = doing(bench)

    go_on(bench)

    phase = bench.store.load(1).jobs[0].phase
    assert isinstance(phase, Finished)
    assert (phase.result, "asks for" in phase.reason) == (Result.FAILURE, True)
    assert begun == []


# --- time ---------------------------------------------------------------------------------------


MUCH = "x" * (FILE_BYTES // 2)


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("GITHUB_ENV", "the step's variables for later steps"),
        ("GITHUB_PATH", "the step's folders for PATH"),
        ("GITHUB_STEP_SUMMARY", "the step's summary"),
        ("GITHUB_OUTPUT", "the step's outputs"),
    ],
)
def test_the_steps_of_an_action_hand_on_no_more_together_than_one_step_may(
    bench: Bench, variable: str, what: str
) -> None:
    rest = "outputs: {all: {value: '${{ toJSON(steps) }}'}}\n"
    action(bench, composite(*(f"run: {word}, id: {word}" for word in ("one", "two", "three")), rest=rest))
    run = bench.a_run(job("uses: ./act", "run: last, if: always()"))

    def said(command: Command) -> None:
        name = told(command)
        write(command, variable, f"{'' if variable in LINES else f'{name}='}{name}{MUCH}\n")

    begun = doing(bench, one=said, two=said, three=said)
    bench.work()

    did = outcomes(bench, run)["1"]
    assert (did.result, did.reason.partition(": ")[0]) == (Result.FAILURE, what)
    assert f"more than the limit of {FILE_BYTES}" in did.reason
    within_limits(did)
    assert begun == (
        ["one", "two", "three", "last"] if variable == "GITHUB_OUTPUT" else ["one", "two", "last"]
    )


LINES = ("GITHUB_PATH", "GITHUB_STEP_SUMMARY")


def test_an_action_has_as_many_annotations_as_one_step_and_what_it_left_to_be_done_stays(
    bench: Bench,
) -> None:
    action(bench, NODE, "node")
    node = composite("run: x").replace("shell: bash, run: x", "uses: ./node")
    before = "".join(f"    - {{shell: bash, run: {word}}}\n" for word in ("loud", "loud", "much"))
    action(bench, node.replace("    - {", f"{before}    - {{", 1))
    run = bench.a_run(job("uses: ./act"))

    said = b"".join(b"::error::%d\n" % n for n in range(8))
    bench.executor.prints = lambda command: said if told(command) == "loud" else b""
    doing(
        bench,
        much=lambda command: write(command, "GITHUB_ENV", f"A={MUCH}"),
        main_js=lambda command: write(command, "GITHUB_ENV", f"B={MUCH}"),
    )
    bench.work()

    found = outcomes(bench, run)
    assert [one.message for one in found["1"].annotations] == [*"01234567", "0", "1"]
    assert (found["1"].result, found["1.4.post"].result) == (Result.FAILURE, Result.SUCCESS)


def test_in_an_action_too_a_step_that_asks_for_it_runs_when_the_job_is_out_of_time(bench: Bench) -> None:
    action(bench, composite("run: inner", "run: after", "run: tidy, if: always()"))
    run = bench.a_run(job("uses: ./act", "run: never", said="    timeout-minutes: 0.03\n"))
    left: list[float] = []

    def inner(command: Command) -> Exit:
        # Its time is over by the clock alone, as a sandbox would see it.
        assert not threading.Event().wait(command.timeout)
        return Exit(143, "timeout")

    begun = doing(bench, inner=inner, tidy=lambda command: left.append(command.timeout))
    bench.work()

    assert begun == ["inner", "tidy"]
    assert left[0] > 60
    assert bench.store.load(run.id).result is Result.TIMED_OUT


def test_the_time_of_an_action_is_that_of_all_its_steps_and_the_job_goes_on_where_that_is_asked_for(
    bench: Bench,
) -> None:
    action(bench, composite("run: inner", "run: after"))
    run = bench.a_run(job("uses: ./act, timeout-minutes: 2", "run: never", "run: tidy, if: failure()"))

    begun = doing(bench, inner=lambda command: Exit(143, "timeout"))
    bench.work()

    assert begun == ["inner", "tidy"]
    assert bench.executor.commands[0].timeout <= 120
    assert conclusions(bench, run) == {"1": "timed_out", "3": "success"}
    assert outcomes(bench, run)["1"].reason == "the step was stopped after 2 minutes"


def test_no_step_of_an_action_is_begun_when_the_time_of_the_action_is_up(bench: Bench) -> None:
    action(bench, composite("run: inner", "run: tidy, if: always()"))
    run = bench.a_run(job("uses: ./act, timeout-minutes: 0.02"))

    def inner(command: Command) -> Exit:
        assert not threading.Event().wait(command.timeout)
        return Exit(143, "timeout")

    begun = doing(bench, inner=inner)
    bench.work()

    assert begun == ["inner"]
    assert outcomes(bench, run)["1"].reason == "the step was stopped after 1.2 seconds"


def test_what_does_not_end_after_a_cancel_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.engine.stage.CANCEL_SECONDS", 60.0)
    run = bench.a_run(job("run: one", "run: tidy, if: always()"))

    def one(command: Command) -> Exit:
        cancel(run.id, store=bench.store, dispatcher=bench.bell)
        assert bench.executor.sandboxes[-1].interrupted.wait(PATIENT)
        return Exit(130, "cancel")

    doing(bench, one=one, tidy=lambda command: Exit(143, "timeout"))
    bench.work()

    assert outcomes(bench, run)["2"].reason == "it did not end within 1 minutes after the job was cancelled"
