"""Judges simulated differences by the code of commit 798d4d3, which drew bootstrap samples: the column "before".

Writes before.csv. It imports that commit's `reports`, so it runs with a worktree of it in front of the path:

    git worktree add /tmp/before 798d4d3
    PYTHONPATH=/tmp/before python tests/simulation/before.py

Cells that the file has already are not run again.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from types import SimpleNamespace

import click
import numpy as np
from bar import is_power_held
from cells import CELLS
from judgements import MARGIN, Said, claims
from populations import Differences, Floats
from rates import BEFORE_FILE, Experiments, cell_rates, read_rates, write_rates

EXPERIMENTS = Experiments(null=200, margin=50, power=25)
"""Fewer than now: the bootstrap takes over a millisecond a metric."""
MORE_EXPERIMENTS = Experiments(null=400, margin=100, power=120)
"""Of cells whose power is held against that of before."""
SEED = 0
LEVEL = 0.05


def judge(blocks: Sequence[Differences]) -> Said:
    """Returns what was said: better or worse where the interval and the corrected p-value agree."""
    if blocks[0].is_recipe:
        return _joined([_judge_recipes(block) for block in blocks])
    from reports.comparing.statistics import holm

    n_metrics = sum(block.true_error.shape[1] for block in blocks)
    parts = [_judge_block(block, n_metrics) for block in blocks]
    said = _joined([each for each, _ in parts])
    adjusted = np.array([holm(each) for each in np.concatenate([p_values for _, p_values in parts], axis=1)])
    return replace(said, in_family=np.where(adjusted <= LEVEL, said.in_family, 0))


def _joined(parts: Sequence[Said]) -> Said:
    """Returns the judgements of several blocks of metrics as one."""
    return Said(*(np.concatenate([getattr(part, field.name) for part in parts], axis=1) for field in fields(Said)))


def _judge_block(block: Differences, n_metrics: int) -> tuple[Said, Floats]:
    """Returns what was said, of the family before correction, and the p-values."""
    from reports.comparing.gates import _result
    from reports.comparing.inference import PairedSums, infer
    from reports.comparing.statistics import is_equivalent
    from reports.records import Gate, Metric

    shape, n_groups = block.true_error.shape, block.counts.shape[-1]
    flat = [array.reshape(-1, n_groups) for array in (block.candidate_totals, block.counts, block.baseline_totals)]
    kinds = block.by_definition, block.is_outcomes
    sides = [
        PairedSums(candidate, counts, baseline, counts, *kinds, bool((candidate == baseline).all()))
        for candidate, counts, baseline in zip(*flat, strict=True)
    ]
    inferred = infer(sides, SEED)
    none = SimpleNamespace(low=np.nan, high=np.nan)
    ends = np.array([[(each.interval or none).low, (each.interval or none).high] for each in inferred])
    low, high = ends.T.reshape(2, *shape)
    p_values = np.array([1.0 if each.p_value is None else each.p_value for each in inferred]).reshape(shape)
    gate = Gate("m", 0.0)
    metrics = {-1: Metric("e", "m", "", higher_is_better=True), 1: Metric("e", "m", "", higher_is_better=False)}
    stops, unchanged = np.zeros(len(sides), np.int8), np.zeros(len(sides), bool)
    margins = MARGIN * block.true_error.ravel()
    for position, (side, each) in enumerate(zip(sides, inferred, strict=True)):
        if each.bounds is None:
            continue
        for loss, metric in metrics.items():
            row = SimpleNamespace(
                metric=metric,
                difference=side.difference,
                baseline_value=side.baseline_value,
                inference=each,
                interval=each.interval,
                n_groups=n_groups,
            )
            if _result(gate, row, LEVEL / n_metrics).outcome == "fail":
                stops[position] = loss
        unchanged[position] = is_equivalent(each.bounds, margins[position])
    said = Said(
        alone=np.where(p_values <= LEVEL, claims(low, high), 0),
        in_family=claims(low, high),
        stops=stops.reshape(shape),
        unchanged=unchanged.reshape(shape),
        covered=(low <= block.truth) & (block.truth <= high),
        has_interval=~np.isnan(low),
    )
    return said, p_values


def _judge_recipes(block: Differences) -> Said:
    from reports.comparing.statistics import seed_spread

    shape = block.true_error.shape
    values = (block.candidate_totals.sum(axis=-1) - block.baseline_totals.sum(axis=-1)) / block.counts.sum(axis=-1)
    intervals = [seed_spread(each).interval for each in values.reshape(-1, values.shape[-1])]
    none = SimpleNamespace(low=np.nan, high=np.nan)
    low, high = np.array([[(each or none).low, (each or none).high] for each in intervals]).T.reshape(2, *shape)
    nothing = np.zeros(shape, bool)
    said = claims(low, high)
    return Said(said, said, 0 * said, nothing, (low <= block.truth) & (block.truth <= high), ~np.isnan(low))


@click.command(help=__doc__)
def before() -> None:
    """Appends the cells that the file lacks."""
    known = read_rates(BEFORE_FILE) if BEFORE_FILE.exists() else {}
    for cell in CELLS:
        if cell.key not in known:
            known[cell.key] = cell_rates(cell, judge, MORE_EXPERIMENTS if is_power_held(cell) else EXPERIMENTS)
            write_rates(BEFORE_FILE, known)
            click.echo(f"{cell.key}: {known[cell.key]}")


if __name__ == "__main__":
    before()
