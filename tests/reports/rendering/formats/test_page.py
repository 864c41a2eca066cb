"""The page: self-contained, and literal about data."""

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import ExampleText, Generation, MetricScores, Subject
from reports.rendering.content.sections.order import sections as content_sections
from reports.rendering.formats.page import LONGEST_ANSWER, MOST_PROMPTS, html_report, mark_changes
from reports.run_folder import read_run, write_run


def _page(run):
    return html_report(run, compare(run))


def _data(page):
    return json.loads(
        re.search(r'<script type="application/json" id="examples-data">(.*?)</script>', page, re.DOTALL)[1]
    )


def test_the_page_loads_nothing_and_runs_its_own_script_alone(rich):
    """No address is asked for, and the policy names the hash of the one script that is there."""
    _, page = rich
    assert not re.search(r"""\b(?:src|href)=(?!["'](?:#|data:))""", page)
    assert not re.search(r"@import|url\((?!#)|\bfetch\(", page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert page.count("<script") == 2


def test_the_same_run_gives_the_same_page(rich, tmp_path):
    """Also after the run was read from its folder: no date or random number comes in."""
    run, page = rich
    write_run(run, tmp_path / "run")
    assert _page(read_run(tmp_path / "run")) == page


def test_the_page_says_what_the_markdown_says(rich, fakes):
    """Every section of the Markdown report is in the page, and the pictures stand with their words."""
    sweep = fakes.sweep_run()
    for run, page in (rich, (sweep, _page(sweep))):
        rows = compare(run)
        titles = [each.title for each in content_sections(run, rows, over_seeds(run, rows))[1:]]
        sections = re.findall(r"<h2>(.*?)</h2>", page)
        assert [title for title in sections if title in titles] == sorted(titles, key=sections.index)
        assert set(titles) <= set(sections)
        verdict = page.split("<h2>Differences from the baseline</h2>")[1].split("<h2>")[0]
        assert "<svg" in verdict
        assert "95 % intervals" in verdict
        assert sections[-1] == "Provenance"


def test_sections_of_a_rich_run(rich):
    """All that the page adds to the report is there, each under its heading."""
    sections = re.findall(r"<h2>(.*?)</h2>", rich[1])
    assert {"Training", "Reward margins", "Example by example", "Answers side by side"} <= set(sections)


def test_an_empty_run_has_a_page(fakes):
    """Nothing measured: no picture, no table of examples, no error."""
    page = _page(fakes.small_run({}))
    assert "No candidate was measured" in page
    assert "<svg" not in page
    assert "examples-form" not in re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)


def test_text_of_the_data_stays_text(evil_run):
    """No tag of a row becomes a tag of the page, wherever the row's text is shown."""
    page = _page(evil_run)
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert page.count("hacked = 1") > 20
    assert _data(page)["examples"][-1]["prompts"] == [evil_run.name]


def test_a_lone_surrogate_does_not_stop_the_page(fakes):
    """What UTF-8 cannot hold is written as its code point."""
    run = replace(fakes.realistic_run(), notes=("a \ud800 b",))
    _page(run).encode("utf-8")


def test_the_table_of_examples_holds_every_score(rich):
    """Each subject's total / count, by id, for all metrics that go by example, rulers aside."""
    run, page = rich
    data = _data(page)
    assert data["baseline"] == "base"
    assert data["candidates"] == ["dpo", "other"]
    for measurement in run.measurements:
        if not measurement.scores or measurement.subject in ("longest", "shortest", "bag of words"):
            continue
        label = f"{measurement.metric.evaluation} · {measurement.metric.name}"
        entry = next(each for each in data["metrics"] if each["label"].split(" (")[0] == label)
        ids = data["examples"][entry["examples"]]["ids"]
        values = dict(zip(ids, entry["values"][measurement.subject], strict=True))
        assert values == {
            score.example_id: pytest.approx(score.total / score.count, rel=1e-5, abs=1e-12)
            for score in measurement.scores
        }


def test_texts_and_answers_go_with_their_examples(rich):
    """Prompts and sides of pairs, prompts and answers of generations; ids are stored once where they are shared."""
    data = _data(rich[1])
    by_metric = {entry["label"].split(" (")[0]: data["examples"][entry["examples"]] for entry in data["metrics"]}
    pairs = by_metric["preferences · reward_margin"]
    assert pairs is by_metric["preferences · accuracy"]
    place = pairs["ids"].index("e0007")
    assert pairs["prompts"][place] == "Question 7?"
    assert pairs["texts"]["rejected"][place] == "Bad 7."
    asked = by_metric["answers · answer_length"]
    assert asked["prompts"][0].startswith("What is bread?")
    assert asked["answers"]["dpo"][0].startswith("I cannot explain that.")
    assert by_metric["safety · perplexity"]["prompts"] is None
    assert data["metrics"][data["first"]]["label"] == "preferences · accuracy"


def test_missing_values_are_null(fakes):
    """An example without a count has no value, and a metric with a NaN is not there at all."""
    scores = fakes.scores([1.0, 2.0], counts=[0, 1])
    run = fakes.small_run({(fakes.PERPLEXITY, name): scores for name in ("base", "dpo")})
    assert _data(_page(run))["metrics"][0]["values"]["dpo"] == [None, 2.0]
    spoilt = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores([1.0, float("nan")]) for name in ("base", "dpo")})
    assert _data(_page(spoilt))["metrics"] == []


def test_changed_words_are_marked():
    """Words without a partner on the other side, and the spaces between answers' words stay out of the marks."""
    marked = mark_changes({"base": "Bread is a food.", "dpo": "Bread is a <soft> food."}, "base")
    assert marked == {"base": "Bread is a food.", "dpo": "Bread is a <mark>&lt;soft&gt;</mark> food."}
    marked = mark_changes({"base": "one two three", "dpo": "one 2 three"}, "base")
    assert marked == {"base": "one <mark>two</mark> three", "dpo": "one <mark>2</mark> three"}


def test_the_baseline_is_marked_where_no_candidate_keeps_its_words():
    """With several candidates, a word that one of them keeps is not marked."""
    marked = mark_changes({"base": "a b c", "one": "a c", "two": "a b"}, "base")
    assert marked == {"base": "a b c", "one": "a c", "two": "a b"}
    marked = mark_changes({"base": "a b c", "one": "a c", "two": "c"}, "base")
    assert marked["base"] == "a <mark>b</mark> c"


def test_nothing_is_marked_without_a_counterpart():
    """A baseline alone, or candidates without a baseline."""
    assert mark_changes({"base": "a b"}, "base") == {"base": "a b"}
    assert mark_changes({"dpo": "a < b"}, "base") == {"dpo": "a &lt; b"}


@given(st.dictionaries(st.sampled_from(["base", "one", "two"]), st.text(alphabet="ab <&\n", max_size=30)))
def test_marks_leave_the_text_as_it_is(answers):
    """Without its marks every answer is what it was; an answer that equals the baseline's has none."""
    marked = mark_changes(answers, "base")
    for name, answer in answers.items():
        assert html.unescape(re.sub(r"</?mark>", "", marked[name])) == answer
        if name != "base" and answer == answers.get("base"):
            assert "<mark>" not in marked[name]


def test_long_answers_and_many_prompts_are_cut_and_said(fakes):
    """The page names how much of an answer, and how many prompts, it does not show."""
    answers = [
        Generation("answers", f"q{n}", "base", "", "Why?", "word " * (LONGEST_ANSWER // 5 + 1), refused=False)
        for n in range(MOST_PROMPTS + 3)
    ]
    page = _page(replace(fakes.realistic_run(), generations=tuple(answers)))
    assert "\u2026 5 more characters" in page
    assert "3 more prompts are in generations.jsonl." in page
    assert page.count("<article>") == MOST_PROMPTS


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the largest memory from")
def test_fifty_thousand_examples_within_thirty_seconds_and_a_gibibyte(fakes, tmp_path):
    """`harness report` in all formats, in a process of its own that tells its largest memory at the end."""
    n, rng = 50_000, np.random.default_rng(0)
    tokens = rng.integers(5, 200, n)
    base = tokens * rng.normal(2, 0.3, n)
    measurements = [
        MetricScores(fakes.PERPLEXITY, name, fakes.scores(base + shift * tokens, tokens, np.arange(n)))
        for name, shift in (("base", 0), ("dpo", rng.normal(-0.02, 0.05, n)))
    ]
    texts = tuple(
        ExampleText(f"e{k:04d}", "truthfulness", "Some words. " * 20, {"right": "Yes. " * 20}) for k in range(n)
    )
    run = replace(
        fakes.small_run({}),
        subjects=(Subject("base", "baseline", ""), Subject("dpo", "candidate", "")),
        measurements=tuple(measurements),
        examples=texts,
    )
    write_run(run, tmp_path / "run")
    code = """
import atexit, sys
# VmHWM, because getrusage's peak is inherited from the process that started this one.
atexit.register(lambda: print([line for line in open("/proc/self/status") if "VmHWM" in line], file=sys.stderr))
from harness.cli import main
main()
"""
    arguments = ("report", tmp_path / "run", "--format", "md,csv,json,latex,html", "--out", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        timeout=30,
        cwd=Path(__file__).parents[4],
        stderr=subprocess.PIPE,
        text=True,
    )
    peak_kibibytes = int(re.findall(r"VmHWM:\\t *(\d+) kB", done.stderr)[-1])
    assert peak_kibibytes < 2**20
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000_000
