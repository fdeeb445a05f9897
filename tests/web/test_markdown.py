import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runner.web.markdown import MOST_LETTERS, MOST_ON_A_PAGE, MOST_SHOWN, Summaries

ELEMENTS = {
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong"),
    *("s", "a", "hr", "br", "table", "thead", "tbody", "tr", "th", "td"),
}
PIECES = some.sampled_from(
    [
        *("<script>", "</p>", "<https://x>", "<a href=x>", "onclick=", "javascript:alert(1)", "https://x.y/"),
        *("[a](", ")", "![", "]", "[r]: ", "`", "```", "\n", "\n\n", '"', "'", "|", "|-|", "&#106;", "\\"),
        *("- ", "> ", "*", "~~"),
    ]
)


class Elements(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def checked(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert tag in ELEMENTS
        assert attributes.keys() <= {"href", "title", "rel", "class", "start"}
        assert re.match(r"(?i)https?://|mailto:", attributes.get("href") or "https://")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("*a* ~~b~~", "<p><em>a</em> <s>b</s></p>\n"),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>\n"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("[x](JaVaScRiPt&#58;alert(1))", "<p>[x](JaVaScRiPt:alert(1))</p>\n"),
        ("[x](//evil.example)", "<p>[x](//evil.example)</p>\n"),
        ("[x](/logout)", "<p>[x](/logout)</p>\n"),
        (
            "[x](https://a.example)",
            '<p><a href="https://a.example" rel="nofollow noopener noreferrer">x</a></p>\n',
        ),
        (
            "![x](https://a.example)",
            '<p>!<a href="https://a.example" rel="nofollow noopener noreferrer">x</a></p>\n',
        ),
    ],
)
def test_markdown_is_rendered_without_what_it_could_do(written: str, shown: str) -> None:
    assert Summaries()(written) == shown


@given(some.lists(PIECES | some.text(max_size=5), max_size=20))
def test_whatever_is_written_only_harmless_elements_come_out(pieces: list[str]) -> None:
    checked(Summaries()("".join(pieces)))


@pytest.mark.parametrize("piece", ["[](", "[", "](", "**a", "|a", "`", "> ", "[a]: x\n", "<a "])
def test_no_summary_takes_long(piece: str) -> None:
    began = time.process_time()

    Summaries()((piece * MOST_LETTERS)[:MOST_LETTERS])

    assert time.process_time() - began < 5


def test_what_is_too_long_to_be_read_is_shown_as_it_was_written_and_only_so_much() -> None:
    rendered = Summaries()

    assert rendered("*" + "a" * MOST_LETTERS).startswith('<pre class="log">*aa')
    for _ in range(MOST_ON_A_PAGE // MOST_LETTERS):
        assert "<em>" in rendered("*a*".ljust(MOST_LETTERS))
    assert rendered("*a* <") == '<pre class="log">*a* &lt;</pre>'
    assert rendered("x" * MOST_SHOWN).endswith("the rest is in the API</pre>")
