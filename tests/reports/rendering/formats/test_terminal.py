"""The terminal: headline and table last and on one screen, in any width, with marks, without control characters."""

import re
from dataclasses import replace
from pathlib import Path

import made_up_runs
import pytest
from reported import report_of, swept, twenty_candidates
from rich.cells import cell_len

from reports.comparing.compare import compare
from reports.rendering.content.display import MINUS, table_cells
from reports.rendering.content.report import Report
from reports.rendering.formats.terminal import Screen, page_line, terminal_report

HOSTILE = "a\x1b]52;c;aGk=\x07\x1b[2J\r\n\x00\u202eb [red]x[/] \x9b31m"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINES_AFTER = 2
"""Lines that a command prints below the report: the other files, and the page."""


@pytest.fixture(scope="module")
def default_like():
    """One candidate, as a default run has it, with its comparisons."""
    return report_of(made_up_runs.default_like_run())


@pytest.fixture(scope="module")
def sweep():
    """The report of four recipes of three seeds and two controls, at 80 columns."""
    return terminal_report(swept(), Screen(80))


@pytest.fixture(scope="module")
def many():
    """Twenty candidates, with their comparisons."""
    return twenty_candidates()


@pytest.fixture(scope="module")
def reports(default_like, fakes):
    """One candidate, a sweep, and two candidates, with their comparisons."""
    return default_like, report_of(fakes.sweep_run()), report_of(fakes.realistic_run("ab"))


def report(run, screen=Screen(80), **options):  # noqa: B008 - it is frozen
    """The report of a run of the fakes."""
    return terminal_report(report_of(run), screen, **options)


def test_one_candidate_fits_forty_lines(default_like):
    """At 80 columns, with everything that a command prints below it."""
    assert len(terminal_report(default_like, Screen(80)).splitlines()) + LINES_AFTER <= 40


def test_twenty_candidates_fit_sixty_lines(many):
    """A line a candidate at 80 columns, none left out."""
    lines = terminal_report(many, Screen(80)).splitlines()
    assert len(lines) + LINES_AFTER <= 60
    learning_rates = [name.partition("=")[2] for name in (s.name for s in many.run.candidates)]
    assert all(sum(line.startswith(rate) for line in lines) == 1 for rate in learning_rates)


@pytest.mark.parametrize("width", [40, 60, 76, 100, 160])
def test_every_line_is_as_wide_as_the_screen_at_most(reports, width):
    """Down to 60 columns, whatever is printed."""
    for shown in reports:
        for verbose in (False, True):
            text = terminal_report(shown, Screen(width), verbose=verbose)
            assert max(map(cell_len, text.splitlines())) <= max(width, 60)


def test_headline_and_table_come_last(default_like):
    """Exploratory rows and limits are printed on request, and above them."""
    short, long = (terminal_report(default_like, Screen(100), verbose=verbose) for verbose in (False, True))
    assert "Exploratory metrics" not in short
    assert "TruthfulQA, bits per byte" not in short
    above, exploratory, below = long.partition("Exploratory metrics: hints, not claims")
    assert not above
    assert exploratory
    assert (
        below.index("TruthfulQA, bits per byte")
        < below.index("Against surface rulers")
        < below.index("What limits belief")
    )
    last = below[below.index("What limits belief") :]
    assert last.index("\u25b2 gained") < last.index("adapter against baseline") < last.index("What it was trained for")
    assert " with -v" in short
    assert " with -v" not in long


@pytest.mark.parametrize("width", [60, 80, 100])
def test_all_numbers_of_a_metric_are_there_in_every_width(fakes, width):
    """Below the name where it is narrow, beside it where it is wide."""
    run = fakes.realistic_run()
    text = report(run, Screen(width))
    for row in compare(run):
        if row.primary and row.interval:
            shown = table_cells(row)
            for number in (shown.baseline, shown.candidate, shown.difference, shown.interval):
                assert number in text


def test_marks_have_words(default_like):
    """Beside them where there is room, and in a line below the table elsewhere."""
    narrow, wide = (terminal_report(default_like, Screen(width)) for width in (80, 100))
    legend = "\u25b2 better  \u25bc worse  \u2013 no change seen"
    assert legend in narrow
    assert legend not in wide
    assert re.search(r"\+13\.2 pp +\[\+7\.0, \+19\.0\] +\u25b2 better", wide)


def test_colours_are_for_claims_alone_and_marks_are_always_there(default_like):
    """Without colours the text is the same, and no escape sequence is in it."""
    plain, coloured = (terminal_report(default_like, Screen(80, colours)) for colours in (None, "256"))
    assert "\x1b" not in plain
    assert COLOUR.sub("", coloured) == plain
    rows_of_both = [
        (line, drawn)
        for line, drawn in zip(plain.splitlines(), coloured.splitlines(), strict=True)
        if re.search(r" (pp|%) +\[", line)
    ]
    assert len(rows_of_both) == sum(row.primary for row in default_like.comparisons)
    for line, drawn in rows_of_both:
        assert ("38;5;" in drawn) == ("\u25b2" in line or "\u25bc" in line)
    withheld = [replace(row, p_adjusted=1.0) if row.is_claim else row for row in default_like.comparisons]
    assert "38;5;" not in terminal_report(Report(default_like.run, withheld), Screen(80, "256"))


@pytest.mark.parametrize("names", [(HOSTILE,), (HOSTILE, "b"), tuple(f"{HOSTILE} {n}" for n in range(6))])
def test_no_control_character_of_a_name_reaches_the_terminal(fakes, names):
    """Sequences that set a clipboard, a title or a colour are printed as the letters they hold."""
    run = fakes.realistic_run(names)
    metric = replace(fakes.MC2, evaluation=HOSTILE, primary=True)
    measurements = (*run.measurements, *(replace(m, metric=metric) for m in run.measurements if m.metric == fakes.MC2))
    run = replace(run, headline=HOSTILE, measurements=measurements)
    for width in (60, 120):
        text = report(run, Screen(width), verbose=True)
        assert all(character.isprintable() for line in text.split("\n") for character in line)
        assert "[red]x[/]" in text


def test_wide_characters_count_as_two_columns(fakes):
    """Names in Chinese do not push the numbers out of the screen."""
    run = fakes.realistic_run(("\u504f\u597d\u6a21\u578b" * 3, "b"))
    assert max(map(cell_len, report(run).splitlines())) <= 80


def test_of_several_candidates_the_chosen_is_first_and_controls_last(sweep):
    """A line each, seeds as one, and what differs as the name."""
    text = sweep
    order = ["1e-5, 3 seeds \u2605", "5e-6, 3 seeds", "5e-5, 3 seeds", "1e-4, 3 seeds", "control: sft on"]
    assert [text.index(f"\n{name}") for name in order] == sorted(text.index(f"\n{name}") for name in order)
    assert "seed 42" not in text
    assert "\u2605 chosen" in text


def test_few_candidates_stand_beside_each_other(fakes):
    """A line a metric, with the difference of each; above four a line a candidate."""
    run = fakes.realistic_run(("one", "two", "three"))
    lines = report(run, Screen(100)).splitlines()
    assert any(re.fullmatch(r" +baseline +one +two +three", line) for line in lines)
    assert any(line.startswith("Truthful answers, perplexity") and line.count(" %") == 3 for line in lines)
    five = report(fakes.realistic_run(tuple("abcde")), Screen(100))
    assert "\nTruthful answers, perplexity" not in five


def test_footnotes_are_numbered_in_the_order_they_are_read(sweep):
    """Each is printed once, below the table."""
    table, _, notes = sweep.partition("\u2605 chosen")
    digits = "\u00b9\u00b2\u00b3\u2074\u2075"
    used = [character for character in table if character in digits]
    assert list(dict.fromkeys(used)) == [digit for digit in digits if digit in used]
    assert [character for character in notes if character in digits] == [digit for digit in digits if digit in used]


def test_a_run_without_candidates_says_so(fakes):
    """Instead of a table."""
    run = fakes.small_run({(fakes.PERPLEXITY, "base"): fakes.scores([1.0] * 12)})
    assert report(run) == "No candidate was measured, so nothing is compared."


def test_a_run_of_nothing_but_broken_numbers_names_them(fakes):
    """There is no table, and the line says what is missing and why."""
    nan = fakes.scores([float("nan")] * 12)
    run = fakes.small_run({(fakes.PERPLEXITY, "base"): fakes.scores([1.0] * 12), (fakes.PERPLEXITY, "dpo"): nan})
    text = report(run)
    assert "Not measured: Truthful answers, perplexity (numbers of dpo are not finite)." in text
    assert "95 %" not in text


def test_the_page_is_a_link_where_the_terminal_shows_links(tmp_path):
    """Elsewhere it is its path, and a path with spaces is a valid address."""
    page = tmp_path / "my run" / "report.html"
    assert page_line(page, Screen()) == str(page)
    link = page_line(page, Screen(links=True))
    assert link == f"\x1b]8;;file://{tmp_path}/my%20run/report.html\x1b\\{page}\x1b]8;;\x1b\\"
    assert page_line(Path("a\x1bb"), Screen()) == "a b"


def test_real_minus_signs(sweep):
    """Negative differences have a minus sign and not a hyphen."""
    assert f"{MINUS}1.88\u25b2" in sweep
