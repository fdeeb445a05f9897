import asyncio

from named import twice
from tools.versions import read

from runner.sdk import StepFailed, workflow


@workflow(on={"push": {"branches": ["main"]}}, name="Deploy", env={"WHO": "${{ github.actor }}"})
async def deploy(event, step):
    print("of", event.route.repo, event.ref, event.actor)
    await step.sh("install", 'echo "for $WHO"; echo number=7 >> $GITHUB_OUTPUT; echo MADE=yes >> $GITHUB_ENV')
    # A step may change the files; the code that runs stays that of the commit.
    await step.sh("spoil", "echo 'def read(): return 0' > tools/versions.py; echo 21 > version")
    await step.gather(
        step.sh("lint", "echo linted $MADE"),
        step.sh("test", "echo tested >> log; cat log; [ $(wc -l < log) = 3 ]", retry={"max-attempts": 3}),
    )
    version = await step.do("version", read)
    await step.sleep("settle", 0.05)

    async def later():
        await asyncio.sleep(0.01)
        print("in a body")
        return twice(int(version))

    doubled = await step.do("doubled", later)
    try:
        await step.do("fails", lambda: [][1])
    except StepFailed as failed:
        print("it failed with", failed.type)
    approval = await step.approve("ask", "shall it go?")
    ordered = await step.wait_for_event("order", type="order", timeout="1 hour")
    which, _ = await step.wait_any(step.sleep("long", "30 days"), step.sh("short", "echo short"))
    return {"version": str(doubled), "by": approval.by, "payload": ordered.payload, "which": which}
