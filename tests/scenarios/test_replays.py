"""A workflow in Python that is run again is told ahead what its steps had given."""

from tests.scenarios.flows import Flows


def test_a_workflow_comes_to_where_it_was_with_more_than_can_be_said_ahead_at_once(flows: Flows) -> None:
    run = flows.begun(
        """
        letters = "abcde"
        texts = [await step.do(letter, lambda: note(letter) * 200_000) for letter in letters]
        await step.sleep("nap", 0.1)
        return {"seen": [text[0] for text in texts], "long": sum(map(len, texts))}
        """
    )

    assert flows.succeeded(run) == {"seen": '["a", "b", "c", "d", "e"]', "long": "1000000"}
    assert flows.notes() == list("abcde")


def test_what_commands_have_exported_is_there_again_after_a_wait(flows: Flows) -> None:
    run = flows.begun(
        """
        await step.sh("first", "echo A=1 >> $GITHUB_ENV; echo /first >> $GITHUB_PATH")
        await step.sh("second", "echo B=$A$A >> $GITHUB_ENV; echo /second >> $GITHUB_PATH")
        await step.sleep("nap", 0.1)
        said = await step.sh("say", 'echo "said=$A $B $PATH" >> $GITHUB_OUTPUT')
        mine = await step.do("mine", lambda: [os.environ["A"], os.environ["B"], os.environ["PATH"]])
        return {"said": said["said"], "mine": " ".join(mine)}
        """
    )

    outputs = flows.succeeded(run)

    assert outputs["said"].startswith("1 11 /second:/first:/")
    assert outputs["mine"] == outputs["said"]


def test_a_failure_is_the_same_again_and_a_step_that_was_given_up_stays_so(flows: Flows) -> None:
    run = flows.begun(
        """
        try:
            await step.do("fails", lambda: 1 / 0)
        except StepFailed as error:
            caught = f"{error.type}: {error.reason}"
        long = step.sleep("long", "1 hour")
        place, quick = await step.wait_any(long, step.do("quick", lambda: note("quick")))
        await step.sleep("nap", 0.1)
        return {"caught": caught, "place": place, "quick": quick}
        """
    )

    assert flows.succeeded(run) == {
        "caught": "ZeroDivisionError: ZeroDivisionError: division by zero",
        "place": "1",
        "quick": "quick",
    }
    assert flows.notes() == ["quick"]


def test_a_workflow_that_asks_for_something_else_is_found_out_though_it_was_told_ahead(flows: Flows) -> None:
    run = flows.begun(
        """
        again = note("begun") and len(notes()) > 1
        await (step.do("one", lambda: note("other")) if again else step.sh("one", "echo one >> RECORD"))
        await step.sleep("nap", 0.1)
        await step.do("two", lambda: note("two"))
        """
    )

    reason = flows.failed(run)

    assert "diverged" in reason
    assert "do one" in reason
    assert "sh one: echo one" in reason
    assert flows.notes() == ["begun", "one", "begun"]


def test_a_process_that_says_it_was_told_what_it_was_not_fails_its_job_by_name(flows: Flows) -> None:
    run = flows.begun(
        """
        asked = step.do("one", lambda: note("one"))
        step._asker.line.send({"is": "took", "id": 1})
        await asked
        """
    )

    assert "nothing was said ahead about the step one" in flows.failed(run)
    assert flows.notes() == []
