"""How things are said on a terminal: colours, moments and durations."""

from datetime import UTC, datetime

from runner.environment import colourless


def coloured() -> bool | None:
    """As https://no-color.org asks; click decides the rest by looking at the terminal."""
    return False if colourless() else None


def when(at: str | None) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at)


def ago(at: str | None) -> str:
    then = when(at)
    if then is None:
        return ""
    seconds = int((datetime.now(UTC) - then).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{max(0, seconds)}s ago"


def took(begin: str | None, end: str | None) -> str:
    first = when(begin)
    if first is None:
        return ""
    seconds = ((when(end) or datetime.now(UTC)) - first).total_seconds()
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
