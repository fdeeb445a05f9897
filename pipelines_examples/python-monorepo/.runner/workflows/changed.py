"""Of a repository with many projects, those are checked that a push has changed, all at once.

Each folder with a `check.sh` is a project. How many there are, nobody has to write down.
"""

import re
import subprocess
from pathlib import Path

from runner.sdk import workflow


def git(*arguments):
    made = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return made.stdout.splitlines() if made.returncode == 0 else None


def changed_projects(before):
    """The projects with files that differ from those of `before`, else from those of the last commit."""
    base = before if re.fullmatch("[0-9a-f]{40}", before) and git("cat-file", "-e", before) == [] else "HEAD^"
    paths = git("diff", "--name-only", base, "HEAD")
    projects = {path.parent.name for path in Path().glob("*/check.sh")}
    # The first commit of all has changed everything.
    return sorted(projects if paths is None else projects & {path.partition("/")[0] for path in paths})


@workflow(on={"push": {"branches": ["main"]}})
async def changed(event, step):
    before = str(event.payload.get("before", ""))
    projects = await step.do("what has changed", lambda: changed_projects(before))
    checks = [step.sh(f"check {one}", "sh ./check.sh", working_directory=one) for one in projects]
    # One that fails does not end the others, so that one push shows all that is wrong.
    await step.gather(*checks, cancel=False)
    return {"checked": ", ".join(projects) or "nothing"}
