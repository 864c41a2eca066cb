"""Text of the data stays text in Markdown."""

import html as entities
import re

import pytest
from markdown_it import MarkdownIt

from reports.rendering.content.display import plain
from reports.rendering.formats.markdown_text import escape, escape_line, quote

UGLY = "<script>alert(1)</script> | a*b* `code` [link](http://x) __bold__ ~~gone~~ $x$ & &lt; \\| snake_case @octocat"


def _visible(html: str) -> str:
    """The text of a rendered inline, its tags taken away and its entities undone."""
    return entities.unescape(re.sub(r"<[^>]*>", "", html)).strip()


def _rendered(markdown: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False}).render(markdown)


def test_escaped_text_renders_as_itself():
    """Tags, pipes, emphasis, links, code and entities all stay text; a mention is broken up for a forge."""
    html = _rendered(escape(UGLY))
    assert "<script" not in html
    assert not any(tag in html for tag in ("<em>", "<strong>", "<code>", "<a ", "<s>"))
    assert _visible(html.replace("<!-- -->", "")) == UGLY
    assert "@octocat" not in escape(UGLY)
    assert "snake_case" in escape(UGLY)


@pytest.mark.parametrize(
    "text", ["- item", "+ item", "# title", "1. first", "12) twelfth", "> quoted", "=====", "---", "a\nb\x1b[0m"]
)
def test_a_line_cannot_start_a_block(text):
    """Lists, headings, rules and quotes at the start of a line stay text on one line."""
    assert _rendered(escape_line(text)).startswith("<p>")
    assert _visible(_rendered(escape_line(text))) == plain(text)


def test_a_quote_keeps_lines_and_says_what_is_cut():
    """Line breaks and indentation are kept inside one block quote; long texts are capped with the rest counted."""
    html = _rendered(quote("first\n  second\n\n- third"))
    assert html.count("<blockquote>") == 1
    assert "first<br />\n\xa0\xa0second</p>" in html
    assert "<li>" not in html
    assert "… 1,400 more characters" in quote("x" * 2_000)
    assert quote("") == "> *(empty)*"
    assert quote(" \n") != ""
