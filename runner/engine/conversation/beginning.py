"""The first word to a workflow's process."""

from collections.abc import Mapping
from datetime import UTC, datetime

from runner.engine.conversation.talk import Talk

ORDER = {"PYTHONHASHSEED": "0"}
"""Has sets of texts come in one order whenever a workflow is run again: it may ask for steps in that."""


def begin(talk: Talk, path: str, text: str, function: str, env: Mapping[str, str]) -> None:
    """Say what is to be run, and what it is given; `env` are the variables of the job."""
    asked, run = talk.stage.scene.asked, talk.stage.scene.asked.run
    event, route = asked.event, run.route
    talk.channel.send(
        {
            "is": "begin",
            "path": path,
            "text": text,
            "function": function,
            "workspace": talk.stage.scene.sandbox.workspace,
            "at": (talk.job.started or datetime.now(UTC)).isoformat(),
            "seed": f"{run.id} {talk.job.id}",
            "apart": [name for name in ORDER if name not in env],
            "event": {
                "kind": event.kind,
                "payload": dict(event.payload),
                "route": {"forge": route.forge, "repo": route.repo, "commit": route.commit},
                "ref": event.ref,
                "actor": event.actor,
                "inputs": dict(asked.inputs_of(talk.job.caller)),
                "run": {"id": run.id, "number": run.number, "attempt": run.attempt},
            },
        }
    )
