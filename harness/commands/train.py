"""`harness train`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import (
    candidate_options,
    cluster_options,
    experiment_options,
    only_option,
    place_options,
    ranks_option,
    suite_option,
)
from harness.processes import LaunchedError, is_launched

if TYPE_CHECKING:
    from harness.measuring.lineup import TrainedAdapter
    from harness.measuring.preparation import Options
    from harness.measuring.units.filling import EngineMaker


@click.command("train", short_help="Trains the adapters of an experiment, or reuses them.")
@experiment_options
@candidate_options
@suite_option
@click.option("--dry-run", is_flag=True, help="Only estimates rows, tokens, steps, memory and time, by a short probe.")
@only_option("adapter, seed 43")
@cluster_options
@ranks_option
@place_options
def train(*, dry_run: bool, only: str | None, **options: Any) -> None:
    """Trains the adapters of an experiment; those that are there already are reused.

    Rows that overlap what the suite measures are kept out of training.

    torchrun and accelerate launch start it in several processes, which share every step.
    """
    from harness.commands.cluster import on_cluster
    from harness.commands.job import leave_incomplete
    from harness.commands.output import write_missing_cards
    from harness.measuring.preparation import Options, prepare

    if only is not None and dry_run:
        raise click.UsageError("--only trains, and --dry-run does not; give one of them")
    launched = is_launched(os.environ)
    if launched and options["place"] is not None:
        raise LaunchedError("--on ray starts the processes that it needs; leave the launcher out")
    context = click.get_current_context()
    maker_of = context.with_resource(on_cluster(options, dry_run=dry_run, only=only is not None))
    asked = Options(**options)
    if dry_run:
        from harness.measuring.planning import planned_adapters, training_estimate

        if launched:
            raise LaunchedError("--dry-run estimates the training of one process; leave the launcher out")
        experiment = prepare(asked)
        click.echo(training_estimate(experiment, planned_adapters(experiment)))
        return
    trained, missing = _trained(asked, only, maker_of(asked))
    write_missing_cards(trained)
    for each in trained:
        click.echo(each.fixture.folder)
    leave_incomplete(missing)


def _trained(
    asked: "Options", only: str | None, make: "EngineMaker | None"
) -> "tuple[Sequence[TrainedAdapter], Sequence[str]]":
    """The adapters, trained where the command line says, and a line for each that is missing."""
    from harness.measuring.preparation import prepare
    from harness.measuring.together import train_together

    if make is not None:
        from harness.commands.job import train_by_units

        return train_by_units(prepare(asked), make)
    if only is None:
        return train_together(asked), ()
    from harness.measuring.units.by_hand import train_only

    return train_together(asked, lambda experiment: (train_only(experiment, only),)), ()
