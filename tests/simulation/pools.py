r"""Writes pools.csv: real differences as sums by group, numbers alone, from a run of a suite on real rows.

    harness train-and-eval --suite tests/simulation/pools_suite.yaml --preset tiny-real --data-root DATA \
        -o model.quantization=none -o training.max_steps=20 --limit 250 --out /tmp/pools-run
    harness eval --suite tests/simulation/mc1_suite.yaml --preset tiny-real --data-root DATA \
        -o model.quantization=none -o 'data.lm_eval_tasks=[truthfulqa_mc1]' \
        --adapter adapter=tests/regression/adapter --out /tmp/mc1-run
    python tests/simulation/pools.py /tmp/pools-run /tmp/mc1-run

The embedded model, 20 steps of DPO, up to 250 rows a role; after these no choice of mc1 differs, so that metric is
measured with the adapter of the regression tests. Groups are in the order of their sums: of the rows nothing is left
but the numbers.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import click
from populations import POOLS_FILE

from reports import read_run
from reports.comparing.metric_table import metric_table
from reports.records import MetricScores, Run

METRICS = {
    ("truthfulqa/truthfulqa_mc1", "acc"): "TruthfulQA mc1",
    ("truthfulqa/truthfulqa_mc2", "acc"): "TruthfulQA mc2",
    ("truthfulness", "perplexity"): "TruthfulQA perplexity",
    ("truthfulness", "right_wrong_margin"): "TruthfulQA right-wrong margin",
    ("coreference", "perplexity"): "Winogrande perplexity",
    ("safety", "perplexity"): "PKU perplexity",
    ("neutral_text", "perplexity"): "neutral text perplexity",
    ("preferences", "reward_accuracy"): "hh-rlhf reward accuracy",
    ("preferences", "reward_margin"): "hh-rlhf reward margin",
}
"""Evaluation and metric -> what the pool is called."""


@click.command(help=__doc__)
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def write_pools(folders: Sequence[Path]) -> None:
    """Writes a line for each metric and group; a metric is taken from the last run that has it."""
    runs = [read_run(folder) for folder in folders]
    with POOLS_FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("metric", "kind", "total", "count"))
        for (evaluation, metric), name in METRICS.items():
            found = [(run, _measurements(run, evaluation, metric)) for run in runs]
            run, measurements = [each for each in found if each[1]][-1]
            writer.writerows((name, *line) for line in _lines(run, measurements))


def _measurements(run: Run, evaluation: str, metric: str) -> list[MetricScores]:
    return [each for each in run.measurements if (each.metric.evaluation, each.metric.name) == (evaluation, metric)]


def _lines(run: Run, measurements: Sequence[MetricScores]) -> list[tuple[str, str, str]]:
    """Returns kind of data, difference of totals, and count of each group."""
    table = metric_table(measurements)
    kinds = {name: run.subject(name).kind for name in table.totals}
    (candidate,) = (name for name, kind in kinds.items() if kind == "candidate")
    baselines = [name for name, kind in kinds.items() if kind == "baseline"]
    sums = table.sums(candidate, None if table.metric.chance is not None else baselines[0])
    assert sums is not None
    kind = ("outcomes" if sums.is_outcomes else "amounts") + (" by definition" if sums.by_definition else "")
    totals = sums.candidate_totals - sums.baseline_totals
    pairs = sorted(zip(totals.tolist(), sums.candidate_counts.tolist(), strict=True))
    return [(kind, f"{total:.6g}", f"{count:g}") for total, count in pairs]


if __name__ == "__main__":
    write_pools()
