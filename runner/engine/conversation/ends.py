"""What a workflow hands on, and how its process can end before it."""

import json
from collections.abc import Mapping

from runner.engine.conversation.sound import given
from runner.engine.masks import Masks
from runner.engine.outcomes import letters
from runner.engine.ports import Exit
from runner.engine.programs import OUTPUT_LETTERS
from runner.errors import BrokenDefinition

NOT_FOUND, KILLED = 127, 137
TOO_OLD = 78
"""How a python3 ends that is too old for our package (`runner/sdk/__main__.py`)."""


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
