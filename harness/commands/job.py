"""The main job: train the adapters that are missing, measure them beside the baseline, write the results."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from harness.commands.output import write_missing_cards, write_results
from harness.commands.report_files import RunReports
from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import Evaluation
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate, TrainedAdapter, train, trained_candidates
from harness.measuring.opening import open_job
from harness.measuring.run import Filled, measure
from harness.measuring.units.filling import Asked, EngineMaker, fill_on
from harness.measuring.units.inputs import inputs_of
from reports.plain_text import visible
from reports.records import Run
from reports.rendering.content.title import NOT_COMPLETE
from reports.whole import in_use

INCOMPLETE = 4
"""Exit code of a command that finished without all that it was asked for."""


def train_and_measure(
    experiment: Experiment, others: Sequence[Candidate] = (), make: EngineMaker | None = None
) -> tuple[Run, RunReports]:
    """Trains or reuses the adapters of an experiment, measures them and other candidates, and writes the run.

    Args:
        experiment: what to train and to measure on.
        others: candidates that exist already.
        make: makes the engine that everything is computed on by units; None computes it here.

    Raises:
        UserError: a recipe that cannot be trained, a candidate that does not fit, or a folder that cannot be written.
        SystemExit: an engine could not do what every report needs.
    """
    with experiment.reserve_run() as folder:
        suite = open_job(experiment, others, trains=True)
        filled = None if make is None else fill(make, experiment, folder, suite=suite, others=others)
        trained = train(experiment, None if filled is None else filled.missing)
        write_missing_cards(trained)
        with in_use(each.fixture.folder for each in trained):
            candidates = trained_candidates(experiment, trained, others)
            return measure_and_write(experiment, candidates, suite, trained, folder=folder, filled=filled)


def train_by_units(experiment: Experiment, make: EngineMaker) -> tuple[tuple[TrainedAdapter, ...], tuple[str, ...]]:
    """Trains the adapters of an experiment on an engine.

    Args:
        experiment: what to train on.
        make: makes the engine.

    Returns:
        Those that are there, and a line for each that is missing.

    Raises:
        UserError: a recipe that cannot be trained, or a node that is unlike this machine.
    """
    filled = fill(make, experiment, Path(f"{experiment.config.name}-train-{datetime.now(UTC):%Y%m%d-%H%M%S}"))
    return train(experiment, filled.missing), filled.lines


def measure_existing(
    experiment: Experiment,
    candidates: Sequence[Candidate],
    suite: Callable[[], Mapping[EvaluationConfig, Evaluation]],
    make: EngineMaker | None,
) -> tuple[Run, RunReports]:
    """Measures candidates that exist already, and writes the run.

    Args:
        experiment: what to measure on.
        candidates: in the order of the report.
        suite: opens the evaluations.
        make: makes the engine that everything is computed on by units; None computes it here.

    Raises:
        UserError: a candidate that does not fit, or a folder that cannot be written.
        SystemExit: an engine could not do what every report needs.
    """
    with experiment.reserve_run() as folder:
        opened, filled = suite(), None
        if make is not None:
            filled = fill(make, experiment, folder, suite=opened, others=candidates, trains=False)
        return measure_and_write(experiment, candidates, opened, folder=folder, filled=filled)


def measure_and_write(
    experiment: Experiment,
    candidates: Sequence[Candidate],
    suite: Mapping[EvaluationConfig, Evaluation],
    trained: Sequence[TrainedAdapter] = (),
    *,
    folder: Path,
    filled: Filled | None,
) -> tuple[Run, RunReports]:
    """Measures candidates, or finds all of their results where an engine computed them, and writes the run.

    Args:
        experiment: what to measure on.
        candidates: in the order of the report; those that an engine could not measure are left out.
        suite: the prepared evaluations.
        trained: the adapters that were trained for this run.
        folder: the run's folder.
        filled: what an engine computed; None computes everything here.
    """
    left = candidates if filled is None else filled.measured(candidates)
    run = measure(experiment, left, suite, trained, name=folder.name, filled=filled)
    return run, write_results(run, folder, trained, experiment.terminal)


def fill(
    make: EngineMaker,
    experiment: Experiment,
    folder: Path,
    *,
    suite: Mapping[EvaluationConfig, Evaluation] | None = None,
    others: Sequence[Candidate] = (),
    trains: bool = True,
) -> Filled:
    """Has everything computed on an engine; ends the command where no report can come of it.

    Args:
        make: makes the engine.
        experiment: what to train and to measure on.
        folder: whose name the log of faults has.
        suite: the prepared evaluations; None measures nothing.
        others: candidates that exist already.
        trains: whether the experiment's adapters are trained and measured.

    Raises:
        UserError: a recipe that cannot be trained, a candidate that does not fit, or a node that is unlike this one.
        SystemExit: the baseline or a reference could not be measured.
    """
    log = experiment.workspace.logs / f"{folder.name}.log"
    asked = Asked(inputs_of(experiment), log, trains=trains, suite=suite, others=tuple(others))
    filled = fill_on(make, experiment, asked)
    if suite is not None and not filled.has_report:
        leave_incomplete(filled.lines)
    return filled


def leave_incomplete(lines: Sequence[str]) -> None:
    """Ends the command with what is missing, where there is anything.

    Raises:
        SystemExit: something is missing.
    """
    if lines:
        click.echo("\n".join(map(visible, (NOT_COMPLETE, *lines))), err=True)
        sys.exit(INCOMPLETE)
