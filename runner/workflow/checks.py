"""What may be written in one place and not in another: each says what is wrong with a text."""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runner.model.snapshot import Keep
from runner.workflow.cron import BadCron, parse_cron
from runner.workflow.globs import BadPattern, check_path_pattern, check_ref_pattern
from runner.workflow.references import BadReference, parse_action
from runner.workflow.words import cut

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
IDENTIFIER_RULE = "use letters, digits, - and _, beginning with a letter or a single _"
MAX_IDENTIFIER = 100
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d|seconds?|minutes?|hours?|days?|weeks?)(?![a-z]) ?")
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
EXIT_CODE = re.compile(r"[0-9]{1,3}")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
LONGEST_WAIT = 365 * SECONDS["d"]


def identifier(text: str) -> str | None:
    if IDENTIFIER.fullmatch(text) is None or text.startswith("__") or len(text) > MAX_IDENTIFIER:
        return f'"{cut(text)}" cannot be a name here; {IDENTIFIER_RULE}'
    return None


def variable_name(text: str) -> str | None:
    if not text or "=" in text or "\0" in text:
        return f'"{cut(text)}" cannot be the name of an environment variable'
    return None


def label(text: str) -> str | None:
    return None if text.strip() else "a label cannot be empty"


def image(text: str) -> str | None:
    # Docker takes what begins with a dash for an option.
    if text.startswith("-") or any(character.isspace() for character in text):
        return f'"{cut(text)}" cannot be the name of an image'
    return None


def ref_pattern(text: str) -> str | None:
    try:
        check_ref_pattern(text)
    except BadPattern as error:
        return f'"{cut(text)}" is no pattern for names of branches and tags: {error}'
    return None


def path_pattern(text: str) -> str | None:
    try:
        check_path_pattern(text)
    except BadPattern as error:
        return f'"{cut(text)}" is no pattern for paths: {error}'
    return None


def schedule_time(text: str) -> str | None:
    try:
        parse_cron(text)
    except BadCron as error:
        return f'"{cut(text)}" is no time in cron\'s five fields: {error}'
    return None


def time_zone(text: str) -> str | None:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f'"{cut(text)}" is no time zone; write a name such as Europe/Berlin'
    return None


def step_action(text: str) -> str | None:
    try:
        parse_action(text)
    except BadReference as error:
        return f'"{cut(text)}" is no action: {error}'
    return None


def snapshot_word(text: str) -> str | None:
    """All else that it may say is the name of an image."""
    word = text.strip().lower()
    if word in tuple(Keep) and text != word:
        return f'"{cut(text)}" is no word of "snapshot"; write {word}'
    return None


def amount_of_time(text: str) -> str | None:
    found = seconds_of(text)
    if found is None:
        return f'"{cut(text)}" is no amount of time; write 30s, 5m or 1h'
    return None if found <= LONGEST_WAIT else f'"{cut(text)}" is longer than 365 days'


def seconds_of(text: str) -> float | None:
    """What an amount of time such as `90`, `1h30m` or `10 minutes` is in seconds; None where it is none."""
    text = text.strip()
    if len(text) > MAX_IDENTIFIER:
        return None
    if NUMBER.fullmatch(text) is not None:
        return float(text)
    if not text or PART.sub("", text):
        return None
    return sum(
        float(amount) * SECONDS[unit if unit == "ms" else unit[0]] for amount, unit in PART.findall(text)
    )


def exit_code(text: str) -> str | None:
    # What is a digit to Python is not always one to int, such as a superscript.
    if EXIT_CODE.fullmatch(text) is not None and 0 < int(text) < 256:
        return None
    return f'"{cut(text)}" is no exit code of a failure; 1 to 255 are'
