"""`harness calibrate`."""

from pathlib import Path
from typing import Any

import click

from harness.commands.options import (
    PATH,
    cluster_options,
    experiment_options,
    place_options,
    ranks_option,
    suite_option,
)
from harness.config.limits import MOST_VARIANTS


@click.command("calibrate", short_help="Proposes gates from the spread over training seeds.")
@click.option(
    "--seeds",
    type=click.IntRange(3, MOST_VARIANTS),
    default=5,
    show_default=True,
    metavar="N",
    help="Trains the experiment with N seeds, counted up from its own.",
)
@click.option("--gates", type=PATH, metavar="FILE", help="File to write (default: print it).")
@experiment_options
@suite_option
@cluster_options
@ranks_option
@place_options
def calibrate(seeds: int, gates: Path | None, **options: Any) -> None:
    """Proposes gates for `harness check --against` from the spread over training seeds."""
    from harness.commands.gate_check import CheckError
    from reports.whole import check_writable, write_whole

    try:
        if gates is not None:
            check_writable(gates)  # before hours of training
        text = proposed_gates(seeds, options)
        if gates is None:
            click.echo(text, nl=False)
        else:
            click.echo(write_whole(gates, text))
    except OSError as error:
        raise CheckError(f"--gates: cannot write {gates} ({error.strerror})") from error


def proposed_gates(n_seeds: int, options: dict[str, Any]) -> str:
    """A file of gates, after training the experiment with several seeds and measuring all adapters."""
    from harness.commands import gate_check
    from harness.commands.cluster import on_cluster
    from harness.commands.job import leave_incomplete, train_and_measure
    from harness.config.wording import listed
    from harness.measuring.preparation import Options, prepare

    with on_cluster(options) as maker_of:
        asked = Options(**options, seeds=n_seeds)
        experiment = prepare(asked)
        if experiment.config.sweep:  # before hours of training
            raise gate_check.CheckError(
                f"calibrate: gates are calibrated on several seeds of one recipe, and the configuration sweeps "
                f"{listed(experiment.config.sweep)}; take the sweep out with -o sweep={{}}"
            )
        run, _ = train_and_measure(experiment, make=maker_of(asked))
    leave_incomplete(run.not_measured)  # gates of fewer seeds would be narrower than they are said to be
    return gate_check.calibrate(run, n_seeds)
