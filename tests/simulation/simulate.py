"""Simulates what reports claim and prints how often it is wrong: `nox -s simulate`, under half an hour on two cores.

Ends with exit code 1 where a cell that the bar names misses it.
"""

import os
import sys
import time
from collections.abc import Sequence
from multiprocessing import get_context

import click
from bar import misses
from cell_table import render, write_table
from cells import CELLS, Cell
from rates import BEFORE_FILE, Experiments, Rates, cell_rates, read_rates
from shipped import Family

POWER_SHARE = 5
"""One in so many experiments for each effect whose power is shown: there each of the eight metrics counts by itself."""


@click.command(help=__doc__)
@click.option("--experiments", type=click.IntRange(min=10), default=5_000, show_default=True, help="Of each cell.")
@click.option("--only", "parts", multiple=True, metavar="TEXT", help="Cells whose name has the text; may be repeated.")
@click.option("--workers", type=click.IntRange(min=1), default=min(2, os.cpu_count() or 1), help="Processes.")
@click.option("--write", is_flag=True, help="Write the table into docs/statistics.md.")
def simulate(experiments: int, parts: Sequence[str], workers: int, *, write: bool) -> None:
    """Runs the cells, prints the table and where the bar is missed."""
    start = time.monotonic()
    cells = [cell for cell in CELLS if not parts or any(part in cell.key for part in parts)]
    rates = _simulated(cells, Experiments(experiments, experiments, max(1, experiments // POWER_SHARE)), workers)
    before = read_rates(BEFORE_FILE)
    table = render(cells, rates, before)
    missed = [f"{cell.key}: {miss}" for cell in cells for miss in misses(cell, rates[cell.key], before.get(cell.key))]
    click.echo(table)
    click.echo(f"\n{len(cells)} cells of {experiments:,} experiments in {time.monotonic() - start:.0f} s")
    if write:
        write_table(table)
    for line in missed:
        click.echo(f"missed: {line}")
    click.echo(f"the bar is missed in {len(missed)} places" if missed else "every cell holds the bar")
    sys.exit(1 if missed else 0)


def _simulated(cells: Sequence[Cell], experiments: Experiments, workers: int) -> dict[str, Rates]:
    """Returns the rates of each cell, computed in several processes."""
    with get_context("spawn").Pool(workers) as pool:
        rates = {}
        jobs = ((position, experiments) for position in map(CELLS.index, cells))
        for key, own in pool.imap_unordered(_rates_at, jobs):
            rates[key] = own
            click.echo(f"{len(rates)}/{len(cells)} {key}", err=True)
    return rates


def _rates_at(job: tuple[int, Experiments]) -> tuple[str, Rates]:
    position, experiments = job
    cell = CELLS[position]
    return cell.key, cell_rates(cell, Family, experiments)


if __name__ == "__main__":
    simulate()
