"""Every night a release is published and tried; where something fails, all is put back as it was.

A push to a branch such as `nightly/try` tries the workflow itself.
"""

from functools import partial
from pathlib import Path

from runner.sdk import workflow

LATEST = Path("public/latest")


def point_latest_at(name):
    """Gives what it was before, which is what a rollback is then called with."""
    before = LATEST.read_text().strip()
    LATEST.write_text(f"{name}\n")
    print(f"latest is {name}, and was {before}")
    return before


@workflow(
    on={"schedule": [{"cron": "30 2 * * *"}], "workflow_dispatch": {}, "push": {"branches": ["nightly/**"]}},
    concurrency="nightly",
)
async def nightly(event, step):
    # The same night however often this is run again, unlike the date of the machine's clock.
    name = f"nightly-{step.now():%Y-%m-%d}"
    await step.sh("build", "sh release.sh build")
    await step.sh("publish", f"sh release.sh publish {name}", rollback=f"sh release.sh withdraw {name}")
    before = await step.do("latest", partial(point_latest_at, name), rollback=point_latest_at)
    await step.sh("try", "sh release.sh try", timeout="10 minutes", retry={"max-attempts": 2})
    return {"before": before}
