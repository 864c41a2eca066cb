"""Sections as HTML: every kind of block, footnotes, and nothing of a text that is markup."""

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from reports.rendering.content.blocks import (
    Bullets,
    Code,
    Folded,
    Noted,
    Paragraph,
    Quote,
    Section,
    Small,
    Strong,
    Subheading,
    Table,
)
from reports.rendering.formats.page.blocks import blocks_html, sections_part
from reports.rendering.formats.page.footnotes import Footnotes


def _html(*blocks):
    return blocks_html(blocks, Footnotes(), "Title")


def _text(html):
    return unescape(re.sub(r"<[^>]+>", "", html))


def test_a_section_is_folded_under_its_title():
    """Its name is the anchor, its title the heading, and what it holds is said beside it."""
    html = sections_part([Section("training", "Training & more", (Paragraph("Words."),), "what it holds")])
    assert html.startswith('<details class="section" id="training"><summary><h3>Training &amp; more</h3>')
    assert "what it holds" in html.partition("</summary>")[0]
    assert '<p dir="auto">Words.</p>' in html


def test_every_kind_of_block():
    """Paragraphs, lists, quotes, headings and folded blocks are the elements that HTML has for them."""
    assert _html(Paragraph(("a ", Strong("b"), Code("c")))) == (
        '<p dir="auto">a <strong><bdi>b</bdi></strong><code><bdi>c</bdi></code></p>'
    )
    assert _html(Bullets(("a", "b"))) == '<ul><li dir="auto">a</li><li dir="auto">b</li></ul>'
    assert _html(Quote("a\nb")) == '<blockquote dir="auto">a\nb</blockquote>'
    assert _html(Quote("")) == '<blockquote dir="auto"><em>(empty)</em></blockquote>'
    assert _html(Subheading("a")) == '<h4 dir="auto">a</h4>'
    assert _html(Folded("more", (Paragraph("a"),))) == (
        '<details><summary dir="auto">more</summary><p dir="auto">a</p></details>'
    )
    assert "<small><bdi>below</bdi></small>" in _html(Paragraph(("a", Small("below"))))


def test_a_table_scrolls_and_has_a_name():
    """It is in a box that keys can scroll, which is called by its caption, or else by what stands above it."""
    table = Table(("", "number"), (("a", Strong("1")),), "lr")
    html = _html(Subheading("Above"), table)
    assert '<div class="scroll" tabindex="0" role="group" aria-label="Above"><table>' in html
    assert '<td></td><th scope="col" dir="auto" class="number">number</th>' in html
    assert '<td dir="auto">a</td><td dir="auto" class="number"><strong><bdi>1</bdi></strong></td>' in html
    assert 'aria-label="Named"' in _html(Table(("a",), (("b",),), "l", "Named"))


def test_footnotes_are_numbered_by_first_use_and_printed_once():
    """A note that is used twice has one number and one text, below the section."""
    cells = (Noted("a", ("second to none",)), Noted("b", ("another", "second to none")))
    html = sections_part([Section("part", "Title", (Table(("x", "y"), (cells,), "ll"),))])
    assert re.findall(r'<sup class="marks"><span class="unseen">note </span>([^<]*)</sup>', html) == ["1", "2, 1"]
    assert '<ol class="footnotes"><li dir="auto">second to none</li><li dir="auto">another</li></ol></details>' in html


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_stays_text(one, other):
    """Without the tags, a block says exactly what it was given; nothing in it opens a tag."""
    html = _html(Table((one or "x",), ((Noted(Strong(other), (one,)),),), "l"))
    known = {"div", "table", "thead", "tbody", "tr", "th", "td", "strong", "bdi", "sup", "span"}
    assert set(re.findall(r"<(\w+)", html)) <= known
    assert _text(html) == (one or "x") + other + "note 1"
