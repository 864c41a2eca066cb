"""The Markdown report: golden files, what it claims, and what it has in common with the other formats."""

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from reports.comparing.compare import compare
from reports.records import Generation, Subject
from reports.rendering.formats.csv import PUBLISHED_CSV_COLUMNS, csv_report
from reports.rendering.formats.markdown import markdown_report
from reports.rendering.formats.terminal import terminal_table
from reports.run_folder import read_run, write_run

GOLDEN = Path(__file__).parent / "golden_report.md"
GOLDEN_OF_MANY = Path(__file__).parent / "golden_report_of_many.md"


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


def test_the_markdown_report_is_the_golden_one(fakes):
    """Every character of a small report; after a wanted change, write the new text into the golden file."""
    run = _golden_run(fakes)
    assert markdown_report(run, compare(run)) == GOLDEN.read_text(encoding="utf-8")


def test_the_markdown_report_of_many_candidates_is_the_golden_one(fakes):
    """Seeds, controls, other weights, a choice and published figures, all from plain numbers."""
    run = fakes.sweep_run()
    assert markdown_report(run, compare(run)) == GOLDEN_OF_MANY.read_text(encoding="utf-8")


def test_the_headline_is_the_first_line(fakes):
    """What was not measured is said before anything else, in both outputs."""
    run = fakes.realistic_run()
    for report in (markdown_report, terminal_table):
        assert report(run, compare(run)).splitlines()[0] == run.headline


def test_the_verdict_says_what_intervals_support(fakes):
    """Clear intervals are called so, others name what is compatible, and nothing is called unchanged."""
    run = fakes.realistic_run()
    verdict = markdown_report(run, compare(run)).split("## Results", maxsplit=1)[0]
    assert "Better, interval clear of zero: preferences · accuracy 50.0 % by definition" in verdict
    assert "Worse, interval clear of zero: truthfulness · perplexity" in verdict
    assert "No change seen: safety · perplexity" in verdict
    assert "is compatible with these rows" in verdict
    assert "Not measured: coreference · perplexity (the role coreference is empty)" in verdict
    assert "Among the surface rulers on preferences · accuracy: ahead of longest" in verdict


def test_the_note_says_what_pairing_was_worth(fakes):
    """One figure a primary metric, a range where there are several candidates; none for what is known by definition."""
    notes = {}
    for names in (("dpo",), ("a", "b")):
        run = fakes.realistic_run(names)
        report = markdown_report(run, compare(run))
        notes[names] = next(line for line in report.splitlines() if line.startswith("- Pairing by example narrowed"))
    assert "truthfulness · perplexity 4.3 (0.95); safety · perplexity 6.7 (0.98)." in notes["dpo",]
    assert re.search(r"truthfulness · perplexity \d\.\d to \d\.\d \(0\.\d\d to 0\.\d\d\)", notes["a", "b"])
    assert "accuracy" not in notes["dpo",]


def test_a_report_of_the_folder_equals_the_report_of_the_run(fakes, tmp_path):
    """`harness report` of a stored run prints what the run itself printed."""
    for run in (fakes.realistic_run(("a", "b")), replace(fakes.sweep_run(), name="sweep")):
        write_run(run, tmp_path / run.name)
        stored = read_run(tmp_path / run.name)
        for report in (markdown_report, csv_report, terminal_table):
            assert report(stored, compare(stored)) == report(run, compare(run))


def test_several_candidates_get_a_row_each(fakes):
    """With two adapters every metric has two rows, each with its own difference and interval."""
    run = fakes.realistic_run(("lr 5e-6", "lr 1e-5"))
    html = MarkdownIt("gfm-like", {"linkify": False}).render(markdown_report(run, compare(run)))
    assert html.count("<strong>truthfulness · perplexity</strong>") == 2
    assert '<th style="text-align:left">candidate</th>' in html


def test_text_of_the_data_stays_text(fakes):
    """Tags, pipes and headings in names, answers, notes and provenance do not become markup."""
    evil = "<script>alert(1)</script> | **x**\n# heading"
    run = fakes.realistic_run((evil,))
    run = replace(
        run,
        headline=evil,
        notes=(evil,),
        generations=(Generation("answers", "e", evil, evil, evil, evil, refused=True),),
        provenance={evil: evil},
    )
    html = MarkdownIt("gfm-like", {"linkify": False}).render(markdown_report(run, compare(run)))
    assert "<script" not in html
    assert "<h1>" not in html
    assert html.count("alert(1)") == html.count("alert(1)&lt;/script&gt; | **x**") > 10


def test_a_diverged_training_shows(fakes, tmp_path):
    """A loss that ends in NaN is called so, before and after the run folder turns it into null."""
    training = ({"kind": "train", "step": 1, "loss": 0.69}, {"kind": "train", "step": 2, "loss": math.nan})
    run = fakes.small_run({}, training=training)
    write_run(run, tmp_path / "run")
    for stored in (run, read_run(tmp_path / "run")):
        assert "| 0.690 (step 1) | not finite (step 2) |" in markdown_report(stored, [])


def test_many_prompts_are_capped_and_the_rest_counted(fakes):
    """Two dozen prompts are shown; the report says where the others are."""
    answers = tuple(Generation("answers", f"q{place}", "dpo", "", "Why?", "So.", refused=False) for place in range(30))
    report = markdown_report(fakes.small_run({}, generations=answers), [])
    assert report.count("> Why?") == 24
    assert "6 more prompts are in generations.jsonl." in report


def test_a_primary_metric_without_an_interval_claims_nothing(fakes):
    """With few groups the verdict gives the difference and why nothing follows from it."""
    sides = {(fakes.MC1, "base"): fakes.scores([0, 1, 1]), (fakes.MC1, "dpo"): fakes.scores([1, 1, 1])}
    run = fakes.small_run(sides)
    expected = "Cannot tell, so nothing is claimed: lm_eval · truthfulqa_mc1 acc 66.7 % → 100.0 % (+33.3 pp; 3 groups;"
    assert expected in markdown_report(run, compare(run))


def test_other_weights_are_marked(fakes):
    """A candidate that does not sit on the baseline's weights says so wherever it is judged."""
    run = fakes.realistic_run()
    subjects = tuple(replace(s, same_weights=s.name != "dpo", reference="base") for s in run.subjects)
    run = replace(run, subjects=subjects)
    assert "**dpo** (different weights) against base:" in markdown_report(run, compare(run))
    assert "dpo (different weights):" in terminal_table(run, compare(run))


def test_the_published_layout_is_markdown_and_csv_of_cross_entropies_alone(fakes):
    """No verdict and no differences; one CSV row a set, average and column, in full precision."""
    run = fakes.sweep_run()
    markdown = markdown_report(run, compare(run), layout="published")
    assert "averaged over **examples**" in markdown
    assert "## Verdict" not in markdown
    assert "## Provenance" in markdown
    read = list(csv.DictReader(io.StringIO(csv_report(run, compare(run), layout="published"))))
    assert tuple(read[0]) == PUBLISHED_CSV_COLUMNS
    assert len(read) == 2 * (9 + 3)
    row = next(row for row in read if row["subject"] == f"{fakes.LR}, seed 42" and row["averaged_over"] == "tokens")
    assert (row["set"], row["is_published"]) == ("truthfulness", "False")
    assert float(row["nats_per_token"]) == pytest.approx(1.8)
    empty = markdown_report(fakes.small_run({}), [], layout="published")
    assert "No perplexity was measured." in empty


def test_many_candidates_fold_all_but_claims_away(fakes):
    """Of eight candidates the verdict on one, primary metrics and controls are open; each details element is closed."""
    run = fakes.realistic_run(tuple(f"lr {position}" for position in range(8)))
    markdown = markdown_report(run, compare(run))
    html = MarkdownIt("gfm-like", {"linkify": False}).render(markdown)
    assert "<summary>The other 7 candidates</summary>" in html
    assert "<summary>Exploratory metrics: hints, not claims (32 rows)</summary>" in html
    assert html.count("<details>") == html.count("</details>") == 5
    opened = "".join(part.rpartition("</details>")[2] for part in markdown.split("<details>"))
    assert opened.count("against base:") == 1
    assert opened.count("| **truthfulness · perplexity**") == 8
    assert "coreference · perplexity (all)" in opened
    assert len(markdown) < 65_536


def test_other_weights_and_references_are_marked_in_the_tables(fakes):
    """A dagger behind each name that has other weights, explained, and a word on rewards against other references."""
    run = fakes.sweep_run()
    markdown = markdown_report(run, compare(run))
    assert "| merged †" in markdown
    assert "- †: different weights from the baseline's." in markdown
    assert "Rewards of candidates with different references (see below) are not on one scale." in markdown
    assert "| control: shuffled pairs † " not in markdown
    assert "| control " in markdown.split("## What was measured")[1]


def test_a_run_without_controls_says_what_a_lower_perplexity_is_worth(fakes):
    """Only a control tells preferences from fluency; with controls the verdict says it instead."""
    expected = "a lower perplexity alone says nothing about preferences"
    for run, is_said in ((fakes.realistic_run(), True), (fakes.sweep_run(), False)):
        assert (expected in markdown_report(run, compare(run))) == is_said


def test_a_run_without_candidates_says_so(fakes):
    """A baseline alone is reported without tables of differences."""
    run = replace(fakes.small_run({(fakes.MC2, "base"): fakes.scores([0.5] * 12)}), headline="Only the base.")
    assert "No candidate was measured" in markdown_report(run, compare(run))
    assert "No candidate was measured" in terminal_table(run, compare(run))


def test_a_run_with_exploratory_metrics_only_claims_nothing(fakes):
    """Without a primary metric there is no verdict, and no line in the terminal's table."""
    sides = {(fakes.MC2, name): fakes.scores([0.5, 0.25 * place] * 6) for place, name in enumerate(("base", "dpo"))}
    run = replace(fakes.small_run(sides), subjects=(Subject("base", "baseline", ""), Subject("dpo", "candidate", "")))
    assert "- No primary metric was measured." in markdown_report(run, compare(run))
    assert "Primary metrics**" not in markdown_report(run, compare(run))
