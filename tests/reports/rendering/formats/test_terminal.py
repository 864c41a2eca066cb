"""The table for the terminal: at most 100 columns, one of many candidates in full."""

from dataclasses import replace

import pytest

from reports.comparing.compare import compare
from reports.records import MetricScores
from reports.rendering.formats.terminal import NARROWEST_TERMINAL, terminal_table


def test_the_terminal_shows_one_of_many_candidates_in_full(fakes):
    """The chosen one with all metrics, everyone's primary metrics under one heading each, recipes on top."""
    run = fakes.sweep_run()
    text = terminal_table(run, compare(run))
    assert text.startswith(f"Chosen on selection rows, which are not those of this report: {fakes.LR}.")
    assert text.count("perplexity_per_example") == 1
    assert f"{fakes.LR}, over its training seeds:\n- No change seen" in text
    overview = text.split("All candidates, primary metrics:")[1]
    assert all(f"- {name}" in overview for name in ("learning_rate=5e-6", *fakes.CONTROLS, "merged †"))
    assert "† different weights from the baseline's." in " ".join(overview.split())
    assert "against control: sft on" in text
    assert max(map(len, text.splitlines())) <= NARROWEST_TERMINAL
    unmeasured = fakes.realistic_run(("a", "b", "c"))
    overview = terminal_table(unmeasured, compare(unmeasured)).split("All candidates, primary metrics:")[1]
    assert "coreference" not in overview
    nothing = fakes.small_run({(fakes.COREFERENCE, name): () for name in ("base", "a", "b", "c")})
    assert "All candidates" not in terminal_table(nothing, compare(nothing))


@pytest.mark.parametrize(
    "candidates", [("dpo",), ("a", "b"), tuple(f"learning_rate={n}e-6, seed {n}" for n in range(8))]
)
def test_the_terminal_table_fits_100_columns(fakes, candidates):
    """Long names are wrapped, primary metrics stand above the line."""
    run = fakes.realistic_run(candidates)
    long = replace(fakes.MC2, name="a_very_long_task_name_that_nobody_would_want_to_read acc")
    scores = tuple(MetricScores(long, name, fakes.scores([0.1] * 12)) for name in ("base", *candidates))
    run = replace(run, measurements=run.measurements + scores)
    text = terminal_table(run, compare(run))
    assert max(map(len, text.splitlines())) <= NARROWEST_TERMINAL
    assert text.index("preferences · accuracy  ") < text.index("preferences · margin")
    assert "* by definition" in text
