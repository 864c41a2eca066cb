"""LaTeX tables: they compile as they are and inside of a paper, whatever names and data hold."""

import re
import shutil
import subprocess
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comparing.compare import compare
from reports.comparing.inference import Method
from reports.rendering.content.display import cells
from reports.rendering.formats.latex import _METHODS, MOST_COLUMNS, MOST_LINES, latex_report, latex_text

NASTY = r"""\undefined 50% of $x_1 & {a}^~#"b" <script>|--``''/\\ "—…é ß 中文 😀 """ + "\u2013\u2028\n\t%"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Compiles a document and returns its log; errors fail the test."""
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if engine is None:
        pytest.skip("no TeX engine: install pdflatex or tectonic")

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
    return latex_report(run, compare(run), **options)


def _rows(report):
    """Cells of the lines of all tables."""
    return [line.strip().removesuffix(r" \\").split(" & ") for line in report.splitlines() if line.endswith(r"\\")]


def test_it_compiles_as_it_is(fakes, compiled):
    """One candidate, many candidates and the published layout give a document, and no table is too wide."""
    for run, options in (
        (fakes.realistic_run(), {}),
        (fakes.sweep_run(), {}),
        (fakes.sweep_run(), {"layout": "published"}),
        (fakes.small_run({}), {}),
    ):
        log = compiled(_report(run, **options))
        assert "Overfull" not in log
        assert "Missing character" not in log


def test_it_stands_in_a_paper(fakes, compiled):
    """Two columns, OT1 fonts, text before and after: the same file through an input."""
    paper = r"\documentclass[twocolumn]{article}\usepackage{booktabs}\begin{document}A\input{table}B\end{document}"
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
    bare = re.sub(
        r"\\ensuremath\{(?:-|\\[a-z]+)\}|\\text[a-z]+\{\}|\\(?:allowbreak|dots)\{\}|\\[&%$#{}_]|-\{\}|~", "", escaped
    )
    assert not set("&%$#{}_^\\\n") & set(bare)
    assert escaped.isascii() or all(ord(character) < 0x100 for character in escaped)


def test_cells_are_those_of_the_markdown(fakes):
    """Every number of a primary metric stands in its row, with a real minus sign."""
    run = fakes.realistic_run()
    primary = [row for row in compare(run) if row.primary]
    header, *rows = _rows(_report(run))
    assert header == ["Metric", "Baseline", "Value", "Difference", r"95\,\% interval", "Corrected $p$", "$n$"]
    assert len(rows) == len(primary)
    for row, comparison in zip(rows, primary, strict=True):
        shown = cells(comparison)
        assert row[1] == latex_text(shown.baseline)
        assert row[3].removesuffix("$^{*}$") == latex_text(shown.difference)
        assert row[4] == latex_text(shown.interval)
        assert row[6] == str(comparison.n)


def test_marks_of_significance_take_the_corrected_p(fakes):
    """A star stands where the interval is clear of zero and p at most 0.05 after correction; the caption says so."""
    run = fakes.realistic_run()
    comparisons = compare(run)
    starred = {
        line.split(r" \ensuremath{\cdot}")[0].strip() for line in _report(run).splitlines() if "$^{*}$ &" in line
    }
    expected = {
        row.metric.evaluation
        for row in comparisons
        if row.primary and row.outcome in ("better", "worse") and (row.p_adjusted or 1) <= 0.05
    }
    assert starred == expected
    assert expected
    assert "$^{*}$: at most 0.05." in _report(run)
    without = [replace(row, p_adjusted=0.2) if row.p_adjusted is not None else row for row in comparisons]
    assert "$^{*}$" not in latex_report(run, without)


def test_the_caption_names_n_and_method(fakes):
    """How many examples in how many groups, and how the intervals came about."""
    run = fakes.realistic_run()
    caption = next(line for line in _report(run).splitlines() if "caption" in line)
    assert "examples, 70 to 150 in 60 to 150 groups" in caption
    assert "Intervals by" in caption
    assert "Hall's for skewness" in caption
    assert latex_text(run.headline) in caption


def test_every_method_has_its_words():
    """No interval of a table comes about in a way that the caption does not name."""
    assert set(_METHODS) == set(get_args(Method))


def test_many_candidates_stand_under_their_metric(fakes):
    """A metric is named once, its candidates below it, and other weights are marked."""
    report = _report(fakes.sweep_run())
    assert report.count(r"\textbf{truthfulness") == 1
    assert report.count(r"\quad merged \ensuremath{\dagger}") == 2
    assert r"$\dagger$: weights other than the baseline's." in report


def test_long_tables_are_continued(fakes):
    """No table holds more lines than a page, and a metric is not torn apart."""
    run = fakes.realistic_run(tuple(f"candidate {place}" for place in range(15)))
    report = _report(run)
    tables = report.split(r"\begin{table*}")[1:]
    assert len(tables) > 1
    assert r"\caption{Continued.}" in tables[1]
    for table in tables:
        lines = table.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(lines) <= MOST_LINES
        assert "textbf" in lines[0]


def test_the_published_layout(fakes):
    """Rows are sets, columns are subjects, published figures beside ours, in both averages."""
    report = _report(fakes.sweep_run(), layout="published")
    header, row, *_ = _rows(report)
    assert header[0] == "Set"
    assert ["base}" in cell for cell in header] == [False, True, True] + [False] * (MOST_COLUMNS - 2)
    assert r"\raggedleft published: base}" in header[2]
    assert row[:3] == ["truthfulness", "2.000", "2.375"]
    assert report.count(r"\begin{table*}") == 2 * 2  # ten columns in two tables, for two averages
    assert "averaged over tokens" in report
    assert "averaged over examples" in report
    assert "how it averages is not said" in report


def test_nothing_measured_is_said(fakes):
    """A run without candidates or perplexities gives a sentence, not an empty table."""
    run = fakes.small_run({})
    assert "No candidate was measured" in _report(run)
    assert "No perplexity was measured." in _report(run, layout="published")
