"""How a workflow ends, and what it hands on; or its process before it."""

import json
from collections.abc import Mapping
from typing import Any

from runner.engine.conversation.bodies import REASON_LETTERS, TOO_LONG, TRACEBACK_LETTERS
from runner.engine.conversation.divergence import MOST_NAMED, check_all_asked
from runner.engine.conversation.sound import given, plain
from runner.engine.conversation.talk import Talk
from runner.engine.heart import Why
from runner.engine.masks import Masks
from runner.engine.opening import FIRST_WORDS
from runner.engine.outcomes import letters
from runner.engine.ports import ChannelClosed, Exit
from runner.engine.programs import OUTPUT_LETTERS, Ended
from runner.engine.stage import Released
from runner.errors import BrokenDefinition, LeaseLost
from runner.model.step import Result

NOT_FOUND, KILLED = 127, 137
TOO_OLD = 78
"""How a python3 ends that is too old for our package (`runner/sdk/__main__.py`)."""


def ended(talk: Talk, message: Mapping[str, Any]) -> Ended:
    """What it means for the job how the workflow says that it has ended."""
    value = message.get("value")
    told = value if isinstance(value, Mapping) else {}
    hide, undo = talk.stage.masks.hide_text, told.get("undo")
    undone = [
        f"and to take back what was done: {hide(plain(one, REASON_LETTERS))}"
        for one in (undo[:MOST_NAMED] if isinstance(undo, list) else ())
    ]
    if talk.over is not None:
        reason = "cancelled" if talk.over is Result.CANCELLED else TOO_LONG
        return Ended(talk.over, reason="; ".join([reason, *undone]))
    if message["result"] == "success":
        check_all_asked(talk.steps, talk.ledger.checkpoints)
        return Ended(Result.SUCCESS, outputs(value, talk.stage.masks))
    reason = hide(plain(told.get("reason") or "the workflow failed", REASON_LETTERS))
    traceback = hide(plain(told.get("traceback"), TRACEBACK_LETTERS)).rstrip("\n")
    said = f"{traceback}\n##[error]{reason}\n" if traceback else f"##[error]{reason}\n"
    talk.stage.log(FIRST_WORDS, said.encode(errors="replace"))
    check_all_asked(talk.steps, talk.ledger.checkpoints)
    code = told.get("exit_code")
    return Ended(
        Result.FAILURE,
        reason="; ".join([reason, *undone]),
        exit_code=code if type(code) is int and 0 <= code < 256 else None,
    )


def gone(talk: Talk, closed: ChannelClosed) -> Ended:
    """What it means that the workflow's process is gone before the workflow has ended."""
    match talk.stage.hold.why:
        case Why.LATE:
            return Ended(Result.CANCELLED, reason="cancelled")
        case Why.RELEASED:
            raise Released(Why.RELEASED.value)
        case Why.LOST:
            raise LeaseLost(Why.LOST.value)
    if closed.exit is not None and closed.exit.stopped == "timeout":
        return Ended(talk.over or Result.TIMED_OUT, reason=TOO_LONG)
    if closed.reason:
        raise BrokenDefinition(f"the workflow's process was ended: {closed.reason}")
    named = [step.name for step in talk.steps.running.values()][:MOST_NAMED]
    during = f" while {', '.join(named)} ran" if named else ""
    why = f"the workflow's process ended before the workflow did{during}: {how(closed.exit, talk.begun)}"
    if talk.over is not None:
        return Ended(talk.over, reason=why)
    raise BrokenDefinition(why)


def outputs(value: object, masks: Masks) -> Mapping[str, str]:
    """What other jobs see of what the workflow gave: its members where it has some, else `result`."""
    text = given(value)
    if text is None:
        raise BrokenDefinition("the value of the workflow is nothing that JSON knows")
    found = json.loads(text)
    members = found if isinstance(found, dict) else {} if found is None else {"result": found}
    texts = {
        str(name): one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
        for name, one in members.items()
    }
    if (size := letters(texts)) > OUTPUT_LETTERS:
        raise BrokenDefinition(
            f"the value of the workflow has {size} letters; {OUTPUT_LETTERS} are the most: have a step "
            "keep what is longer"
        )
    return {name: text for name, text in texts.items() if not masks.covers(text)}


def how(exit: Exit | None, begun: bool) -> str:
    """How the process of a workflow ended, which had `begun` to talk."""
    if exit is None:
        return "it hung up"
    if not begun and exit.code == NOT_FOUND:
        return "there is no python3 to run it with; have one in the job's container, or on the PATH"
    if not begun and exit.code == TOO_OLD:
        return "its python3 is older than 3.9; have a newer one in the job's container, or on the PATH"
    if exit.code == KILLED:
        return "it was killed (exit code 137), as happens where it takes more memory than it may"
    return f"exit code {exit.code}"
