"""`harness train`."""

from typing import Any

import click

from harness.commands.options import candidate_options, experiment_options, place_options, suite_option


@click.command("train", short_help="Trains the adapters of an experiment, or reuses them.")
@experiment_options
@candidate_options
@suite_option
@click.option("--dry-run", is_flag=True, help="Only estimates rows, tokens, steps, memory and time, by a short probe.")
@place_options
def train(*, dry_run: bool, **options: Any) -> None:
    """Trains the adapters of an experiment; those that are there already are reused.

    Rows that overlap what the suite measures are kept out of training.
    """
    from harness.commands.output import write_missing_cards
    from harness.measuring import lineup
    from harness.measuring.preparation import Options, prepare

    experiment = prepare(Options(**options))
    if dry_run:
        from harness.measuring.planning import planned_adapters, training_estimate

        click.echo(training_estimate(experiment, planned_adapters(experiment)))
        return
    trained = lineup.train(experiment)
    write_missing_cards(trained)
    for each in trained:
        click.echo(each.fixture.folder)
