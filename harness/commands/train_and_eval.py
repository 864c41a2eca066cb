"""`harness train-and-eval`."""

from typing import Any

import click

from harness.commands.options import (
    candidate_options,
    cluster_options,
    experiment_options,
    measuring_options,
    place_options,
    ranks_option,
    subject_options,
    verbose_option,
)


@click.command("train-and-eval", short_help="Trains, measures beside the base, writes the report.")
@experiment_options
@candidate_options
@subject_options
@measuring_options
@click.option("--dry-run", is_flag=True, help="Only estimates rows, tokens, memory and time of both, by short probes.")
@cluster_options
@ranks_option
@place_options
@verbose_option
def train_and_eval(models: tuple[str, ...], verbose: bool, dry_run: bool, **options: Any) -> None:
    """Trains the adapter (or reuses it), measures it beside its base, writes the report."""
    from harness.commands.cluster import on_cluster
    from harness.commands.job import leave_incomplete, train_and_measure
    from harness.commands.output import show
    from harness.measuring.lineup import named_models
    from harness.measuring.preparation import Options, prepare

    maker_of = click.get_current_context().with_resource(on_cluster(options, dry_run=dry_run))
    asked = Options(**options)
    experiment = prepare(asked)
    others = named_models(models, experiment.config)
    if dry_run:
        from harness.measuring.planning import estimate_job

        for line in estimate_job(experiment, others):
            click.echo(line)
        return
    run, finished = train_and_measure(experiment, others, maker_of(asked))
    show(finished, verbose=verbose)
    leave_incomplete(run.not_measured)
