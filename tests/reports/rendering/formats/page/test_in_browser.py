"""The page in a real browser, where one is installed: what it shows, how wide and high, in print and by keyboard."""

import re

import pytest

WIDTHS = (360, 400, 560, 700, 860, 1_024, 1_200, 1_400, 1_920)
TOO_WIDE = """(() => {
  const width = document.documentElement.clientWidth;
  const wide = [...document.body.querySelectorAll("*")].filter((each) =>
    !each.closest(".scroll table, svg g, .unseen") && each.getBoundingClientRect().right > width + 1);
  return [...(document.documentElement.scrollWidth > width ? ["page"] : []), ...wide.map((each) => each.outerHTML)];
})()"""
BOX = (
    "(({top, bottom, left, right}) => [top, bottom, left, right])(document.querySelector('%s').getBoundingClientRect())"
)
WORD_BREAKS = """[...document.querySelectorAll("#results thead th")].map((head) => {
  const range = document.createRange();
  const texts = [];
  const walker = document.createTreeWalker(head, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const word of walker.currentNode.data.matchAll(/[^\\s\\u00ad-]+/g)) {
      range.setStart(walker.currentNode, word.index);
      range.setEnd(walker.currentNode, word.index + word[0].length);
      if (range.getClientRects().length > 1 && !head.querySelector(".unseen")) texts.push(word[0]);
    }
  }
  return texts;
}).flat()"""
ROW_ENDS = """[...document.querySelectorAll("#results tbody th[scope=row]")].map(
  (each) => each.getBoundingClientRect().bottom)"""
FOCUSED = """(() => {
  const { tagName, type, name, textContent, className } = document.activeElement;
  return [tagName, name || textContent.trim().slice(0, 40) || className];
})()"""
OUTLINE = "getComputedStyle(document.activeElement).outlineStyle"


@pytest.mark.parametrize("kind", ["rich", "sweep", "evil", "crowd", "one"])
def test_nothing_is_wrong_and_nothing_too_wide(kind, pages, chromium):
    """No complaint in the console, no request, no script of the data, and nothing wider than the window."""
    colours = set()
    chromium.open(pages[kind], 1_400, "dark")
    colours.add(chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
    chromium.open(pages[kind], 1_400, "light")
    colours.add(chromium.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    chromium.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for width in WIDTHS:
        chromium.resize(width)
        assert chromium.evaluate(TOO_WIDE) == [], width
        assert chromium.evaluate(WORD_BREAKS) == []
    assert chromium.problems == []
    assert chromium.requests == [pages[kind].as_uri()]
    assert chromium.evaluate("typeof hacked") == "undefined"


@pytest.mark.parametrize(
    ("kind", "picture"),
    [("one", "#results .plot svg"), ("sweep", ".several figure svg"), ("crowd", ".several figure svg")],
)
def test_the_first_screen_holds_headline_table_and_picture(kind, picture, pages, chromium):
    """At 1,400 x 900 all three are in the window, over its width; at 400 x 800 the headline and the first rows are."""
    chromium.open(pages[kind], 1_400, height=900)
    for part in ("h1", ".facts", "#results", picture):
        top, bottom, _, right = chromium.evaluate(BOX % part)
        assert 0 <= top < bottom <= 900, part
        assert right <= 1_400
    _, _, left, right = chromium.evaluate(BOX % ("#results" if kind == "one" else ".several"))
    assert left < 40
    assert right > 1_340
    chromium.open(pages[kind], 400, height=800)
    top, bottom, *_ = chromium.evaluate(BOX % "h1")
    assert 0 <= top < bottom < 400
    rows = chromium.evaluate(ROW_ENDS)
    assert sum(bottom <= 800 for bottom in rows) >= 2, rows


def test_twenty_candidates_do_not_make_a_long_page(pages, chromium):
    """The page ends after a few screens; the folded candidates appear with the button, and the focus goes to them."""
    chromium.open(pages["crowd"], 1_400)
    height = chromium.evaluate("document.documentElement.scrollHeight")
    assert height < 9_000
    shown = "[...document.querySelectorAll('.matrix tbody.rows tr')].filter((each) => each.checkVisibility()).length"
    before = chromium.evaluate(shown)
    chromium.evaluate("document.getElementById('unfold').click()")
    assert chromium.evaluate(shown) == 20 > before
    assert chromium.evaluate("document.activeElement.closest('.rest') !== null")
    assert chromium.problems == []


def test_the_matrix_sorts(pages, chromium):
    """A click on a metric puts the best first and shows all candidates, another click the worst."""
    chromium.open(pages["crowd"], 1_400)
    values = "[...document.querySelectorAll('.matrix tbody.rows tr')].map((row) => Number(row.cells[%d].dataset.value))"
    heads = chromium.evaluate(
        "[...document.querySelectorAll('.matrix th[data-best]')].map((each) => each.dataset.best)"
    )
    assert set(heads) == {"highest", "lowest"}
    for column, best in enumerate(heads, start=1):
        for is_best_first in (True, False):
            chromium.evaluate(f"document.querySelectorAll('.matrix thead button')[{column - 1}].click()")
            found = chromium.evaluate(values % column)
            assert found == sorted(found, reverse=(best == "highest") == is_best_first)
            order = chromium.evaluate("document.querySelector('.matrix [aria-sort]').ariaSort")
            assert order == ("descending" if (best == "highest") == is_best_first else "ascending")
    assert chromium.problems == []


@pytest.mark.parametrize("kind", ["one", "sweep", "crowd", "rich"])
def test_print_is_two_pages(kind, pages, chromium):
    """Headline and table on the first page of A4, pictures on the second, and nothing else, also from a dark screen."""
    chromium.open(pages[kind], 1_400, "dark")
    pdf = chromium.pdf()
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 2
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox\s*\[([^]]*)\]", pdf)}
    ((left, bottom, width, height),) = boxes
    assert (left, bottom) == (0, 0)
    assert width == pytest.approx(595, abs=1)
    assert height == pytest.approx(842, abs=1)


def test_the_keyboard_goes_through_the_page_in_order(pages, chromium):
    """First the link past everything, then what limits belief, the buttons of pictures, links, sections, forms."""
    chromium.open(pages["one"], 1_400)
    seen = []
    for _ in range(80):
        chromium.press("Tab")
        seen.append(tuple(chromium.evaluate(FOCUSED)))
        assert chromium.evaluate(OUTLINE) != "none", seen[-1]
        if seen[-1] == ("INPUT", "words"):
            break
    assert seen[0] == ("A", "Skip to the results")
    order = [("A", "Pictures"), ("BUTTON", "SVG"), ("SELECT", "source"), ("SELECT", "metric"), ("INPUT", "words")]
    places = [seen.index(each) for each in order if each in seen]
    assert places == sorted(places)
    assert ("INPUT", "words") in seen
    assert any(tag == "SUMMARY" for tag, _ in seen)


def test_the_skip_link_goes_to_the_results(pages, chromium):
    """It is out of sight until it has the focus, and leads to the table."""
    chromium.open(pages["one"], 400)
    assert chromium.evaluate(BOX % ".skip")[1] < 0
    chromium.press("Tab")
    assert chromium.evaluate(BOX % ".skip")[0] >= 0
    chromium.press("Enter", text="\r")
    assert chromium.evaluate("location.hash") == "#results"


def test_pictures_are_saved_without_a_request(pages, chromium, tmp_path):
    """The buttons save the picture in its own colours, and its data, under the policy of the page."""
    chromium.open(pages["rich"], 1_400, "dark")
    chromium.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    names = chromium.evaluate("[...document.querySelectorAll('figure')].map((each) => each.id.slice(8))")
    assert names
    for kind in ("svg", "csv"):
        chromium.evaluate(f"document.querySelector('figure button[data-save={kind}]').click()")
        file = tmp_path / f"run-{names[0]}.{kind}"
        chromium.wait_until(file.exists)
        text = file.read_text(encoding="utf-8")
        assert text.startswith("<svg xmlns=" if kind == "svg" else tuple("abcdefghijklmnopqrstuvwxyz"))
    assert chromium.problems == []
    assert [url for url in chromium.requests if not url.startswith(("blob:", "file:"))] == []
