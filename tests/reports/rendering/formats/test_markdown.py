"""The Markdown report: golden files, what it shows folded and unfolded, and that data stays text."""

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from reported import report_of, twenty_candidates

from reports.records import Generation
from reports.rendering.content.blocks import (
    Bullets,
    Code,
    Folded,
    Noted,
    Paragraph,
    Quote,
    Small,
    Strong,
    Subheading,
    Table,
)
from reports.rendering.content.report import Report
from reports.rendering.formats.csv import PUBLISHED_CSV_COLUMNS, csv_report
from reports.rendering.formats.markdown import MOST_PADDED, markdown_blocks, markdown_report
from reports.rendering.formats.terminal import Screen, terminal_report
from reports.run_folder import read_run, write_run

GOLDEN = Path(__file__).parent / "golden_report.md"
GOLDEN_OF_MANY = Path(__file__).parent / "golden_report_of_many.md"
EVIL = "<script>alert(1)</script> | **x** `y` @octocat\n# heading"


def _golden_run(fakes):
    """Twelve groups of plain numbers, so that every figure of the golden file can be followed by hand."""
    pattern = [0, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 1, 1]
    tokens = [10, 20] * 6
    nats = [2.0 * count for count in tokens]
    worse = [total + 0.5 + place % 3 for place, total in enumerate(nats)]
    same = [1, 0, 0, 1] * 3
    run = replace(fakes.realistic_run(), counts=fakes.realistic_run().counts[:1])
    small = fakes.small_run(
        {
            (fakes.ACCURACY, "dpo"): fakes.scores(pattern),
            (fakes.ACCURACY, "longest"): fakes.scores([0, 1] * 6),
            (fakes.PERPLEXITY, "base"): fakes.scores(nats, tokens),
            (fakes.PERPLEXITY, "dpo"): fakes.scores(worse, tokens),
            (fakes.MC1, "base"): fakes.scores(same),
            (fakes.MC1, "dpo"): fakes.scores(same),
            (fakes.MC2, "base"): fakes.scores([0.25, 0.5] * 3),
            (fakes.MC2, "dpo"): fakes.scores([0.5, 0.25] * 3),
        }
    )
    return replace(run, subjects=small.subjects, measurements=small.measurements)


def _html(markdown):
    return MarkdownIt("gfm-like", {"linkify": False}).render(markdown)


def _unfolded(markdown):
    """The report without what is within its details elements."""
    depth, shown = 0, []
    for line in markdown.splitlines():
        depth += line.startswith("<details>")
        if not depth:
            shown.append(line)
        depth -= line == "</details>"
    return "\n".join(shown)


def test_the_markdown_report_is_the_golden_one(fakes):
    """Every character of a small report; after a wanted change, write the new text into the golden file."""
    run = _golden_run(fakes)
    assert markdown_report(report_of(run)) == GOLDEN.read_text(encoding="utf-8")


def test_the_markdown_report_of_many_candidates_is_the_golden_one(fakes):
    """Seeds, controls, other weights, a choice and published figures, all from plain numbers."""
    run = fakes.sweep_run()
    assert markdown_report(report_of(run)) == GOLDEN_OF_MANY.read_text(encoding="utf-8")


def test_twenty_candidates_fit_into_a_comment():
    """GitHub takes 65,536 characters; what is left out is said, and where it is."""
    report = markdown_report(twenty_candidates())
    assert len(report) < 65_536
    assert "171 rows of other candidates are in `report.csv`" in report


def test_title_and_what_was_not_measured_come_first(fakes):
    """A title that names both sides, and the run's own first line below it."""
    run = fakes.realistic_run()
    title, _, first = markdown_report(report_of(run)).splitlines()[:3]
    assert title == "# dpo against base"
    assert first == run.headline


def test_every_section_is_there_once(fakes):
    """Open ones under a heading, folded ones in a details element with their title; each element is closed."""
    for run in (fakes.realistic_run(), fakes.sweep_run()):
        report = report_of(run)
        markdown = markdown_report(report)
        for section in report.sections[1:]:
            heading = f"<details><summary><b>{section.title}</b>: " if section.summary else f"\n## {section.title}\n"
            assert markdown.count(heading) == 1
        html = _html(markdown)
        assert html.count("<details>") == html.count("</details>") == markdown.count("<summary>")


def test_only_the_first_screen_is_unfolded(fakes):
    """Headline, table and what limits belief; the interval of a metric stands once in all of it."""
    run = fakes.realistic_run()
    shown = _unfolded(markdown_report(report_of(run)))
    assert re.findall("^#+ .*$", shown, re.MULTILINE) == [
        "# dpo against base",
        "## Differences from the baseline",
        "## What else limits belief",
        "## Details",
    ]
    assert markdown_report(report_of(run)).count("+11.0 to +16.9") == 1
    assert "favours the preferred answers more often than chance" in shown


def test_pictures_follow_the_table_if_they_are_written(fakes):
    """By the path that is given, called by its name; a report alone has none."""
    run = fakes.realistic_run()
    report = report_of(run)
    shown = _unfolded(markdown_report(report, figures=["figures/differences.svg", "figures/gain-and-cost.svg"]))
    _, table, limits = re.split("^## ", shown, flags=re.MULTILINE)[:3]
    assert "![Differences](figures/differences.svg)\n\n![Gain and cost](figures/gain-and-cost.svg)" in table
    assert limits.startswith("What else limits belief")
    assert "![" not in markdown_report(report)


def test_each_block_has_its_markdown():
    """Paragraphs, lists, tables, quotes, headings and folded parts; words bold, as code, small, with footnotes."""
    table = Table(
        ("A", "B", "C"),
        (
            (Strong("x"), ("1", Small("of 2")), Noted("y", ("first", "second"))),
            ("", Code("m/n"), Noted("z", ("second",))),
        ),
        "lrc",
        "caption",
    )
    blocks = (
        Paragraph(("words ", Strong("bold"), " and ", Code("code"), ".")),
        Bullets(("one", (Strong("two"), ": three"))),
        table,
        Folded("more & more", (Subheading("heading"), Quote("said\nso"))),
    )
    assert markdown_blocks(blocks).splitlines() == [
        "words **bold** and `code`.",
        "",
        "- one",
        "- **two**: three",
        "",
        "**caption**",
        "",
        "| A     |                    B |        C         |",
        "| :---- | -------------------: | :--------------: |",
        "| **x** | 1<br><sub>of 2</sub> | y<sup>1, 2</sup> |",
        "|       |                `m/n` |  z<sup>2</sup>   |",
        "",
        "<details><summary>more &amp; more</summary>",
        "",
        "**heading**",
        "",
        "> said  ",
        "> so",
        "",
        "</details>",
        "",
        "<sup>1</sup> First  ",
        "<sup>2</sup> Second",
    ]


def test_bold_words_with_a_mark_stay_bold_before_a_footnote():
    """A mark at the end of bold words would keep them open if a number followed at once."""
    html = _html(markdown_blocks((Paragraph(Noted(Strong("+3.0 pp \u25b2"), ("why",))),)))
    assert "<strong>+3.0 pp \u25b2</strong><sup>1</sup>" in html


def test_long_tables_are_not_padded():
    """Spaces would be most of the file; those who read the file itself read short ones."""
    for n_rows, is_padded in ((MOST_PADDED - 1, True), (MOST_PADDED, False)):
        table = Table(("A",), (("a long cell",), *[("x",)] * (n_rows - 1)), "l")
        assert ("| x           |" in markdown_blocks((table,))) == is_padded


def test_a_report_of_the_folder_equals_the_report_of_the_run(fakes, tmp_path):
    """`harness report` of a stored run prints what the run itself printed."""
    for run in (fakes.realistic_run(("a", "b")), replace(fakes.sweep_run(), name="sweep")):
        write_run(run, tmp_path / run.name)
        stored = read_run(tmp_path / run.name)
        for report in (markdown_report, csv_report):
            assert report(report_of(stored)) == report(report_of(run))
        assert terminal_report(report_of(stored), Screen()) == terminal_report(report_of(run), Screen())


def test_text_of_the_data_stays_text(fakes):
    """Tags, pipes, code and headings in names, answers, notes, summaries and provenance do not become markup."""
    run = fakes.realistic_run((EVIL,))
    measurements = tuple(
        replace(each, metric=replace(each.metric, evaluation=EVIL)) if each.metric == fakes.MC1 else each
        for each in run.measurements
    )
    run = replace(
        run,
        name=EVIL,
        headline=EVIL,
        measurements=measurements,
        notes=(EVIL,),
        generations=(Generation("answers", "e", EVIL, EVIL, EVIL, EVIL, refused=True),),
        provenance={EVIL: EVIL},
    )
    markdown = markdown_report(report_of(run))
    html = _html(markdown)
    assert "<script" not in html
    assert html.count("<h1>") == 1
    assert not re.search("<h[3-6]>", html)
    assert "@octocat" not in markdown
    literal = html.replace("<!-- -->", "").count("alert(1)&lt;/script&gt; | **x** `y` @octocat")
    assert html.count("alert(1)") == literal > 20


def test_a_diverged_training_shows(fakes, tmp_path):
    """A loss that ends in NaN is called so, before and after the run folder turns it into null."""
    training = ({"kind": "train", "step": 1, "loss": 0.69}, {"kind": "train", "step": 2, "loss": math.nan})
    run = fakes.small_run({}, training=training)
    write_run(run, tmp_path / "run")
    for stored in (run, read_run(tmp_path / "run")):
        assert "| 0.690 (step 1) | not finite (step 2) |" in markdown_report(Report(stored, []))


def test_many_prompts_are_capped_and_the_rest_counted(fakes):
    """Two dozen prompts are shown; the report says where the others are."""
    answers = tuple(Generation("answers", f"q{place}", "dpo", "", "Why?", "So.", refused=False) for place in range(30))
    report = markdown_report(Report(fakes.small_run({}, generations=answers), []))
    assert report.count("> Why?") == 24
    assert "6 more prompts are in generations.jsonl." in report


def test_long_answers_are_capped_by_their_length(fakes):
    """By that of all subjects' answers to a prompt together; those to the first prompt are there however long."""
    for n_characters, n_shown in ((1_400, 2), (20_000, 1)):
        answers = tuple(
            Generation("answers", f"q{place}", subject, "", "Why?", "So. " * (n_characters // 4), refused=False)
            for place in range(5)
            for subject in ("base", "dpo")
        )
        report = markdown_report(Report(fakes.small_run({}, generations=answers), []))
        assert report.count("> Why?") == n_shown
        assert f"{5 - n_shown} more prompts are in generations.jsonl." in report


@pytest.mark.parametrize("n_candidates", [8, 20])
def test_a_report_of_many_candidates_fits_a_comment(fakes, n_candidates):
    """A forge takes 65,536 characters; every candidate is in the table, and one of them in full."""
    names = tuple(f"lr {position}" for position in range(n_candidates))
    run = fakes.realistic_run(names)
    markdown = markdown_report(report_of(run))
    assert len(markdown) < 65_536
    table = _unfolded(markdown).split("## Differences")[1]
    assert all(f"| {name} " in table for name in names)


def test_the_published_layout_is_markdown_and_csv_of_cross_entropies_alone(fakes):
    """No verdict and no differences; one CSV row a set, average and column, in full precision."""
    run = fakes.sweep_run()
    markdown = markdown_report(report_of(run), layout="published")
    assert "averaged over **examples**" in markdown
    assert "## Differences" not in markdown
    assert "<b>Provenance</b>" in markdown
    read = list(csv.DictReader(io.StringIO(csv_report(report_of(run), layout="published"))))
    assert tuple(read[0]) == PUBLISHED_CSV_COLUMNS
    assert len(read) == 2 * (9 + 3)
    row = next(row for row in read if row["subject"] == f"{fakes.LR}, seed 42" and row["averaged_over"] == "tokens")
    assert (row["set"], row["is_published"]) == ("truthfulness", "False")
    assert float(row["nats_per_token"]) == pytest.approx(1.8)


def test_a_run_without_candidates_says_so(fakes):
    """A baseline alone is reported without tables of differences."""
    run = replace(fakes.small_run({(fakes.MC2, "base"): fakes.scores([0.5] * 12)}), headline="Only the base.")
    assert "No candidate was measured" in markdown_report(report_of(run))
    assert "## Differences" not in markdown_report(report_of(run))
