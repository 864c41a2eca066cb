"""`harness eval`."""

from functools import partial
from typing import Any

import click

from harness.commands.options import (
    cluster_options,
    experiment_options,
    measuring_options,
    model_option,
    only_option,
    place_options,
    subject_options,
    verbose_option,
)


@click.command("eval", short_help="Measures existing adapters and models beside their base.")
@model_option
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="PATH_OR_ID",
    help="A trained adapter; may be repeated. NAME=PATH names its column.",
)
@click.option(
    "--pairs",
    metavar="FILE|NAME",
    help="Rows of your own to measure: preference accuracy, the answers' perplexity, answers, drift.",
)
@click.option(
    "--trained-on",
    multiple=True,
    metavar="FILE|NAME",
    help="Rows that an adapter from elsewhere was trained on; what overlaps them is not measured. May be repeated.",
)
@subject_options
@experiment_options
@measuring_options
@click.option("--dry-run", is_flag=True, help="Only estimates rows, tokens, memory and time, by a short probe.")
@only_option("preferences: NAME")
@cluster_options
@place_options
@verbose_option
def evaluate(
    model: str | None,
    adapters: tuple[str, ...],
    models: tuple[str, ...],
    pairs: str | None,
    trained_on: tuple[str, ...],
    verbose: bool,
    **options: Any,
) -> None:
    """Measures existing adapters and full models beside their base."""
    from harness.commands.cluster import on_cluster
    from harness.commands.job import leave_incomplete, measure_existing
    from harness.commands.output import show
    from harness.data.read import as_dataset
    from harness.measuring.existing import existing_candidates, find_adapters, own_origins
    from harness.measuring.opening import open_job
    from harness.measuring.preparation import Options, prepare
    from harness.models.adapters import common_base, named_adapters
    from harness.workspace import Workspace
    from reports.whole import in_use

    dry_run, only = options.pop("dry_run"), options.pop("only")
    if not adapters and not models:
        raise click.UsageError("give at least one --adapter or --candidate")
    _check_combination(only, pairs, is_alone=not dry_run and options["out"] is None)
    context = click.get_current_context()
    maker_of = context.with_resource(on_cluster(options, dry_run=dry_run, only=bool(only)))
    if (named := named_adapters(adapters)) and model is None:
        model = common_base(named)
    found = find_adapters(named, Workspace(options["workspace"]).fixtures)
    context.with_resource(in_use(each.folder for each in found))
    own = own_origins(found, models)
    asked = Options(
        **options,
        model=model,
        pairs=None if pairs is None else as_dataset(pairs),
        trains_now=False,
        trains=bool(own),
        trained_groups=frozenset(group for origin in own for group in origin.groups),
        trained_on=trained_on,
        adapters=tuple((each.name, each.folder) for each in found),
    )
    experiment = prepare(asked)
    candidates = existing_candidates(experiment.config, found, models, trained_on, pairs)
    suite = partial(open_job, experiment, candidates, trains=False)
    if dry_run:
        from harness.measuring.dry_run import estimate

        for line in estimate(experiment, candidates, suite(), experiment.terminal.say):
            click.echo(line)
        return
    if only is not None:
        from harness.measuring.units.by_hand import measure_only

        measure_only(experiment, candidates, suite(), only)
        return
    run, reports = measure_existing(experiment, candidates, suite, maker_of(asked))
    show(reports, verbose=verbose)
    leave_incomplete(run.not_measured)


def _check_combination(only: str | None, pairs: str | None, *, is_alone: bool) -> None:
    """Refuses options that do not go together."""
    if only is not None and not is_alone:
        raise click.UsageError("--only computes one part and writes no report: leave out --dry-run and --out")
    if pairs is not None and not pairs.strip():
        raise click.UsageError("--pairs: name a file or a dataset")
