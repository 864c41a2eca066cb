"""What reports claim, by the shipped code on a seeded part of `nox -s simulate`."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

FOLDER = Path(__file__).parent


FEW = ("normal, 30", "exponential, 60", "wins against .5, 30", "recipe of 3 seeds, spread 1, normal, 60")
"""Cells that are simulated at each run of the fast tests."""
MORE = (
    *("normal, 200", "t3, 30", "exponential, 30", "lognormal, 60", "paired shares, 24% differ, 60"),
    *("exponential, groups of 1-5 rows, 60", "normal, one group with 0.2 of all, 30"),
    *("recipe of 3 seeds, spread 0, normal, 60", "recipe of 5 seeds, spread 3, normal, 60"),
    "real: a suite of all of them, one metric each, their own",
)


@pytest.fixture(scope="module")
def simulation() -> SimpleNamespace:
    """The modules of this folder, which belongs to no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return SimpleNamespace(
            **{name: importlib.import_module(name) for name in ("cells", "rates", "bar", "shipped", "simulate")}
        )


def _misses(simulation: SimpleNamespace, key: str, judge: Any, *experiments: int) -> list[str]:
    cell = next(cell for cell in simulation.cells.CELLS if cell.key == key)
    before = simulation.rates.read_rates(simulation.rates.BEFORE_FILE)[key]
    rates = simulation.rates.cell_rates(cell, judge, simulation.rates.Experiments(*experiments))
    return simulation.bar.misses(cell, rates, before)


@pytest.mark.parametrize("key", FEW)
def test_what_reports_claim_holds_the_bar(simulation, key):
    """A small part of `nox -s simulate`, with the same draws."""
    assert _misses(simulation, key, simulation.shipped.Family, 500, 200, 100) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", MORE)
def test_what_reports_claim_holds_the_bar_in_harder_cells(simulation, key):
    """Skewed, clustered, unequal and real differences, and recipes of few seeds."""
    assert _misses(simulation, key, simulation.shipped.Family, 2_000, 1_000, 400) == []


def test_the_simulation_finds_that_a_t_interval_errs_on_skewed_amounts(simulation):
    """Without anything against skewness lognormal amounts in 60 groups are wrong in over a quarter of experiments."""

    class ByStudent(simulation.shipped.Family):
        @property
        def in_family(self):
            from scipy.special import stdtr

            (each,) = self.differences
            t = each.difference / each.standard_error
            p_values = 2 * stdtr(each.effective_groups - 1, -np.abs(t))
            return np.where(simulation.shipped.holm(p_values) <= 0.05, np.sign(t), 0)

    missed = _misses(simulation, "lognormal, 60", ByStudent, 300, 10, 10)
    assert [line.split(":")[0] for line in missed] == ["false claims"]


@pytest.mark.parametrize(("n_false", "code", "last"), [(250, 0, "every cell holds"), (500, 1, "the bar is missed")])
def test_the_command_ends_with_1_where_a_cell_misses_the_bar(simulation, monkeypatch, n_false, code, last):
    """It prints the table all the same, and writes it only if asked to."""
    share = simulation.rates.Share
    measures = ("false stops", "false no change", "cannot tell")
    right = {measure: share(0, 5_000) for measure in measures} | {"coverage": share(38_000, 40_000)}
    right |= {measure: share(8_000, 8_000) for measure in ("power", "power away", "power away 5.6")}
    rates = {"t3, 30": right | {"false claims": share(n_false, 5_000)}}
    written: list[str] = []
    monkeypatch.setattr(simulation.simulate, "_simulated", lambda *_: rates)
    monkeypatch.setattr(simulation.simulate, "write_table", written.append)
    arguments = ["--only", "t3, 30", *(["--write"] if code else [])]
    result = CliRunner().invoke(simulation.simulate.simulate, arguments)
    assert (result.exit_code, len(written)) == (code, code)
    assert result.stdout.splitlines()[-1].startswith(last)
    assert f"| {n_false / 50:.1f} (" in " ".join(result.stdout.split())
    assert ("missed: t3, 30: false claims" in result.stdout) == bool(code)
