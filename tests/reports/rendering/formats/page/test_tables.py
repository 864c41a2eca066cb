"""The first table: one candidate's differences with their plots, or the matrix of several."""

import re
from dataclasses import replace

import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.rendering.content.differences import first_table
from reports.rendering.formats.page.difference_table import difference_table
from reports.rendering.formats.page.matrix import MOST_ROWS, ROWS_BEFORE_THE_FOLD, matrix_table


def _first_table(run):
    rows = compare(run)
    return first_table(run, rows, over_seeds(run, rows))


def test_a_row_for_each_metric_with_its_plot(fakes):
    """Name, baseline, candidate, difference with interval, plot, and the outcome in a word with its mark."""
    table = _first_table(fakes.realistic_run())
    html = difference_table(table)
    rows = [row for part in table.parts for row in part.rows]
    lines = re.findall(r'<tr><th scope="row">(.*?)</tr>', html)
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", line)
        assert row.name in line
        assert cells[:2] == [row.cells.baseline, row.cells.candidate]
        assert f"<b>{row.cells.difference}</b>" in cells[2]
        assert cells[3].startswith("<svg")
        assert cells[4].endswith(row.outcome)
    assert html.count("<svg") == len(rows) + len(table.parts)


def test_only_claims_are_coloured(fakes):
    """Better and worse have their colours where the difference survives correction; everything else is grey."""
    table = _first_table(fakes.realistic_run())
    html = difference_table(table)
    rows = [row for part in table.parts for row in part.rows]
    kinds = re.findall(r'<td class="verdict (\w+)">', html)
    expected = [
        row.outcome if row.comparison.is_claim and row.outcome in ("better", "worse") else "none" for row in rows
    ]
    assert kinds == expected
    assert "none" in kinds
    assert set(kinds) & {"better", "worse"}
    hint = replace(table.parts[0].rows[0].comparison, p_adjusted=None)
    parts = (replace(table.parts[0], rows=(replace(table.parts[0].rows[0], comparison=hint, outcome="better"),)),)
    assert '<td class="verdict none">' in difference_table(replace(table, parts=parts))


def test_the_matrix_has_a_row_for_each_candidate(fakes):
    """Recipes are one row, what was chosen is said, and every cell says its outcome in a word."""
    matrix = _first_table(fakes.sweep_run())
    html = matrix_table(matrix)
    found = re.findall(r'<tr class="\w*"><th scope="row"><bdi>(.*?)</bdi>', html)
    names = [re.sub(r"<[^>]+>", "", name) for name in found]
    assert names == [matrix.baseline, *(row.subject for row in matrix.rows)]
    assert "\u2605 chosen" in html
    assert "mean and range of 3 seeds" in html
    assert "one seed" in html
    assert "below a mean of seeds: its lowest and highest seed" in html
    outcomes = re.findall(r'<span class="unseen">([\w ]+)</span>(?:<small>[^<]*</small>)?</td>', html)
    assert outcomes == [cell.outcome for row in matrix.rows for cell in row.cells]


@pytest.mark.parametrize("n_rows", [MOST_ROWS, MOST_ROWS + 1, 60])
def test_many_candidates_are_folded_but_not_the_controls(crowd, n_rows):
    """Up to a screenful everything is in sight; with more, the controls and as many others as leave room for them."""
    matrix = _first_table(crowd)
    controls = [row for row in matrix.rows if row.is_control]
    others = [row for row in matrix.rows if not row.is_control]
    rows = (*(others * 4)[: n_rows - len(controls)], *controls)
    html = matrix_table(replace(matrix, rows=rows))
    bodies = re.findall(r'<tbody class="(rows(?: rest)?)">(.*?)</tbody>', html)
    sizes = [(kind, body.count("<tr")) for kind, body in bodies]
    if n_rows <= MOST_ROWS:
        assert sizes == [("rows", n_rows)]
        assert "unfold" not in html
    else:
        first = ROWS_BEFORE_THE_FOLD - len(controls)
        assert sizes == [("rows", first), ("rows rest", n_rows - ROWS_BEFORE_THE_FOLD), ("rows", len(controls))]
        assert f">{n_rows - ROWS_BEFORE_THE_FOLD} more candidates</button>" in html
