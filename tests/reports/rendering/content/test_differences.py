"""The table that a report opens with: what is in it, in which order, in which words, and with which footnotes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import EvaluationCounts, Gate, MetricScores
from reports.rendering.content.differences import DifferenceTable, Matrix, first_table
from reports.rendering.content.display import MINUS, NOTHING


def table(run):
    """The first table of a run."""
    rows = compare(run)
    return first_table(run, rows, over_seeds(run, rows))


def rows_by_metric(found: DifferenceTable):
    """Rows of all parts by the machine name of their metric."""
    return {(r.comparison.metric.evaluation, r.comparison.metric.name): r for part in found.parts for r in part.rows}


def notes_of(found: DifferenceTable) -> str:
    """All footnotes of all rows."""
    return " ".join(note for row in rows_by_metric(found).values() for note in row.notes)


def test_one_candidate_has_its_primary_metrics_in_parts_that_share_a_unit(fakes):
    """What it was trained for, then accuracies, then perplexities; nothing exploratory, no ruler, nothing missing."""
    found = table(fakes.realistic_run())
    assert isinstance(found, DifferenceTable)
    assert (found.subject, found.baseline) == ("dpo", "base")
    titles = [(part.title, part.unit, part.higher_is_better) for part in found.parts]
    assert titles == [
        ("What it was trained for (higher is better)", "pp", True),
        ("Accuracy (higher is better)", "pp", True),
        ("Perplexity of reference answers (lower is better)", "%", False),
        ("Perplexity of reference answers", "%", None),
    ]
    assert all(row.comparison.primary for row in rows_by_metric(found).values())
    assert found.notes == ("Not measured: Coreference answers, perplexity (the role coreference is empty).",)


def test_a_row_says_what_it_was_measured_on(fakes):
    """Rows and groups in the words of the data; a group a row is not said twice, and chance is no measured value."""
    run = fakes.realistic_run()
    pairs = replace(fakes.ACCURACY, unit="share of pairs")
    measurements = tuple(
        replace(each, metric=pairs) if each.metric == fakes.ACCURACY else each for each in run.measurements
    )
    known = EvaluationCounts("preferences", "hh", 120, 120, 60, dataset_name="Anthropic/hh-rlhf:helpful-base")
    rows = rows_by_metric(table(replace(run, measurements=measurements, counts=(known,))))
    assert rows["preferences", "accuracy"].detail == "120 pairs, 60 prompts"
    assert rows["truthfulness", "perplexity"].detail == "70 examples"
    assert rows["preferences", "accuracy"].cells.baseline == "chance, 50 %"


def test_a_recipe_of_three_seeds_is_one_subject_with_its_spread(fakes):
    """Alone in a run it has a table of its own: mean, interval and outcome over seeds, and its adapters' range."""
    run = fakes.sweep_run()
    kept = {"base", *(s.name for s in run.subjects if s.recipe == fakes.LR)}
    run = replace(
        run,
        subjects=tuple(replace(s, compared_with=()) for s in run.subjects if s.name in kept),
        measurements=tuple(m for m in run.measurements if m.subject in kept),
    )
    found = table(run)
    assert isinstance(found, DifferenceTable)
    assert found.subject == fakes.LR
    row = rows_by_metric(found)["truthfulness", "perplexity"]
    # Shifts of 1.5, 3 and 4.5 nats a response are 0.1, 0.2 and 0.3 nats per token.
    low, high = (100 * math.expm1(-shift) for shift in (0.3, 0.1))
    assert row.seeds == f"3 seeds, {MINUS}{-low:.1f} to {MINUS}{-high:.1f} %"
    assert row.cells.difference == f"{MINUS}{-100 * math.expm1(-0.2):.1f} %"
    assert row.outcome == row.comparison.outcome
    assert row.comparison.method == "seeds and groups"
    assert any("Fewer than 30 groups" in note for note in row.notes)


def test_several_candidates_are_a_matrix_with_the_chosen_first_and_controls_last(fakes):
    """Seeds of a judged recipe are one row, a recipe of one seed is its adapter, a base model stands apart."""
    found = table(fakes.sweep_run())
    assert isinstance(found, Matrix)
    assert [(row.subject, row.n_seeds) for row in found.rows] == [
        *((fakes.LR, 3), ("learning_rate=5e-6", 1), ("merged", 1)),
        *((name, 1) for name in fakes.CONTROLS),
        ("unquantised", 1),
    ]
    assert [row.is_chosen for row in found.rows] == [True, *[False] * 5]
    assert [row.is_control for row in found.rows] == [False] * 3 + [True] * 2 + [False]
    assert [row.is_base for row in found.rows] == [False] * 5 + [True]
    assert found.metrics == ("Preferred answers, accuracy", "Truthful answers, perplexity")
    assert found.units == ("pp", "%")
    assert found.baseline_values == ("chance, 50 %", "7.389")
    assert found.parts == (
        "What it was trained for (higher is better)",
        "Perplexity of reference answers (lower is better)",
    )
    assert any(words.startswith("\u2605 chosen: did best on ") for words in found.legend)
    assert "Other weights" in found.rows[2].notes[0]
    cell = found.rows[0].cells[1]
    assert cell.text == f"{MINUS}18.1 %"
    assert cell.spread == f"{MINUS}25.9 to {MINUS}9.5 %"
    assert cell.outcome == cell.comparison.outcome


def test_a_metric_that_one_candidate_lacks_is_an_empty_cell(fakes):
    """A base model has no reward at all; an adapter that broke has its reason in a footnote."""
    run = fakes.sweep_run()
    broken = MetricScores(fakes.PERPLEXITY, fakes.CONTROLS[0], fakes.scores([math.nan] * 12))
    others = [m for m in run.measurements if (m.metric, m.subject) != (fakes.PERPLEXITY, fakes.CONTROLS[0])]
    cells = {row.subject: row.cells for row in table(replace(run, measurements=(*others, broken))).rows}
    assert (cells["unquantised"][0].comparison, cells["unquantised"][0].text) == (None, NOTHING)
    cell = cells[fakes.CONTROLS[0]][1]
    assert (cell.text, cell.outcome) == (NOTHING, "not measured")
    assert cell.notes == (f"Not measured: numbers of {fakes.CONTROLS[0]} are not finite.",)


def test_a_base_model_beside_one_candidate_makes_no_matrix(fakes):
    """The candidate keeps its intervals, and the base model is named below."""
    run = fakes.sweep_run()
    kept = {"base", "learning_rate=5e-6", "unquantised"}
    run = replace(
        run,
        subjects=tuple(replace(s, compared_with=()) for s in run.subjects if s.name in kept),
        measurements=tuple(m for m in run.measurements if m.subject in kept),
    )
    found = table(run)
    assert isinstance(found, DifferenceTable)
    assert found.subject == "learning_rate=5e-6"
    assert found.notes == ("Also measured: unquantised.",)


def test_no_candidate_has_no_table(fakes):
    """A run of the baseline alone."""
    assert table(fakes.small_run({(fakes.PERPLEXITY, "base"): fakes.scores([1.0] * 12)})) is None


def test_numbers_that_are_not_finite_leave_a_table_without_rows(fakes):
    """One line names all metrics and whose numbers are broken."""
    sides = {
        (metric, name): fakes.scores([math.nan if name == "dpo" else 1.0] * 12)
        for metric in (fakes.PERPLEXITY, fakes.SAFETY)
        for name in ("base", "dpo")
    }
    found = table(fakes.small_run(sides))
    assert found.parts == ()
    assert found.notes == (
        "Not measured: Truthful answers, perplexity; Safe answers, perplexity (numbers of dpo are not finite).",
    )


def test_a_seed_that_is_not_finite_is_named(fakes):
    """Its recipe has no mean, and the footnote says whose numbers are broken instead of "no difference"."""
    run, name = fakes.sweep_run(), f"{fakes.LR}, seed 43"
    broken = MetricScores(fakes.PERPLEXITY, name, fakes.scores([math.nan] * 12))
    others = [m for m in run.measurements if (m.metric, m.subject) != (fakes.PERPLEXITY, name)]
    found = table(replace(run, measurements=(*others, broken)))
    assert found.rows[0].cells[1].notes == (f"Not measured: numbers of {name} are not finite.",)


def _footnotes(fakes, low, high, *, n=40, ceiling=None, counts=10.0, gate=None, shift=0.0):
    """Footnotes of one perplexity whose difference varies between low and high over n groups."""
    rng = np.random.default_rng(1)
    base = rng.normal(20, 2, n)
    metric = replace(fakes.PERPLEXITY, uninformative=ceiling)
    sides = {
        (metric, "base"): fakes.scores(base, np.full(n, counts)),
        (metric, "dpo"): fakes.scores(base + shift + rng.uniform(low, high, n), np.full(n, counts)),
    }
    gates = (Gate("truthfulness/perplexity", largest_loss=gate, relative=True),) if gate else ()
    return notes_of(table(replace(fakes.small_run(sides), gates=gates)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"low": -1.0, "high": 1.0, "n": 12}, "Fewer than 30 groups"),
        ({"low": -1.0, "high": 1.0, "n": 5}, "No interval: 5 groups; an interval needs 10."),
        ({"low": 0.0, "high": 0.0}, "The same scores on every example."),
        ({"low": -0.1, "high": 0.1, "gate": 0.1}, "Unchanged within 10.0 %, the margin of its gate"),
        ({"low": -1.0, "high": 1.0, "ceiling": 1.0}, "Above 2, the tokens of the vocabulary"),
        ({"low": -1.0, "high": 1.0}, ""),
    ],
)
def test_footnotes_of_a_row(fakes, options, expected):
    """Each caution stands where it holds and nowhere else."""
    notes = _footnotes(fakes, **options)
    assert notes.startswith(expected)
    assert bool(notes) == bool(expected)


def test_a_long_tail_is_noted(fakes):
    """One group in forty with a large rise: claims of a fall take more."""
    rises = [0.01] * 39 + [5.0]
    base = np.full(40, 20.0)
    sides = {
        (fakes.PERPLEXITY, "base"): fakes.scores(base),
        (fakes.PERPLEXITY, "dpo"): fakes.scores(base + np.array(rises)),
    }
    assert "A few of its groups rise far more than the rest: the interval is lopsided" in notes_of(
        table(fakes.small_run(sides))
    )


def test_what_fails_correction_and_what_is_assumed_is_noted(fakes):
    """The words depend on the facts of the comparison and of the subject alone."""
    run = fakes.realistic_run()
    rows = compare(run)
    found = first_table(run, rows, [])
    assert not any(row.remark for row in rows_by_metric(found).values())
    assert not any("correction" in words for words in found.legend)
    failing = [replace(row, p_adjusted=0.2) if row.is_clear and row.is_claim else row for row in rows]
    found = first_table(run, failing, [])
    remarks = {row.remark for row in rows_by_metric(found).values() if row.comparison.fails_correction}
    assert remarks == {"clear only before correction"}
    assert any(
        words.endswith(
            "clear only before correction for the number of comparisons (intervals are uncorrected): not claimed"
        )
        for words in found.legend
    )
    basis = {"reference": "base", "beta": 0.1, "beta_basis": "assumed"}
    assumed = tuple(replace(s, **basis) if s.name == "dpo" else s for s in run.subjects)
    found = rows_by_metric(first_table(replace(run, subjects=assumed), rows, []))
    assert "they are assumed" in " ".join(found["preferences", "accuracy"].notes)
    assert "assumed" not in " ".join(found["truthfulness", "perplexity"].notes)


def test_what_its_twin_contradicts_is_not_called_unchanged(fakes):
    """The footnote says by how much the metric without the end of turn changed."""
    run = fakes.realistic_run()
    rows = [
        replace(row, margin=0.5, p_unchanged=0.001, difference=0.01, twin_difference=-0.05)
        if row.metric == fakes.PERPLEXITY
        else row
        for row in compare(run)
    ]
    notes = " ".join(rows_by_metric(first_table(run, rows, []))["truthfulness", "perplexity"].notes)
    assert "not called unchanged: perplexity_without_eos changed by" in notes
    assert "Unchanged within" not in notes
