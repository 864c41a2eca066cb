"""Rulers, controls and other candidates: who makes the same gain, by which corrected test."""

from dataclasses import replace

import numpy as np
import pytest
from block_texts import flat, lines_of, notes_in, tables_of, text_of

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.rendering.content.blocks import Folded, Table
from reports.rendering.content.display import MINUS
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


def _beside_a_control(fakes, shifts, control_shifts, metric):
    """A candidate and a control whose scores lie so far off the baseline's."""
    base = np.full(40, 2.0)
    sides = {"base": base, "dpo": base + shifts, "shuffled": base + control_shifts}
    run = fakes.small_run({(metric, name): fakes.scores(rows) for name, rows in sides.items()})
    changes = {"dpo": {"compared_with": ("shuffled", "nobody")}, "shuffled": {"is_control": True}}
    return replace(run, subjects=tuple(replace(each, **changes.get(each.name, {})) for each in run.subjects))


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
    run = _beside_a_control(fakes, -0.5 + noise + gap, -0.5 + other, fakes.PERPLEXITY)
    assert next(row.outcome for row in compare(run) if row.primary) == "better"
    assert _verdicts(run) == {"shuffled": [verdict]}
    assert "Against nobody: no primary metric in common." in lines_of(_section(run))


@pytest.mark.parametrize(("gap", "verdict"), [(0.3, "\u2191 higher"), (-0.3, "\u2193 lower")])
def test_without_a_direction_nothing_is_ahead(fakes, gap, verdict):
    """A metric of which neither way is better is above or below its control."""
    noise, other = np.random.default_rng(2).normal(0, 0.05, (2, 40))
    assert _verdicts(_beside_a_control(fakes, noise + gap, other, fakes.SAFETY)) == {"shuffled": [verdict]}


def test_a_control_with_the_same_scores_is_no_one_to_be_ahead_of(fakes):
    """Identical scores claim nothing, however far both lie off the baseline's."""
    run = _beside_a_control(fakes, 0.1, 0.1, fakes.PERPLEXITY)
    assert _verdicts(run) == {"shuffled": ["\u2013 not told apart"]}


def test_a_ruler_that_does_as_well_has_its_paired_test_in_the_row(fakes):
    """Ahead of one ruler, not of the other, which stands with difference, interval and corrected p-value."""
    rulers = {"longest": [0] * 30 + [1] * 10 + [0] * 20, "shortest": [1] * 38 + [0] * 20 + [1] * 2}
    run = _accuracy_run(fakes, 42, rulers)
    [[header, longest, shortest]] = tables_of(_section(run))
    assert longest[-1] == "\u25b2 ahead"
    compared = next(row for row in compare(run) if row.baseline == "shortest")
    low, high = (f"{100 * end:+.1f}".replace("-", MINUS) for end in compared.interval)
    names = ("Difference", "95 % interval", "Corrected p", "Verdict")
    shown = ("+3.3 pp", f"{low} to {high}", f"{compared.p_value:.3f}", "\u2013 not told apart")
    assert tuple(shortest[header.index(name)] for name in names) == shown


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


def test_rewards_with_different_references_are_not_on_one_scale(fakes):
    """Said of the rewards of a merged model and of the adapter in it; not of perplexities, nor of equal references."""
    run = fakes.sweep_run()
    blocks = {each.summary: each for each in _section(run).blocks if isinstance(each, Folded)}
    noted = {}
    for name, block in blocks.items():
        tables = [each for each in flat(block.blocks) if isinstance(each, Table)]
        noted[name] = [(text_of(row[0]), text_of(row[1])) for table in tables for row in table.rows if notes_in(row[0])]
    assert noted.pop("Of merged") == [("Preferred answers, accuracy", f"{fakes.LR}, seed 42")]
    assert set(map(len, noted.values())) <= {0}


def test_a_second_stage_is_held_against_the_first(fakes):
    """A candidate whose reference is another one started from it, and gained or lost from there."""
    rng = np.random.default_rng(3)
    base = rng.normal(2, 0.1, 40)
    sides = {"base": base, "sft": base - 0.5 + rng.normal(0, 0.01, 40), "sft+dpo": base + rng.normal(0, 0.01, 40)}
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()})
    stage = {"reference": "sft", "compared_with": ("sft", "nobody")}
    run = replace(run, subjects=tuple(replace(s, **stage) if s.name == "sft+dpo" else s for s in run.subjects))
    assert _verdicts(run) == {"sft": ["\u25bc behind"]}
    lines = lines_of(_section(run))
    assert "sft+dpo started from sft." in lines
    assert "Against nobody: no primary metric in common." in lines


def test_another_candidate_on_the_same_weights_is_just_another(fakes):
    """Neither control, stage nor merged: the difference alone, with the reason where there is no interval."""
    run = fakes.small_run({(fakes.MC1, name): fakes.scores([1, 0, 1]) for name in ("base", "b", "a")})
    run = replace(run, subjects=tuple(replace(s, compared_with=("a",) if s.name == "b" else ()) for s in run.subjects))
    section = _section(run)
    assert lines_of(section) == ["b against other candidates, exploratory"]
    [table] = [each for each in flat(section.blocks) if isinstance(each, Table)]
    [row] = table.rows
    assert notes_in(row[table.header.index("95 % interval")]) == ["No interval: 3 groups; an interval needs 10."]
    assert text_of(row[-1]) == "? cannot tell"


def test_of_many_others_only_the_names_are_given(fakes):
    """Their tables would be longer than everything else; the file of numbers has them."""
    names = tuple(f"lr {n}" for n in range(MOST_OTHERS + 2))
    section = _section(fakes.realistic_run(names))
    assert len(tables_of(section)) == 1
    assert lines_of(section)[-1].endswith(f"in report.csv: {', '.join(names[1:])}.")
    few = _section(fakes.realistic_run(names[: MOST_OTHERS + 1]))
    assert len(tables_of(few)) == MOST_OTHERS + 1
