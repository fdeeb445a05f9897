"""What the token of a run may be allowed."""

from runner.workflow.shapes import Fields, Text, either

READ, WRITE, BOTH = ("read", "none"), ("write", "none"), ("read", "write", "none")

SCOPES = {
    "actions": BOTH,
    "artifact-metadata": BOTH,
    "attestations": BOTH,
    "checks": BOTH,
    "code-quality": BOTH,
    "contents": BOTH,
    "deployments": BOTH,
    "discussions": BOTH,
    "id-token": WRITE,
    "issues": BOTH,
    "models": READ,
    "packages": BOTH,
    "pages": BOTH,
    "pull-requests": BOTH,
    "repository-projects": BOTH,
    "security-events": BOTH,
    "statuses": BOTH,
    "vulnerability-alerts": READ,
}

PERMISSIONS = either(
    Text(choices=("read-all", "write-all")),
    Fields("permissions", {name: Text(choices=levels) for name, levels in SCOPES.items()}),
)
