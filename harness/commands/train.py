"""`harness train`."""

import os
from typing import Any

import click

from harness.commands.options import candidate_options, experiment_options, only_option, place_options, suite_option
from harness.processes import LaunchedError, is_launched


@click.command("train", short_help="Trains the adapters of an experiment, or reuses them.")
@experiment_options
@candidate_options
@suite_option
@click.option("--dry-run", is_flag=True, help="Only estimates rows, tokens, steps, memory and time, by a short probe.")
@only_option("adapter, seed 43")
@place_options
def train(*, dry_run: bool, only: str | None, **options: Any) -> None:
    """Trains the adapters of an experiment; those that are there already are reused.

    Rows that overlap what the suite measures are kept out of training.

    torchrun and accelerate launch start it in several processes, which share every step.
    """
    from harness.commands.output import write_missing_cards
    from harness.measuring.preparation import Options, prepare

    if only is not None and dry_run:
        raise click.UsageError("--only trains, and --dry-run does not; give one of them")
    if dry_run:
        from harness.measuring.planning import planned_adapters, training_estimate

        if is_launched(os.environ):
            raise LaunchedError("--dry-run estimates the training of one process; leave the launcher out")
        experiment = prepare(Options(**options))
        click.echo(training_estimate(experiment, planned_adapters(experiment)))
        return
    from harness.measuring.together import train_together

    if only is None:
        trained = train_together(Options(**options))
    else:
        from harness.measuring.units.by_hand import train_only

        trained = train_together(Options(**options), lambda experiment: (train_only(experiment, only),))
    write_missing_cards(trained)
    for each in trained:
        click.echo(each.fixture.folder)
