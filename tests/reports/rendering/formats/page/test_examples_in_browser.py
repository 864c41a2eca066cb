"""The browser of examples, and answers side by side, in a real browser."""

import json
from dataclasses import replace

import pytest
from reported import page_of, report_of

from reports.records import ExampleText
from reports.rendering.formats.page import html_report

PAGE = 25
ROWS = """[...document.querySelectorAll("#examples tbody tr")].map((row) =>
  [...row.cells].map((cell) => cell.firstElementChild?.textContent ?? cell.textContent))"""
SETTING = """((form, name, value) => {
  const field = document.getElementById(form + "-form").elements[name];
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  return document.getElementById(form + "-count").textContent;
})"""
CLICK = """((name) => [...document.querySelectorAll("#examples th button, #examples-pages button")]
  .find((button) => button.textContent.startsWith(name)).click())"""
OPTIONS = "[...document.querySelector('#%s-form [name=%s]').options].map((each) => [each.value, each.textContent])"


@pytest.fixture
def browser(pages, chromium):
    """The browser at the page of a rich run."""
    chromium.open(pages["rich"], 1_400)
    yield chromium
    assert chromium.problems == []


def _set(browser, name, value, form="examples"):
    return browser.evaluate(f"{SETTING}({json.dumps(form)}, {json.dumps(name)}, {json.dumps(value)})")


def _choose(browser, source, metric):
    _set(browser, "source", source)
    values = {text: value for value, text in browser.evaluate(OPTIONS % ("examples", "metric"))}
    return _set(browser, "metric", values[metric])


def test_examples_sort(rich, fakes, browser):
    """It starts with what moved most; a click on a column sorts by it, another one turns the order round."""
    run, _ = rich
    _choose(browser, "truthfulness", "Truthful answers, perplexity")
    nats = {each.subject: each.scores for each in run.measurements if each.metric == fakes.PERPLEXITY}
    moved = {
        a.example_id: a.total / a.count - b.total / b.count for a, b in zip(nats["dpo"], nats["base"], strict=True)
    }
    first = sorted(moved, key=lambda example: -abs(moved[example]))[:PAGE]
    assert [row[0] for row in browser.evaluate(ROWS)] == first
    for descending in (True, False):
        browser.evaluate(f"{CLICK}('Difference')")
        expected = sorted(moved, key=moved.get, reverse=descending)[:PAGE]
        assert [row[0] for row in browser.evaluate(ROWS)] == expected
        order = browser.evaluate("document.querySelector('#examples th[aria-sort]').ariaSort")
        assert order == ("descending" if descending else "ascending")
        assert browser.evaluate("document.activeElement.textContent") == "Difference"
    browser.evaluate(f"{CLICK}('Example')")
    assert [row[0] for row in browser.evaluate(ROWS)] == sorted(moved)[:PAGE]


def test_examples_are_filtered(browser):
    """By words in any text, by win, loss and tie, by candidate; the count says how many are left."""
    said = _choose(browser, "preferences", "Preferred answers, reward margin (nats)")
    assert said.startswith("120 of 120 examples, those that moved most first \u00b7 won ")
    assert _set(browser, "words", "good 117").startswith("1 of 120 examples")
    ((_, prompt, chosen, rejected, baseline, *_),) = browser.evaluate(ROWS)
    assert (prompt, chosen, rejected, baseline) == ("Question 117?", "Good 117.", "Bad 117.", "0")
    _set(browser, "words", "")
    n_shown = [int(_set(browser, "outcome", outcome).split()[0]) for outcome in ("won", "lost", "tied", "")]
    assert sum(n_shown[:3]) == n_shown[3] == 120
    before = browser.evaluate(ROWS)
    _set(browser, "candidate", "other")
    assert browser.evaluate(ROWS) != before


def test_a_win_is_better_and_not_higher(browser):
    """Where less is better, examples that fell are won; where neither is, they are called lower."""
    _choose(browser, "truthfulness", "Truthful answers, perplexity")
    _set(browser, "outcome", "won")
    assert all(row[-1].startswith("\u2212") for row in browser.evaluate(ROWS))
    _choose(browser, "safety", "Safe answers, perplexity")
    assert ["lost", "lower"] in browser.evaluate(OPTIONS % ("examples", "outcome"))
    _set(browser, "outcome", "lost")
    assert all(row[-1].startswith("\u2212") for row in browser.evaluate(ROWS))


def test_examples_turn_pages(browser):
    """Twenty-five examples a page, and every example on exactly one of them."""
    _choose(browser, "preferences", "Preferred answers, accuracy")
    seen = []
    for page in range(1, 6):
        assert f"Page {page} of 5" in browser.evaluate("document.getElementById('examples-pages').textContent")
        seen += [row[0] for row in browser.evaluate(ROWS)]
        browser.evaluate(f"{CLICK}('Next')")
    assert len(set(seen)) == len(seen) == 120


def test_examples_show_answers_with_differing_words_marked(browser):
    """Of generations they show the prompt and two answers as text; a kind of prompt can be chosen."""
    _choose(browser, "answers", "Generated answers, length (tokens per answer)")
    rows = {row[0]: row for row in browser.evaluate(ROWS)}
    assert rows["q1"][2].startswith("Bread is a food made of flour & water.")
    assert "<script>alert(1)</script>" in rows["q1"][2]
    assert rows["q1"][3].startswith("I cannot explain that.")
    assert rows["q1"][-3:] == ["5", "6", "+1"]
    assert browser.evaluate("document.querySelectorAll('#examples mark').length") > 0
    assert _set(browser, "kind", "unsafe").startswith("1 of 2 examples")


def test_five_thousand_examples_are_never_in_the_document_at_once(fakes, chromium, tmp_path):
    """At most 200 rows stand in the document, and sorting by any column goes over all of them."""
    n = 5_000
    values = [(place * 7_919) % n for place in range(n)]
    moved = [value + place for place, value in enumerate(values)]
    run = fakes.small_run({(fakes.BITS, "base"): fakes.scores(values), (fakes.BITS, "dpo"): fakes.scores(moved)})
    texts = tuple(ExampleText(f"e{place:04d}", "truthfulness", f"Question {place}", {}) for place in range(n))
    file = tmp_path / "page.html"
    run = replace(run, examples=texts)
    file.write_text(page_of(run), encoding="utf-8")
    chromium.open(file, 1_400)
    count = "document.querySelectorAll('#examples tbody tr').length"
    largest = f"e{values.index(n - 1):04d}"
    for column, first in (("Difference", "e4999"), ("Example", "e0000"), ("Baseline", largest)):
        chromium.evaluate(f"{CLICK}('{column}')")
        assert 0 < chromium.evaluate(count) <= 200
        assert chromium.evaluate(ROWS)[0][0] == first
    assert chromium.problems == []


def test_examples_that_are_left_out_are_counted(fakes, chromium, tmp_path):
    """Of twelve examples the page has the three that moved most, and says so where it counts them."""
    values = [float(place) for place in range(12)]
    run = fakes.small_run({(fakes.BITS, "base"): fakes.scores([0.0] * 12), (fakes.BITS, "dpo"): fakes.scores(values)})
    file = tmp_path / "page.html"
    file.write_text(html_report(report_of(run), (), n_examples=3), encoding="utf-8")
    chromium.open(file, 1_400)
    assert [row[0] for row in chromium.evaluate(ROWS)] == ["e0011", "e0010", "e0009"]
    said = chromium.evaluate("document.getElementById('examples-count').textContent")
    assert said.startswith("3 of 3 examples, those that moved most first")
    assert said.endswith("of 12 those that moved most are here, and counted")
    assert chromium.problems == []


SIDES = """[...document.querySelectorAll("#answers-list article")].map((each) =>
  [0, 1].map((side) => [...each.querySelectorAll(".sides .fold > div")].filter((_, n) => n % 2 === side)
    .map((line) => line.textContent).join("\\n")))"""
MARKS = """[...document.querySelectorAll("#answers-list article")].map((each) =>
  [0, 1].map((side) => [...each.querySelectorAll(".sides .fold > div")].filter((_, n) => n % 2 === side)
    .flatMap((line) => [...line.querySelectorAll("mark")].map((mark) => mark.textContent))))"""


def test_answers_stand_side_by_side(rich, browser):
    """The baseline and one candidate, each word of theirs, whatever the script; another candidate comes from a list."""
    run, _ = rich
    said = {(each.subject, each.example_id): each.answer for each in run.generations}
    for candidate in ("dpo", "other"):
        _set(browser, "candidate", candidate, "answers")
        assert browser.evaluate(SIDES) == [
            [said[subject, f"q{n}"] for subject in ("base", candidate)] for n in range(1, 6)
        ]


def test_differing_words_are_marked_in_every_script(browser):
    """Whole words in Latin and Arabic, single words of a sentence in Chinese; what is the same is not marked."""
    marks = browser.evaluate(MARKS)
    assert marks[2] == [
        [],
        ["\u0627\u0644\u062e\u0628\u0632 \u0637\u0639\u0627\u0645 \u0645\u0646 \u0627\u0644\u062f\u0642\u064a\u0642."],
    ]
    assert marks[3] == [["\u82f9\u679c"], ["\u6a58\u5b50"]]
    assert marks[4][0] == ["second"]
    assert marks[4][1][0] == "another"
    direction = """[...document.querySelectorAll("#answers-list article")].map(
      (each) => getComputedStyle(each.querySelector(".sides .fold > div")).direction)"""
    assert browser.evaluate(direction)[1:4] == ["ltr", "rtl", "ltr"]


def test_lines_of_both_answers_begin_at_one_height(browser):
    """Where both answers break a line, the next ones begin side by side."""
    tops = browser.evaluate(
        "[...document.querySelectorAll('#answers-list article')][4].querySelectorAll('.sides .fold > div').values()"
        ".map((each) => Math.round(each.getBoundingClientRect().top)).toArray()"
    )
    assert tops[::2] == tops[1::2]
    assert len(set(tops)) == len(tops) // 2 >= 3


def test_long_answers_are_folded(browser):
    """At twelve lines, with a button that says whether they are open."""
    height = "[...document.querySelectorAll('#answers-list article')][4].querySelector('.sides .fold').clientHeight"
    button = "[...document.querySelectorAll('#answers-list article')][4].querySelector('.sides .unfold-text')"
    line = browser.evaluate("parseFloat(getComputedStyle(document.querySelector('.sides .fold')).lineHeight)")
    assert browser.evaluate(height) == pytest.approx(12 * line, abs=1)
    assert browser.evaluate(f"{button}.ariaExpanded") == "false"
    browser.evaluate(f"{button}.click()")
    assert browser.evaluate(height) > 30 * line
    assert browser.evaluate(f"{button}.ariaExpanded") == "true"


def test_answers_are_chosen_by_kind_and_by_what_differs(browser):
    """Only those of a kind, that differ, or whose refusal differs; the line above says how many."""
    assert _set(browser, "kind", "languages", "answers") == "3 of 5 prompts."
    _set(browser, "kind", "", "answers")
    assert _set(browser, "shown", "refusal", "answers") == "2 of 5 prompts."
    _set(browser, "candidate", "other", "answers")
    assert _set(browser, "shown", "changed", "answers") == "2 of 5 prompts."
