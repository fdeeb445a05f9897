"""What a step may be asked for with, checked: a mistake is named before anything is asked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Callable, Optional, Union

from runner.sdk.spans import Span, seconds

LONGEST_NAME = 256
"""Letters of a step's name."""

Retry = Mapping[str, Any]
"""`max-attempts`, `delay`, `backoff` (constant, linear, exponential), `max-delay`, `jitter`, as in a file."""

Undo = Union[str, Callable[[Any], Any]]
"""Takes back what a step did: a command, or a callable that is given its value."""

Paths = Union[str, Sequence[str]]
"""One path or several, of files and folders."""


def named(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"a step needs a name that says what it does, not {name!r}")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name of a step has {len(name)} letters; {LONGEST_NAME} are the most")
    if any(not letter.isprintable() for letter in name):
        raise ValueError(f"the name of a step is one line of text, not {name!r}")
    return name


def text_of(name: str, key: Any, value: Any) -> str:
    """An input of an action, which is text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Sequence) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    raise TypeError(f"step {name}: with: {key} is text, a number, true or false, not {type(value).__name__}")


def input_of(name: str, key: Any, value: Any) -> Any:
    if not isinstance(value, (str, bool, int, float)):
        kinds = "text, a number, true or false"
        raise TypeError(f"step {name}: the input {key} is {kinds}, not {type(value).__name__}")
    return value


def check_text(name: str, **given: Any) -> None:
    for what, value in given.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"step {name}: {what} is text, not {type(value).__name__}")


def terms_of(
    name: str, retry: Optional[Retry], timeout: Optional[Span], on_lost: Optional[str]
) -> dict[str, Any]:
    if on_lost not in (None, "retry", "fail", "ask"):
        raise ValueError(f"step {name}: on_lost is retry, fail or ask, not {on_lost!r}")
    limit = None if timeout is None else seconds(timeout, f"step {name}: timeout")
    return {"retry": _retry(name, retry), "timeout": limit, "on-lost": on_lost}


def _retry(name: str, retry: Optional[Retry]) -> Optional[dict[str, Any]]:
    if retry is None:
        return None
    if not isinstance(retry, Mapping):
        example = '{"max-attempts": 3}'
        raise TypeError(f"step {name}: retry is a mapping such as {example}, not {type(retry).__name__}")
    known = ("max-attempts", "delay", "backoff", "max-delay", "jitter", "on-exit-codes")
    given = {str(key).replace("_", "-"): value for key, value in retry.items()}
    for key in given:
        if key not in known:
            raise ValueError(f"step {name}: retry has no {key!r}; it has {', '.join(known)}")
    most = given.get("max-attempts", 3)
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 100:
        raise ValueError(f"step {name}: max-attempts is a number from 1 to 100, not {most!r}")
    backoff = given.get("backoff", "constant")
    if backoff not in ("constant", "linear", "exponential"):
        raise ValueError(f"step {name}: backoff is constant, linear or exponential, not {backoff!r}")
    found = {"max-attempts": most, "backoff": backoff, "jitter": bool(given.get("jitter", False))}
    found["delay"] = seconds(given.get("delay", 0), f"step {name}: delay")
    if given.get("max-delay") is not None:
        found["max-delay"] = seconds(given["max-delay"], f"step {name}: max-delay")
    codes = given.get("on-exit-codes", ())
    if not isinstance(codes, Sequence) or any(type(code) is not int for code in codes):
        raise TypeError(f"step {name}: on-exit-codes is a list of numbers, not {codes!r}")
    found["on-exit-codes"] = list(codes)
    return found


def instant_of(name: str, at: Union[datetime, str]) -> datetime:
    if not isinstance(at, (datetime, str)):
        what = "sleep_until() takes a datetime or a text in ISO 8601"
        raise TypeError(f"step {name}: {what}, not {type(at).__name__}")
    try:
        moment = datetime.fromisoformat(at.replace("Z", "+00:00")) if isinstance(at, str) else at
    except ValueError:
        example = "2026-12-24T18:00:00+01:00"
        raise ValueError(f"step {name}: {at!r} is no instant; write one such as {example}") from None
    if moment.tzinfo is None:
        raise ValueError(f"step {name}: the instant {moment.isoformat()} has no time zone")
    return moment


def variables_of(name: str, env: Optional[Mapping[str, str]]) -> dict[str, str]:
    if env is not None and not isinstance(env, Mapping):
        raise TypeError(f"step {name}: env is a mapping of variables, not {type(env).__name__}")
    return {str(key): str(value) for key, value in (env or {}).items()}


def check_undo(name: str, undo: Undo) -> None:
    if not isinstance(undo, str) and not callable(undo):
        what = "rollback is a command or a function"
        raise TypeError(f"step {name}: {what}, not {type(undo).__name__}")
