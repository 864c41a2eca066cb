"""The simulation behind docs/statistics.md: populations are as they say, and counting is right."""

import importlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def simulation() -> SimpleNamespace:
    """The modules of this folder, which belongs to no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        names = ("populations", "cells", "judgements", "rates", "bar", "cell_table")
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def _populations(simulation: SimpleNamespace) -> list[Any]:
    """One cell of each kind at 60 groups, and a suite's first metric."""
    cells = {cell.data: cell for cell in simulation.cells.CELLS if cell.groups == "60"}
    return [cell.family[0][0] for cell in cells.values()]


def _ratio(drawn: Any) -> np.ndarray:
    ratios = (drawn.candidate_totals - drawn.baseline_totals).sum(axis=-1) / drawn.counts.sum(axis=-1)
    return ratios.mean(axis=-1) if drawn.is_recipe else ratios


@pytest.mark.parametrize("effect", [0.0, 2.8, -2.8])
def test_each_population_has_the_difference_and_the_error_that_it_says(simulation, effect):
    """By 1,000 draws: mean within four standard errors of the truth, spread within a tenth of what is said."""
    for population in _populations(simulation):
        drawn = population.draw(np.random.default_rng(1), (1_000,), effect)
        scaled = (_ratio(drawn) - drawn.truth) / drawn.true_error
        assert abs(scaled.mean()) < 4 / math.sqrt(1_000), population
        if effect == 0:
            assert scaled.std() == pytest.approx(1.0, abs=0.1), population


def test_a_share_never_leaves_what_it_can_be(simulation):
    """An effect that a share cannot have is cut, said as the truth, and not counted as reached."""
    drawn = simulation.populations.SharesOfWins(0.85, 12).draw(np.random.default_rng(0), (50, 8), 4.0)
    assert drawn.truth.max() == pytest.approx(0.15)
    assert (drawn.candidate_totals <= drawn.counts).all()
    assert not simulation.rates._is_reached(drawn, 4.0).any()


def test_bounds_of_a_share_are_those_of_clopper_and_pearson(simulation):
    """As a beta quantile gives them by hand for none and all of n, and as the binomial distribution at 300 of 5,000."""
    from scipy.stats import binom

    share = simulation.rates.Share
    assert share(0, 100).bound(upper=True) == pytest.approx(1 - 0.01 ** (1 / 100))
    assert share(100, 100).bound(upper=False) == pytest.approx(0.01 ** (1 / 100))
    low = share(300, 5_000).bound(upper=False)
    assert binom.sf(299, 5_000, low) == pytest.approx(0.01)


def _planted(simulation: SimpleNamespace, rng: np.random.Generator, **rates: float) -> Any:
    """A judge that says everything at fixed rates, whatever it sees."""

    def judge(blocks):
        shape = (blocks[0].true_error.shape[0], sum(block.true_error.shape[1] for block in blocks))
        said = {name: rng.random(shape) < rates.get(name, 0.0) for name in ("alone", "in_family", "stops", "unchanged")}
        has_interval = rng.random(shape) >= rates.get("silent", 0.0)
        covered = has_interval & (rng.random(shape) < rates.get("covered", 0.95))
        signs = {name: said[name].astype(np.int8) for name in ("alone", "in_family", "stops")}
        return simulation.judgements.Said(
            **signs, unchanged=said["unchanged"], covered=covered, has_interval=has_interval
        )

    return judge


def test_rates_count_experiments_with_anything_wrong_and_silence_as_not_found(simulation):
    """One per cent a metric is 7.7 % of families of eight; an interval that is not given covers nothing and is told."""
    cell = next(cell for cell in simulation.cells.CELLS if cell.key == "normal, 30")
    judge = _planted(simulation, np.random.default_rng(2), in_family=0.01, stops=0.02, alone=0.3, silent=0.5)
    rates = simulation.rates.cell_rates(cell, judge, simulation.rates.Experiments(4_000, 200, 500))
    assert rates["false claims"].value == pytest.approx(1 - 0.99**8, abs=0.015)
    assert rates["false stops"].value == pytest.approx(1 - 0.98**8, abs=0.02)
    assert (rates["false claims"].n, rates["power"].n) == (4_000, 4_000)
    assert rates["coverage"].value == pytest.approx(0.95, abs=0.01)
    assert rates["cannot tell"].value == pytest.approx(1 - 0.5**8, abs=0.01)
    assert rates["power"].value == pytest.approx(0.3, abs=0.03)
    assert rates["power away"].hits == 0  # found with the wrong sign


def _rates(simulation: SimpleNamespace, **changes: tuple[int, int]) -> dict[str, Any]:
    right = {"false claims": (250, 5_000), "false stops": (250, 5_000), "false no change": (250, 5_000)}
    right |= {"coverage": (38_000, 40_000), "cannot tell": (0, 5_000)}
    right |= {"power": (6_000, 8_000), "power away": (6_000, 8_000), "power away 5.6": (6_400, 8_000)}
    given = right | {name.replace("_", " "): counts for name, counts in changes.items()}
    return {name: simulation.rates.Share(*counts) for name, counts in given.items()}


@pytest.mark.parametrize(
    ("data", "changes", "missed"),
    [
        ("normal, 60", {}, ""),
        ("normal, 60", {"false_claims": (330, 5_000)}, ""),  # 6.6 %: may be 6 % by chance
        ("normal, 60", {"false_claims": (350, 5_000)}, "false claims"),
        ("normal, 60", {"false_stops": (400, 5_000)}, "false stops"),
        ("normal, 60", {"false_no_change": (400, 5_000)}, "false no change"),
        ("normal, 60", {"coverage": (37_300, 40_000)}, "coverage"),
        ("normal, 60", {"cannot_tell": (400, 5_000)}, "cannot tell"),
        ("normal, 60", {"power": (5_000, 8_000)}, "power"),
        ("t3, 60", {"power_away": (5_000, 8_000)}, "power away"),
        ("exponential, 60", {"power_away": (100, 8_000)}, ""),
        ("exponential, 60", {"power_away 5.6": (5_600, 8_000)}, "power away 5.6"),
        ("exponential, 30", {"power_away 5.6": (5_600, 8_000)}, ""),
        ("normal, 12", {"false_claims": (350, 5_000)}, "false claims"),  # worse than before
        ("normal, 12", {"false_claims": (250, 5_000), "coverage": (38_000, 40_000)}, ""),
        ("recipe of 3 seeds, spread 1, normal, 60", {"false_claims": (350, 5_000)}, "false claims"),
    ],
)
def test_the_bar_is_missed_where_a_share_is_surely_beyond_it(simulation, data, changes, missed):
    """Each measure by its own rule; smaller cells only where they are worse than before."""
    cell = next(cell for cell in simulation.cells.CELLS if cell.key == data)
    found = simulation.bar.misses(cell, _rates(simulation, **changes), _rates(simulation))
    assert [line.split(":")[0] for line in found] == ([missed] if missed else [])


def test_a_small_cell_may_stay_as_wrong_as_it_was(simulation):
    """Twelve lognormal groups are printed as they are, as long as they are no worse than before."""
    cell = next(cell for cell in simulation.cells.CELLS if cell.key == "lognormal, 12")
    wrong = _rates(simulation, false_claims=(700, 5_000))
    assert simulation.bar.misses(cell, wrong, _rates(simulation, false_claims=(1_200, 5_000))) == []
    assert simulation.bar.misses(cell, wrong, _rates(simulation)) != []


def test_rates_are_read_as_they_were_written(simulation, tmp_path):
    """A line for each cell and measure."""
    kept = {"normal, 30": _rates(simulation), "t3, 12": _rates(simulation, power=(1, 2))}
    simulation.rates.write_rates(tmp_path / "rates.csv", kept)
    assert simulation.rates.read_rates(tmp_path / "rates.csv") == kept


def test_every_cell_has_a_name_of_its_own_and_what_was_said_before(simulation):
    """The kept column holds all cells but none that is gone."""
    keys = [cell.key for cell in simulation.cells.CELLS]
    before = simulation.rates.read_rates(simulation.rates.BEFORE_FILE)
    assert len(set(keys)) == len(keys)
    assert set(before) == set(keys)


def test_pools_hold_numbers_alone(simulation):
    """Nine metrics of real rows, each with at least thirty groups and both directions of change."""
    pools = simulation.populations.pools()
    assert len(pools) == 9
    for pool in pools.values():
        assert len(pool.totals) >= 30
        assert pool.totals.min() < 0 < pool.totals.max()
        assert (pool.counts > 0).all()


def test_the_table_has_a_line_for_each_cell_and_stands_between_its_marks(simulation, tmp_path):
    """Figures in per cent, those of before in brackets, and text around the table as it was."""
    cells = [cell for cell in simulation.cells.CELLS if cell.key in ("normal, 12", "normal, 30")]
    own = _rates(simulation)
    table = simulation.cell_table.render(cells, {cell.key: own for cell in cells}, {"normal, 30": own})
    lines = [[each.strip() for each in line.split("|")[1:-1]] for line in table.splitlines() if "normal" in line]
    assert [line[:3] for line in lines] == [["normal", "30", "5.0 (5.0)"], ["normal", "12", "5.0"]]
    page = tmp_path / "statistics.md"
    page.write_text(f"above\n{simulation.cell_table.BEGIN}\nold\n{simulation.cell_table.END}\nbelow\n")
    simulation.cell_table.write_table(table, page)
    assert page.read_text().startswith(f"above\n{simulation.cell_table.BEGIN}\n5,000 experiments a cell:")
    assert page.read_text().endswith(f"|\n{simulation.cell_table.END}\nbelow\n")
    page.write_text("no marks")
    with pytest.raises(simulation.cell_table.PageError):
        simulation.cell_table.write_table(table, page)
