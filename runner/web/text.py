"""Text that strangers wrote, made harmless to look at: in a terminal and on a page.

Colours (SGR) may stay. Every other escape sequence is dropped, every other control character becomes its
picture, and what would reorder a line is shown by its code point.
"""

import re

_SEQUENCE = re.compile(
    r"(?P<colour>\x1b\[[0-9;:]*m)"
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC: titles, links, the clipboard
    r"|\x1b[PX^_][^\x1b\n]*\x1b\\"  # DCS, SOS, PM, APC
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: moving, erasing
    r"|\x1b[ -/]*[0-Z\\`-~]"
)
_ODD = re.compile("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONE_ESCAPE = re.compile(r"\x1b(?!\[[0-9;:]*m)")


def visible(text: str, colours: bool = False) -> str:
    """A line, or several, as it may be shown. A carriage return begins a new line, as in a terminal's log."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _SEQUENCE.sub(lambda found: found[0] if colours and found["colour"] else "", text)
    text = _ODD.sub(_shown, text)
    return (_LONE_ESCAPE if colours else re.compile("\x1b")).sub("\u241b", text)


def one_line(text: str) -> str:
    """A name or a reason: as `visible`, and on one line."""
    return visible(text).replace("\n", " ").replace("\t", " ")


def place_of(file: str, line: int | None, col: int | None) -> str:
    """Where something is, as compilers say it."""
    return one_line(":".join([file, *(str(number) for number in (line, col if line else None) if number)]))


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


def in_units(size: int) -> str:
    """How many bytes, in the unit that fits."""
    number = float(size)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "B" else f"{size} B"
        number /= 1024
    return f"{number:.3g} GiB"
