"""LaTeX tables: names for people, columns of siunitx, numbered footnotes; they compile, whatever names hold."""

import re
import shutil
import subprocess
from dataclasses import replace
from typing import get_args

import made_up_runs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported import report_of

from reports.comparing.compare import compare
from reports.comparing.inference import Method
from reports.rendering.content.display import MINUS, table_cells
from reports.rendering.content.names import metric_names
from reports.rendering.content.report import Report
from reports.rendering.formats.latex import latex_report, latex_text
from reports.rendering.formats.latex.report import _METHODS, MOST_COLUMNS
from reports.rendering.formats.latex.table import MOST_LINES, RULE, pages
from reports.rendering.formats.latex.text import number_cell, number_column, superscript

NASTY = r"""\undefined 50% of $x_1 & {a}^~#"b" <script>|--``''/\\ "—…é ß 中文 😀 """ + "\u2013\u2028\n\t%"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Compiles a document and returns its log; errors fail the test."""
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if engine is None:
        pytest.skip("no TeX engine: install pdflatex or tectonic")
    if engine.endswith("pdflatex"):
        found = subprocess.run(["kpsewhich", "siunitx.sty", "booktabs.sty"], capture_output=True, check=False)
        if found.returncode:
            pytest.skip("pdflatex without siunitx or booktabs: install texlive-science and texlive-latex-recommended")

    def compile_document(text, **others):
        folder = tmp_path_factory.mktemp("tex")
        for name, content in ({"document": text} | others).items():
            (folder / f"{name}.tex").write_text(content, encoding="utf-8")
        options = ["-interaction=nonstopmode", "-halt-on-error"] if engine.endswith("pdflatex") else ["--keep-logs"]
        done = subprocess.run([engine, *options, "document.tex"], cwd=folder, capture_output=True, check=False)
        log = (folder / "document.log").read_text(encoding="utf-8", errors="replace")
        assert done.returncode == 0, log[-3000:]
        assert (folder / "document.pdf").stat().st_size > 1000
        return log

    return compile_document


def _report(run, **options):
    return latex_report(report_of(run), **options)


def _rows(report):
    """Cells of the lines of all tables."""
    lines = [line.removeprefix("    ") for line in report.splitlines() if line.endswith(r"\\")]
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


def test_it_compiles_as_it_is(fakes, compiled):
    """One candidate, many candidates and the published layout give a document, and no table is too wide."""
    for run, options in (
        (fakes.realistic_run(), {}),
        (made_up_runs.default_like_run(), {}),
        (made_up_runs.many_run(5, 60), {}),
        (fakes.sweep_run(), {}),
        (fakes.sweep_run(), {"layout": "published"}),
        (fakes.small_run({}), {}),
    ):
        log = compiled(_report(run, **options))
        assert "Overfull" not in log
        assert "Missing character" not in log


def test_it_stands_in_a_paper(fakes, compiled):
    """Two columns, OT1 fonts, text before and after: the same file through an input."""
    paper = (
        r"\documentclass[twocolumn]{article}\usepackage{booktabs,siunitx}\begin{document}A\input{table}B\end{document}"
    )
    log = compiled(paper, table=_report(fakes.sweep_run()))
    assert "Overfull" not in log


def test_text_of_the_data_compiles(fakes, compiled):
    """Commands, brackets, scripts of the world and line breaks in a name are text."""
    run = fakes.realistic_run((NASTY, "b"))
    compiled(_report(replace(run, headline=NASTY)))


@given(st.text())
def test_every_text_is_literal(text):
    """No character that LaTeX acts upon is left, but in the commands that print it."""
    escaped = latex_text(text)
    commands = r"\\ensuremath\{(?:-|\\[a-z]+)\}|\\text[a-z]+\{\}|\\(?:allowbreak|dots)\{\}"
    bare = re.sub(commands + r"|\\[&%$#{}_]|-\{\}|\{[\[*]\}|~", "", escaped)
    assert not set("&%$#{}_^\\\n") & set(bare)
    assert escaped.isascii() or all(ord(character) < 0x100 for character in escaped)


@pytest.mark.parametrize(
    ("text", "mark", "expected"),
    [
        ("+13.2 pp", "", "+13.2"),
        (f"{MINUS}0.24 %", "", "-0.24"),
        ("1,166", "", "1166"),
        ("+13.2 pp", "*", "+13.2 {*}"),
        ("\u2013", "", "{--}"),
        ("\u221e", "", r"{\ensuremath{\infty}}"),
        ("1.200e+06", "*", "{1.200e+06*}"),
        ("", "", "{--}"),
    ],
)
def test_a_number_is_one_for_siunitx(text, mark, expected):
    """Without its unit and its commas; what is none stands in braces, where siunitx takes it as text."""
    assert number_cell(text, mark) == expected


def test_a_column_has_room_for_its_widest_number():
    """Digits on both sides, a sign if any cell has one, and the widest mark."""
    assert number_column(["1.25", "10.5", "{--}"]) == "S[table-format=2.2]"
    assert number_column(["-0.25", "+3 {*}"]) == "S[table-format=+1.2,retain-explicit-plus,table-space-text-post={*}]"
    assert number_column(["{--}"]) == "S[table-format=1.0]"


def test_numbers_are_those_of_the_first_table(fakes):
    """Every primary metric that was measured has a line with its numbers, its corrected p and its outcome."""
    run = fakes.realistic_run()
    primary = [row for row in compare(run) if row.primary and row.difference is not None]
    header, *lines = _rows(_report(run))
    assert header[1:4] == ["{Baseline}", "{Candidate}", "{Difference}"]
    rows = {line[0].partition(r"\textsuperscript")[0]: line for line in lines if len(line) > 1}
    assert len(rows) == len(primary)
    for comparison in primary:
        shown, row = table_cells(comparison), rows[latex_text(metric_names(run)[comparison.metric])]
        assert row[1:4] == [number_cell(text) for text in (shown.baseline, shown.candidate, shown.difference)]
        low, high = row[4:6]
        assert shown.interval == f"[{low}, {high}]".replace("-", MINUS)
        assert row[-2:] == [str(comparison.n), comparison.outcome]


def test_names_are_those_for_people_and_outcomes_the_corrected_words(fakes):
    """No machine name is left, and what is clear by itself alone is no change seen, with a hollow mark."""
    run = fakes.realistic_run()
    comparisons = compare(run)
    report = latex_report(Report(run, comparisons))
    assert "Truthful answers, perplexity" in report
    assert "truthfulness" not in report
    failing = [replace(row, p_adjusted=0.2) if row.is_claim and row.is_clear else row for row in comparisons]
    without = latex_report(Report(run, failing))
    assert "& better" not in without
    assert "& worse" not in without
    assert r"& no change seen \ensuremath{\bigtriangleup}" in without
    assert (
        "clear only before correction for the number of comparisons (intervals are uncorrected): not claimed."
        in without
    )


def test_footnotes_are_numbered_and_printed_once(fakes):
    """In the order of their first use, below the table that uses them."""
    report = _report(fakes.sweep_run())
    table, _, notes = report.partition(r"\end{tabular}")
    marks = [int(n) for found in re.findall(r"\\textsuperscript\{([\d,]+)\}", table) for n in found.split(",")]
    printed = [int(n) for n in re.findall(r"\\textsuperscript\{(\d+)\}~", notes)]
    assert marks
    assert printed == sorted(set(marks)) == list(range(1, len(printed) + 1))
    assert superscript(()) == ""


def test_the_caption_names_n_and_method(fakes):
    """How many examples in how many groups, how the intervals came about, and what was not measured."""
    run = fakes.realistic_run()
    caption = next(line for line in _report(run).splitlines() if "caption" in line)
    assert "70 to 150 examples in 60 to 150 groups" in caption
    assert "intervals by" in caption
    assert "Hall's for skewness" in caption
    assert latex_text(run.headline) in caption
    assert "Not measured: Coreference answers, perplexity (the role coreference is empty)." in caption


def test_every_method_has_its_words():
    """No interval of a table comes about in a way that the caption does not name."""
    assert set(_METHODS) == set(get_args(Method))


def test_several_candidates_are_a_matrix(fakes):
    """A line a candidate, the chosen one first, seeds as one with their range, rules above controls and base models."""
    report = _report(fakes.sweep_run())
    header, baseline, *rows = _rows(report)
    assert header[0] == "Candidate"
    assert "Preferred answers, accuracy, pp" in header[1]
    assert baseline == ["baseline", r"{chance, 50 \%}", "{7.389}"]
    names = [row[0] for row in rows if row[0]]
    assert names[0] == r"1e-{}5, 3 seeds (chosen)"
    assert names[-1].startswith("unquantised (base model)\\textsuperscript{")
    assert [name.startswith("control") for name in names] == [False, False, False, True, True, False]
    assert rows[1][2] == r"{\scriptsize \ensuremath{-}25.9 to \ensuremath{-}9.5}"
    assert report.count(r"\midrule") == 4
    assert "Other weights than the baseline's" in report


def test_a_claim_of_a_matrix_has_an_asterisk(fakes):
    """Exactly where the outcome is corrected and clear; what cannot be told has a question mark, and both are said."""
    run = fakes.realistic_run(("a", "b"))
    comparisons = [row for row in compare(run) if row.primary and row.difference is not None]
    report = _report(run)
    clear = [row for row in comparisons if row.outcome in ("better", "worse", "higher", "lower")]
    body = report.split(r"\midrule", 1)[1]
    assert clear
    assert body.count(r"$\ast$") == len(clear)
    assert r"$\ast$: clear after correction." in report
    assert ("?: cannot tell." in report) == any(row.outcome == "cannot tell" for row in comparisons)


def test_wide_and_long_tables_are_continued():
    """No table holds more lines than a page or more columns than its width, and a recipe is not torn apart."""
    run = made_up_runs.many_run(5, 60)
    tables = _report(run).split(r"\begin{table*}")[1:]
    assert len(tables) == 2
    assert r"\caption{Continued.}" in tables[1]
    many = pages([["a", "b"]] * MOST_LINES)
    assert [len(page) for page in many] == [MOST_LINES] * 2
    assert pages([[RULE, "a"]]) == [["a"]]


def test_the_published_layout(fakes):
    """Rows are sets by the names of people, columns are subjects, published figures beside ours, in both averages."""
    report = _report(fakes.sweep_run(), layout="published")
    header, row, *_ = _rows(report)
    assert header[0] == "Set"
    assert ["base}" in cell for cell in header] == [False, True, True] + [False] * (MOST_COLUMNS - 2)
    assert r"\raggedleft published: base}" in header[2]
    assert row[:3] == ["Truthful answers", "2.000", "2.375"]
    assert "S[table-format=1.3]" in report
    assert report.count(r"\begin{table*}") == 2 * 2  # ten columns in two tables, for two averages
    assert "averaged over tokens" in report
    assert "averaged over examples" in report
    assert "how it averages is not said" in report


def test_nothing_measured_is_said(fakes):
    """A run without candidates or perplexities gives a sentence, not an empty table."""
    run = fakes.small_run({})
    assert "No candidate was measured" in _report(run)
    assert "No perplexity was measured." in _report(run, layout="published")
