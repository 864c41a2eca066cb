"""What the adapter in this folder scored on the embedded base, and how far training seeds of the default lie apart.

    python tests/regression/reference.py                      # what changed since, if anything
    python tests/regression/reference.py --renew              # the same, and keeps what is scored now
    python tests/regression/reference.py --renew --seeds 5    # trains the embedded default anew as well: minutes

The adapter is the one that `harness train` makes of the embedded default. Base and adapter are computed in float32,
where processors agree to rounding.
"""

import csv
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click

from reports.comparing.gates import metric_key

FOLDER = Path(__file__).parent
ADAPTER = FOLDER / "adapter"
SUITE = FOLDER / "suite.yaml"
SCORES = FOLDER / "reference_scores.csv"
SPREADS = FOLDER / "seed_spreads.yaml"
GATES = FOLDER / "gates.yaml"
NAME = "adapter"
"""What the adapter is called in runs."""
METRICS = ("perplexity", "reward_margin")
"""Sums of log-probabilities: where these agree, so does everything that is made of them."""
TOLERANCE = 1e-3
"""Nats by which the sum of a response may move."""


class Score(NamedTuple):
    """One example's share of a metric."""

    total: float
    count: float


Key = tuple[str, str, str, str]
"""Evaluation, metric, subject, example."""


def measure(adapter: Path, run_folder: Path) -> Any:
    """The run of an adapter on the embedded base, everything scored anew."""
    from harness.measuring.existing import existing_candidates, find_adapters
    from harness.measuring.opening import open_job
    from harness.measuring.preparation import Options, prepare
    from harness.measuring.run import measure as measure_run
    from reports.run_folder import read_run, write_run

    experiment = prepare(Options(suite=str(SUITE), workspace=run_folder.parent, out=run_folder, use_cache=False))
    adapters = find_adapters({NAME: str(adapter)}, experiment.workspace.fixtures)
    candidates = existing_candidates(experiment.config, adapters, ())
    suite = open_job(experiment, candidates, trains=False)
    write_run(measure_run(experiment, candidates, suite, name=run_folder.name), run_folder)
    return read_run(run_folder)


def train(workspace: Path, overrides: Sequence[str] = (), seeds: int | None = None) -> Any:
    """The run of an embedded experiment that is trained now."""
    from harness.measuring.lineup import train as train_adapters
    from harness.measuring.lineup import trained_candidates
    from harness.measuring.opening import open_job
    from harness.measuring.preparation import Options, prepare
    from harness.measuring.run import measure as measure_run
    from reports.run_folder import read_run, write_run

    experiment = prepare(Options(suite=str(SUITE), workspace=workspace, overrides=tuple(overrides), seeds=seeds))
    suite = open_job(experiment, (), trains=True)
    trained = train_adapters(experiment)
    with experiment.reserve_run() as folder:
        candidates = trained_candidates(experiment, trained)
        write_run(measure_run(experiment, candidates, suite, trained, name=folder.name), folder)
    return read_run(folder)


def scores_of(run: Any) -> dict[Key, Score]:
    """Every score that is kept."""
    return {
        (each.metric.evaluation, each.metric.name, each.subject, score.example_id): Score(score.total, score.count)
        for each in run.measurements
        if each.metric.name in METRICS
        for score in each.scores
    }


def read_scores() -> dict[Key, Score]:
    """The scores in this folder."""
    with SCORES.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return {(row[0], row[1], row[2], row[3]): Score(float(row[4]), float(row[5])) for row in rows}


def write_scores(scores: Mapping[Key, Score]) -> None:
    """Keeps scores in this folder."""
    with SCORES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["evaluation", "metric", "subject", "example_id", "total", "count"])
        writer.writerows([*key, f"{score.total:.6f}", f"{score.count:g}"] for key, score in scores.items())


def changes(before: Mapping[Key, Score], after: Mapping[Key, Score]) -> list[str]:
    """Lines on what moved by more than the tolerance, appeared or disappeared; none where both agree."""
    moved = {
        key: abs(after[key].total - before[key].total)
        for key in before.keys() & after.keys()
        if not abs(after[key].total - before[key].total) <= TOLERANCE or after[key].count != before[key].count
    }
    lines = []
    for what, keys in (
        ("disappeared", before.keys() - after.keys()),
        ("appeared", after.keys() - before.keys()),
        ("moved", moved.keys()),
    ):
        for group in sorted({key[:3] for key in keys}):
            own = sorted(key for key in keys if key[:3] == group)
            worst = max(own, key=lambda key: moved.get(key, 0.0))
            change = f"{_shown(before.get(worst))} -> {_shown(after.get(worst))}"
            pooled = f"{_pooled(before, group)} -> {_pooled(after, group)}"
            lines.append(f"{' '.join(group)}: {len(own)} {what}, such as {worst[3]} {change}; pooled {pooled}")
    return lines


def _shown(score: Score | None) -> str:
    return "nothing" if score is None else f"{score.total:.6f} / {score.count:g}"


def _pooled(scores: Mapping[Key, Score], group: tuple[str, ...]) -> str:
    own = [score for key, score in scores.items() if key[:3] == group]
    return f"{sum(s.total for s in own) / sum(s.count for s in own):.6f}" if own else "nothing"


def read_spreads() -> tuple[Any, ...]:
    """The spreads over training seeds in this folder."""
    from harness.config.strict_yaml import read_yaml_mapping
    from reports.comparing.calibration import Spread

    return tuple(Spread(**spread) for spread in read_yaml_mapping(SPREADS)["spreads"])


def write_spreads(run: Any) -> None:
    """Keeps the spreads of a run over training seeds, and the gates that follow from it."""
    from harness.commands.gate_check import calibrate
    from harness.config.strict_yaml import dump_yaml
    from reports.comparing.calibration import propose_gates

    spreads = [proposal.spread for proposal in propose_gates(run)]
    SPREADS.write_text(dump_yaml({"spreads": [asdict(spread) for spread in spreads]}), encoding="utf-8")
    GATES.write_text(calibrate(run, spreads[0].n_seeds), encoding="utf-8")


def outside_prediction_interval(spreads: Sequence[Any], run: Any, candidate: str) -> list[str]:
    """Lines on the spreads that a newly trained adapter lies outside of; in 95 % none, if nothing changed.

    Student's prediction interval for one more value: mean -/+ t(N-1) x s x sqrt(1 + 1/N), two-sided at a level of 5 %
    over the number of spreads.
    """
    from scipy.stats import t

    values = {metric_key(each.metric): each.number for each in run.measurements if each.subject == candidate}
    lines = []
    for spread in spreads:
        quantile = float(t.ppf(1 - 0.05 / 2 / len(spreads), spread.n_seeds - 1))
        reach = quantile * spread.standard_deviation * math.sqrt(1 + 1 / spread.n_seeds)
        value = values.get(spread.metric)
        if value is None or not abs(value - spread.mean) <= reach:  # NaN lies outside too
            lines.append(f"{spread.metric}: {value} is not within {spread.mean:.6g} -/+ {reach:.3g}")
    return lines


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


@click.command(help=(__doc__ or "").split("\n", 1)[0])
@click.option("--renew", is_flag=True, help="Keeps what is scored now.")
@click.option("--seeds", type=click.IntRange(3), help="Trains the embedded default with so many seeds as well.")
def main(*, renew: bool, seeds: int | None) -> None:
    """Says what changed, and keeps it on request."""
    with tempfile.TemporaryDirectory() as name:
        before, after = read_scores() if SCORES.exists() else {}, scores_of(measure(ADAPTER, Path(name) / "run"))
        found = changes(before, after)
        _say(found or ["every score agrees"])
        if renew:
            write_scores(after)
        if seeds is not None:
            run = train(Path(name), seeds=seeds)
            if renew:
                write_spreads(run)
                _say([GATES.read_text(encoding="utf-8")])
    raise SystemExit(bool(found) and not renew)


if __name__ == "__main__":
    main()
