"""The headline and the first table as blocks: marks, bold claims, footnotes, and which way a matrix stands."""

from dataclasses import replace

import pytest
from block_texts import lines_of, tables_of, text_of

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import Subject
from reports.rendering.content.blocks import Noted, Small, Strong, Table, words_of
from reports.rendering.content.differences import NO_CANDIDATE, first_table
from reports.rendering.content.headline import headline
from reports.rendering.content.sections.opening import (
    CHOSEN,
    LINE_NAMES,
    MOST_COLUMNS,
    differences_section,
    headline_section,
)


def _opening(run):
    rows = compare(run)
    recipes = over_seeds(run, rows)
    return headline_section(run, headline(run, rows, recipes)), differences_section(
        run, first_table(run, rows, recipes)
    )


def _cells(section):
    """Cells of the first table by row and column."""
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    return {(text_of(row[0]), head): cell for row in table.rows for head, cell in zip(table.header, row, strict=True)}


def test_what_was_not_measured_comes_before_everything(fakes):
    """The run's own headline is the first line under the title, then facts, the sentence in bold and the lines."""
    run = fakes.realistic_run()
    section, _ = _opening(run)
    first, facts, sentence, *lines = lines_of(section)
    assert section.title == "dpo against base"
    assert first == run.headline
    assert facts.endswith("suite alignment \u00b7 21 Nov 2026")
    assert section.blocks[2].words == Strong(sentence)
    assert lines[0].startswith(f"{LINE_NAMES['gained']}: ")
    assert lines[-1].startswith("Believe it?: ")


def test_without_a_candidate_that_is_all(fakes):
    """No headline and no table."""
    run = fakes.small_run({(fakes.MC2, "base"): fakes.scores([0.5] * 12)})
    section, differences = _opening(run)
    assert lines_of(section)[-1] == NO_CANDIDATE
    assert differences.blocks == ()


def test_one_candidate_has_a_row_a_metric_and_its_claims_are_bold(fakes):
    """Parts are headed, what was measured on stands below the name, and only a corrected claim is bold."""
    _, section = _opening(fakes.realistic_run())
    cells = {name.partition(" (")[0]: cell for (name, head), cell in _cells(section).items() if head == "Verdict"}
    assert cells["Preferred answers, accuracy"] == Strong("\u25b2 better")
    assert cells["Safe answers, perplexity"] in ("\u2191 higher", "\u2193 lower", "\u2013 no change seen")
    names = [row[0] for row in section.blocks[0].rows]
    assert Strong("What it was trained for (higher is better)") in names
    details = [word.text for name in names for word in words_of(name) if isinstance(word, Small)]
    assert "120 examples, 60 groups" in details


@pytest.mark.parametrize("n_candidates", [2, MOST_COLUMNS, MOST_COLUMNS + 1])
def test_candidates_are_columns_while_few_and_rows_from_then_on(fakes, n_candidates):
    """A metric keeps its baseline value and every difference either way."""
    names = tuple(f"lr {n}" for n in range(n_candidates))
    _, section = _opening(fakes.realistic_run(names))
    header, *rows = tables_of(section)[0]
    is_turned = n_candidates > MOST_COLUMNS
    assert header[0] == ("Candidate" if is_turned else "Metric")
    assert header[2:] == list(names) if not is_turned else [row[0] for row in rows] == ["base", *names]
    metric = "Truthful answers, perplexity"
    rows = compare(fakes.realistic_run(names))
    shown = next(each for each in rows if each.candidate == "lr 1" and each.metric == fakes.PERPLEXITY)
    assert shown.outcome == "worse"
    cells = _cells(section).items()
    of_metric = [cell for (name, head), cell in cells if metric in name + head and "lr 1" in name + head]
    assert [isinstance(cell, Strong) and cell.text.endswith("\u25bc") for cell in of_metric] == [True]


def test_the_chosen_recipe_is_marked_with_its_seeds_and_their_spread(fakes):
    """Its name says so, its adapters' differences stand below their mean, and other weights have a footnote."""
    _, section = _opening(fakes.sweep_run())
    cells = _cells(section)
    chosen = f"{fakes.LR}, 3 seeds {CHOSEN}"
    assert {name for name, _ in cells} >= {chosen, *fakes.CONTROLS}
    spread = [
        word.text for word in words_of(cells[chosen, "Truthful answers, perplexity \u2193"]) if isinstance(word, Small)
    ]
    assert spread == ["\u221225.9 to \u22129.5 %"]
    assert any(isinstance(cell, Noted) and "Other weights" in cell.notes[0] for cell in cells.values())


def test_other_weights_are_said_below_the_table_of_one(fakes):
    """The header has no footnotes, so that of its subject is a line."""
    run = fakes.realistic_run()
    subjects = tuple(replace(each, same_weights=each.name != "dpo", reference="base") for each in run.subjects)
    _, section = _opening(replace(run, subjects=subjects))
    assert any(line.startswith("dpo: Other weights") for line in lines_of(section))


def test_a_run_with_exploratory_metrics_only_claims_nothing(fakes):
    """Without a primary metric the table is a sentence."""
    sides = {(fakes.MC2, name): fakes.scores([0.5, 0.25 * place] * 6) for place, name in enumerate(("base", "dpo"))}
    run = replace(fakes.small_run(sides), subjects=(Subject("base", "baseline", ""), Subject("dpo", "candidate", "")))
    _, section = _opening(run)
    assert lines_of(section) == ["No primary metric has a difference."]
    assert not tables_of(section)
