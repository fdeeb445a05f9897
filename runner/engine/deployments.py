"""Where a job has deployed to, as its `environment` says once its steps are over.

https://docs.github.com/actions/reference/workflow-syntax-for-github-actions#jobsjob_idenvironment
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from runner.engine.masks import Masks
from runner.errors import Rejected
from runner.expr.evaluate import render
from runner.model.environment import Deployment, checked_name
from runner.workflow.document import Environment
from runner.workflow.trees import settled

LONGEST_URL = 2048
"""Letters."""
SCHEMES = ("http", "https")
"""Others may be a script's, or lead to what is on the reader's own machine."""


def deployed(
    environment: Environment | None, seen: Mapping[str, Any], masks: Masks, warn: Callable[[str], None]
) -> Deployment | None:
    """The environment of a job with the contexts `seen`; None where it has none, or makes no deployment.

    An address that is none to be shown is left out, and `warn` told why. Raises `BrokenDefinition`.
    """
    if environment is None or settled(environment.deployment, seen) is False:
        return None
    name = render(environment.name, seen).strip()
    if not name:
        return None
    try:
        checked_name(name)
    except Rejected as error:
        warn(str(error))
        return None
    url = render(environment.url, seen).strip() if environment.url is not None else ""
    hidden = next((what for what, text in (("name", name), ("url", url)) if masks.covers(text)), None)
    if hidden is not None:
        # GitHub's runner leaves out such an address too.
        warn(f"the {hidden} of the environment is not shown: it may hold a secret")
        return None if hidden == "name" else Deployment(name)
    if url and (wrong := _wrong(url)):
        warn(f"the url of environment {name} is not shown: {wrong}")
        url = ""
    return Deployment(name, url)


def _wrong(url: str) -> str:
    """Why nobody is led to an address; empty where everybody may be."""
    if len(url) > LONGEST_URL:
        return f"it has {len(url)} letters, and {LONGEST_URL} are the limit"
    if not url.isprintable() or " " in url or "\\" in url:
        return f"{url[:200]!a} has letters that no address has"
    try:
        parts = urlsplit(url)
        host, login = parts.hostname, "@" in parts.netloc
    except ValueError:
        host, login = None, False
    if host is None or parts.scheme not in SCHEMES:
        return f"{url[:200]!a} is no address such as https://example.com"
    return f"{url[:200]!a} has a login in it" if login else ""
