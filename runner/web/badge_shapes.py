"""The three shapes of a badge, as SVG.

Widths are Verdana's advance widths in 1/2048 em. A browser without Verdana squeezes the text into
`textLength`, so that it fits in any font.
"""

from collections.abc import Callable
from html import escape

# From space to tilde.
_ASCII = (
    *(720, 806, 940, 1676, 1302, 2204, 1488, 550, 930, 930, 1302, 1676, 745, 930, 745, 930),
    *(1302,) * 10,
    *(930, 930, 1676, 1676, 1676, 1117, 2048),
    *(1400, 1404, 1430, 1578, 1295, 1177, 1588, 1539, 862, 931, 1419, 1140, 1726),
    *(1532, 1612, 1235, 1612, 1424, 1400, 1262, 1499, 1400, 2025, 1403, 1260, 1403),
    *(930, 930, 930, 1676, 1302, 1302),
    *(1230, 1276, 1067, 1276, 1220, 720, 1276, 1296, 562, 705, 1212, 562, 1992),
    *(1296, 1243, 1276, 1276, 874, 1067, 807, 1296, 1212, 1676, 1212, 1212, 1076),
    *(1300, 930, 1300, 1676),
)
_OTHER = 1992
_WIDE = 2048
FONT = "Verdana,Geneva,DejaVu Sans,sans-serif"
Shape = Callable[[str, str, str], str]


def text_width(text: str, pixels: float = 11) -> float:
    """How wide `text` is in Verdana, in pixels."""
    return sum(_advance(letter) for letter in text) * pixels / 2048


def _advance(letter: str) -> int:
    code = ord(letter) - 32
    if 0 <= code < len(_ASCII):
        return _ASCII[code]
    return _WIDE if code > 0x2000 else _OTHER


def flat(label: str, message: str, colour: str) -> str:
    shine = (
        '<linearGradient id="s" x2="0" y2="100%"><stop offset="0" stop-color="#bbb" stop-opacity=".1"/>'
        '<stop offset="1" stop-opacity=".1"/></linearGradient>'
    )
    return _low(label, message, colour, 3, shine)


def flat_square(label: str, message: str, colour: str) -> str:
    return _low(label, message, colour, 0, "")


def _low(label: str, message: str, colour: str, radius: int, shine: str) -> str:
    left, right = (round(text_width(text)) for text in (label, message))
    split, width = left + 10, left + right + 20
    texts = "".join(
        _shadowed(text, 10 * (x + length / 2), 10 * length, shadow=bool(shine))
        for text, x, length in ((label, 5.0, left), (message, split + 5.0, right))
    )
    gloss = f'<rect width="{width}" height="20" fill="url(#s)"/>' if shine else ""
    return (
        f"{_open(label, message, width, 20)}{shine}"
        f'<clipPath id="r"><rect width="{width}" height="20" rx="{radius}" fill="#fff"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{split}" height="20" fill="#555"/>'
        f'<rect x="{split}" width="{width - split}" height="20" fill="{colour}"/>{gloss}</g>'
        f'<g fill="#fff" text-anchor="middle" font-family="{FONT}" text-rendering="geometricPrecision" '
        f'font-size="110">{texts}</g></svg>'
    )


def _shadowed(text: str, x: float, length: float, shadow: bool) -> str:
    place = f'x="{x:g}" transform="scale(.1)" textLength="{length:g}"'
    dark = f'<text aria-hidden="true" {place} y="150" fill="#010101" fill-opacity=".3">{escape(text)}</text>'
    return f'{dark if shadow else ""}<text {place} y="140">{escape(text)}</text>'


def for_the_badge(label: str, message: str, colour: str) -> str:
    label, message = (text.upper() for text in (label, message))
    # Ten pixels, spread by a pixel and a quarter, the message a tenth wider because it is bold.
    left, right = (text_width(text, 10) + 1.25 * len(text) for text in (label, message))
    right *= 1.1
    split, width = round(left) + 24, round(left) + round(right) + 48
    return (
        f"{_open(label, message, width, 28)}"
        f'<g shape-rendering="crispEdges"><rect width="{split}" height="28" fill="#555"/>'
        f'<rect x="{split}" width="{width - split}" height="28" fill="{colour}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="{FONT}" text-rendering="geometricPrecision" '
        f'font-size="100"><text transform="scale(.1)" x="{split * 5}" y="175" '
        f'textLength="{round(left) * 10}">{escape(label)}</text><text transform="scale(.1)" '
        f'x="{(split + width) * 5}" y="175" textLength="{round(right) * 10}" font-weight="bold">'
        f"{escape(message)}</text></g></svg>"
    )


def _open(label: str, message: str, width: int, height: int) -> str:
    said = escape(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" '
        f'aria-label="{said}"><title>{said}</title>'
    )


SHAPES: dict[str, Shape] = {"flat": flat, "flat-square": flat_square, "for-the-badge": for_the_badge}
