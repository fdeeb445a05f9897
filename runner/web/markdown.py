"""Step summaries as HTML: Markdown that strangers wrote.

What comes out holds the elements that Markdown has words for and nothing else: HTML in it is text, pictures
are not fetched, links lead to other sites only, and no attribute carries a style or a script.
"""

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from runner.web.text import visible

MOST_LETTERS = 32 * 1024
"""Longer Markdown is shown as it was written: reading it can take time quadratic in its length."""
MOST_ON_A_PAGE = 128 * 1024
MOST_SHOWN = 256 * 1024
_ELSEWHERE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


class _Reader(MarkdownIt):
    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False})
        self.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline"])

    def validateLink(self, url: str) -> bool:
        return _ELSEWHERE.match(url) is not None


class Summaries:
    """The summaries of one page, for one reading: only so much of it is rendered, and only so much shown."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self._left = MOST_ON_A_PAGE
        self._shown = MOST_SHOWN

    def __call__(self, text: str) -> Markup:
        if len(text) <= min(MOST_LETTERS, self._left):
            self._left -= len(text)
            tokens = self._reader.parse(visible(text))
            for token in _all(tokens):
                _tame(token)
            return Markup(self._reader.renderer.render(tokens, self._reader.options, {}))
        shown, self._shown = text[: self._shown], max(0, self._shown - len(text))
        cut = "" if len(shown) == len(text) else "\n… the rest is in the API"
        return Markup('<pre class="log">{}</pre>').format(escape(visible(shown) + cut))


def _all(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()


def _tame(token: Token) -> None:
    # The page allows no style of its own, which a table's columns would have.
    token.attrs.pop("style", None)
    if token.type == "link_open":
        token.attrs["rel"] = "nofollow noopener noreferrer"
