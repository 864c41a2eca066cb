"""Every difference with its methods, seeds, and what limits belief beyond the headline."""

from dataclasses import replace

import numpy as np
import pytest
from block_texts import lines_of, notes_in, tables_of, text_of

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import Subject
from reports.rendering.content.blocks import Table
from reports.rendering.content.differences import first_table
from reports.rendering.content.headline import headline
from reports.rendering.content.sections.limits import limits_section
from reports.rendering.content.sections.measured import measured_section, reference_text
from reports.rendering.content.sections.results import (
    MOST_ROWS,
    MOST_WIDE_ROWS,
    exploratory_section,
    methods_section,
    primary_section,
)
from reports.rendering.content.sections.seeds import seeds_section


def _primary(run):
    rows = compare(run)
    return primary_section(run, rows, first_table(run, rows, over_seeds(run, rows)), rows[0].candidate if rows else "")


def test_of_one_candidate_no_interval_stands_twice(fakes):
    """The first table has the numbers; what they rest on stands here, with the name that files have."""
    header, *rows = tables_of(_primary(fakes.realistic_run()))[0]
    assert "95 % interval" not in header
    assert "Difference" not in header
    metric = next(row for row in rows if row[0] == "Truthful answers, perplexity")
    assert metric[header.index("In files")] == "truthfulness/perplexity"
    assert metric[header.index("Narrowed by pairing")] == "4.3 (0.95)"
    assert metric[header.index("Interval by")] == "t and skewness"


@pytest.mark.parametrize("n_candidates", [2, 1 + MOST_WIDE_ROWS // 5])
def test_of_several_candidates_every_interval_is_here(fakes, n_candidates):
    """Each metric and candidate has its line; so many that they are long have their numbers alone."""
    names = tuple(f"lr {n}" for n in range(n_candidates))
    header, *rows = tables_of(_primary(fakes.realistic_run(names)))[0]
    assert {"Candidate", "Difference", "95 % interval", "Corrected p", "Verdict"} <= set(header)
    assert [row[1] for row in rows if row[0] == "Truthful answers, perplexity"] == list(names)
    assert ("Interval by" in header) == (len(rows) <= MOST_WIDE_ROWS)


def test_why_there_is_no_interval_is_a_footnote(fakes):
    """On the cell that lacks one."""
    run = fakes.small_run(
        {
            (fakes.MC1, name): fakes.scores(won)
            for name, won in {"base": [0, 1, 1], "a": [1, 1, 1], "b": [1, 0, 1]}.items()
        }
    )
    (table,) = _primary(run).blocks
    place = table.header.index("95 % interval")
    assert notes_in(table.rows[0][place]) == ["No interval: 3 groups; an interval needs 10."]


def test_exploratory_rows_are_hints_by_what_they_are_compared_with(fakes):
    """All rows of few candidates; of many those of the foremost, and where the others are."""
    run = fakes.sweep_run()
    rows = compare(run)
    section = exploratory_section(run, rows, fakes.LR)
    assert sum(len(table) - 1 for table in tables_of(section)) == sum(not row.metric.primary for row in rows)
    assert lines_of(section) == ["Against the baseline: hints, not claims", "Against controls and other candidates"]
    names = tuple(f"lr {n}" for n in range(MOST_ROWS // 4 + 1))
    many = fakes.realistic_run(names)
    crowded = exploratory_section(many, compare(many), "lr 3")
    (table,) = tables_of(crowded)
    assert "lr 3" in table[0]
    assert lines_of(crowded)[-1] == f"{4 * (len(names) - 1):,} rows of other candidates are in report.csv."


def test_methods_are_those_that_were_used(fakes):
    """Each with how many comparisons it judged, and the families of the correction."""
    run = fakes.realistic_run()
    lines = lines_of(methods_section(run, compare(run)))
    assert any(line.startswith("Interval by t and skewness (") for line in lines)
    assert not any("seeds and groups" in line for line in lines)
    assert any("over the 4 primary metrics of the candidates. Everything else" in line for line in lines)
    sweep = fakes.sweep_run()
    lines = lines_of(methods_section(sweep, compare(sweep)))
    chosen = (
        "the 6 primary metrics of the chosen candidate, and apart from these over the 5 primary metrics of the other"
    )
    assert any(
        chosen in line and line.endswith("those of each control. Everything else is exploratory.") for line in lines
    )


def test_seeds_are_judged_from_three_on(fakes):
    """Mean, deviation and interval of the recipe; of fewer seeds the differences alone."""
    run = fakes.sweep_run()
    section = seeds_section(run, over_seeds(run, compare(run)))
    header, *rows = tables_of(section)[0]
    judged = {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}
    of_three = judged["Truthful answers, perplexity", fakes.LR]
    assert (of_three["Adapters"], of_three["Mean difference"]) == ("3", "\u221218.1 %")
    assert " to " in of_three["95 % interval over seeds"]
    of_one = judged["Truthful answers, perplexity", "learning_rate=5e-6"]
    assert (of_one["95 % interval over seeds"], of_one["Verdict"]) == ("not judged", "not judged")
    assert seeds_section(fakes.realistic_run(), []).blocks == ()


def test_what_limits_belief_is_said_once(fakes):
    """The headline shows the two weightiest, this section those that it counts; another broken subject is named."""
    run = fakes.realistic_run(("dpo", "broken"))
    nan = [
        replace(each, scores=(replace(each.scores[0], total=np.nan), *each.scores[1:]))
        if each.subject == "broken" and each.metric == fakes.PERPLEXITY
        else each
        for each in run.measurements
    ]
    run = replace(run, measurements=tuple(nan))
    rows = compare(run)
    first = headline(run, rows, over_seeds(run, rows))
    lines = lines_of(limits_section(run, first))
    believe = next(line.text for line in first.lines if line.kind == "believe it?")
    assert len(first.limits) > 2
    assert lines[:-1] == list(first.limits[2:])
    assert not any(line.rstrip(".") in believe for line in lines)
    assert lines[-1].startswith("The log-probabilities of broken are not finite (NaN or infinite) in 1 metrics;")


def test_subjects_and_rows_are_counted(fakes):
    """Other weights are bold, and what was left out and touched is told by its reason."""
    run = fakes.sweep_run()
    subjects, counts = tables_of(measured_section(run))
    assert ["unquantised", "candidate", "base model, not quantised (different weights)", "\u2013"] in subjects
    assert [row[1] for row in subjects if row[0] == fakes.CONTROLS[0]] == ["control"]
    assert counts[1][-2:] == ["overlaps truthfulness: 80", "\u2013"]
    (table, *_) = (block for block in measured_section(run).blocks if isinstance(block, Table))
    assert text_of(table.rows[0][0]) == "base"


def test_the_table_of_subjects_has_reference_and_beta():
    """What is assumed is marked, what is not known is said to be so."""
    one = Subject("dpo", "candidate", "an adapter", "base", beta=0.25)
    assert reference_text(one) == "base, beta 0.25"
    assert reference_text(replace(one, beta_basis="assumed")) == "base, beta 0.25 (assumed)"
    assert reference_text(replace(one, reference_basis="assumed")) == "base (assumed), beta 0.25"
    assert reference_text(replace(one, reference_basis="unknown", reference=None)) == "not here"
    assert reference_text(replace(one, reference=None, beta=None)) == "\u2013"
