"""What things are called in the API: names that are safe wherever they go."""

import re

from runner.errors import Rejected

_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._][A-Za-z0-9._-]*"
REPOSITORY = re.compile(rf"(?!.*\.\.){_SEGMENT}(?:/{_SEGMENT})*")
"""Names that can be registered; whatever else a payload names is unknown."""
_TAKEN = re.compile(
    r"/actions/(artifacts|caches|cache/usage|runs|secrets|variables|workflows)(/|$)|/environments(/|$)"
    r"|/(hook|schedules|stops)$"
)
"""What follows a repository's name in addresses of the API that the repository of that name has too."""
_DELIVERY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")


def checked_name(name: str) -> str:
    if len(name) > 200 or not REPOSITORY.fullmatch(name):
        raise Rejected(
            f"{name[:100]!a} cannot name a repository; use letters, digits, dots, dashes, underscores and "
            "slashes, such as octo/hello"
        )
    if _TAKEN.search(name):
        raise Rejected(f"{name[:100]!a} cannot name a repository: what it ends with has a meaning in the API")
    return name


def checked_delivery(delivery: str) -> str:
    if not _DELIVERY.fullmatch(delivery):
        raise Rejected(f"{delivery[:100]!a} is no id of a delivery; `runner deliveries list` shows them")
    return delivery


def checked_image(image: str | None) -> str | None:
    if image is not None and not _IMAGE.fullmatch(image):
        raise Rejected(f"{image[:100]!a} is no name of an image; give one such as debian:12")
    return image


def checked_executor(executor: str | None, known: tuple[str, ...]) -> str | None:
    if executor is not None and executor not in known:
        raise Rejected(f"there is no executor {executor!r}; there are {', '.join(known)}")
    return executor
