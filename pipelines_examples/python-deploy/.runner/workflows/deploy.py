"""A push to main is linted and tested at once, waits for a yes that says where to, and is shipped there.

    runner runs signal RUN deploy-approval --payload '{"region": "eu"}'

Here and now, without a server: runner run deploy --signal 'deploy-approval={"region": "eu"}'
"""

from pathlib import Path

from runner.sdk import workflow


def read_version():
    return Path("version").read_text().strip()


@workflow(on={"push": {"branches": ["main"]}}, timeout_minutes=10)
async def deploy(event, step):
    await step.sh("install", "make install")
    await step.gather(
        step.sh("lint", "make lint"),
        step.sh("test", "make test", retry={"max-attempts": 3, "backoff": "exponential", "delay": 1}),
    )
    version = await step.do("version", read_version)
    await step.sleep("settle", "1 second")
    ok = await step.wait_for_event("approval", type="deploy-approval", timeout="24 hours")
    region = ok.payload.get("region")
    if region:
        # What comes from outside reaches a command as a variable, and never as a part of it.
        await step.sh("ship", "make ship", env={"REGION": region, "VERSION": version})
    return {"version": version, "region": region or "none"}
