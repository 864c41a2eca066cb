"""Rulers, controls and other candidates: who makes the same gain, by which corrected test."""

from dataclasses import replace

import numpy as np
import pytest
from block_texts import lines_of, tables_of

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.rendering.content.headline import headline
from reports.rendering.content.sections.rivals import MOST_OTHERS, rivals_section


def _section(run):
    rows = compare(run)
    recipes = over_seeds(run, rows)
    return rivals_section(run, rows, recipes, headline(run, rows, recipes))


def _verdicts(run):
    """Map what the headline's subject is compared with to the verdicts, over all metrics."""
    found: dict[str, list[str]] = {}
    for header, *rows in tables_of(_section(run)):
        for row in rows:
            found.setdefault(row[header.index("Compared with")], []).append(row[header.index("Verdict")])
    return found


def _accuracy_run(fakes, n_won, rulers):
    sides = {(fakes.ACCURACY, "dpo"): [1] * n_won + [0] * (60 - n_won)}
    sides |= {(fakes.ACCURACY, name): won for name, won in rulers.items()}
    return fakes.small_run({key: fakes.scores(won) for key, won in sides.items()})


def test_ahead_of_a_ruler_is_corrected_over_rulers(fakes):
    """An interval clear of zero against one of three rulers does not do where it would not remain after Holm."""
    close = [1] * 35 + [0] * 25
    names = ("longest", "shortest", "bag of words")
    together = _accuracy_run(fakes, 40, dict.fromkeys(names, close))
    alone = _accuracy_run(fakes, 40, {"longest": close})
    assert all(0.05 / 3 < row.p_value <= 0.05 for row in compare(together) if row.against == "ruler")
    assert _verdicts(alone) == {"longest": ["\u25b2 ahead"]}
    assert _verdicts(together) == {name: ["\u2013 not told apart"] for name in names}


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [(-0.3, "\u25b2 ahead"), (0.3, "\u25bc behind"), (0.0, "\u2013 not told apart")],
)
def test_a_lower_perplexity_counts_only_ahead_of_the_controls(fakes, gap, verdict):
    """Better than the baseline either way, and the control tells whether that is more than fluency."""
    noise, other = np.random.default_rng(1).normal(0, 0.05, (2, 40))
    base = np.full(40, 2.0)
    sides = {"base": base, "dpo": base - 0.5 + noise + gap, "shuffled": base - 0.5 + other}
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()})
    changes = {"dpo": {"compared_with": ("shuffled", "nobody")}, "shuffled": {"is_control": True}}
    run = replace(run, subjects=tuple(replace(each, **changes.get(each.name, {})) for each in run.subjects))
    assert next(row.outcome for row in compare(run) if row.primary) == "better"
    assert _verdicts(run) == {"shuffled": [verdict]}
    assert "Against nobody: no primary metric in common." in lines_of(_section(run))


def test_a_recipe_is_held_to_its_controls_over_its_seeds(fakes):
    """The first table is that of the recipe that the headline is about, with the mean of its adapters."""
    section = _section(fakes.sweep_run())
    assert lines_of(section)[0].startswith(f"{fakes.LR} against controls")
    header, *rows = tables_of(section)[0]
    assert fakes.LR in header
    assert {row[1] for row in rows} == set(fakes.CONTROLS)
    of_accuracy = [row for row in rows if row[0] == "Preferred answers, accuracy"]
    assert {row[3] for row in of_accuracy} == {"83.3 %"}


def test_what_a_candidate_was_made_from_is_said(fakes):
    """Merged from an adapter, started from other weights."""
    lines = lines_of(_section(fakes.sweep_run()))
    assert f"merged against {fakes.LR}, seed 42 is what merging it changed." in lines
    assert "merged started from unquantised." in lines


def test_of_many_others_only_the_names_are_given(fakes):
    """Their tables would be longer than everything else; the file of numbers has them."""
    names = tuple(f"lr {n}" for n in range(MOST_OTHERS + 2))
    section = _section(fakes.realistic_run(names))
    assert len(tables_of(section)) == 1
    assert lines_of(section)[-1].endswith(f"in report.csv: {', '.join(names[1:])}.")
    few = _section(fakes.realistic_run(names[: MOST_OTHERS + 1]))
    assert len(tables_of(few)) == MOST_OTHERS + 1
