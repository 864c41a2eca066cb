"""`harness check`."""

import sys
from pathlib import Path
from typing import Any

import click

from harness.commands.options import PATH, experiment_options, hidden, place_options, suite_option
from harness.config.limits import MOST_VARIANTS

_OF_CALIBRATE = ("preset", "config_file", "overrides", "suite", "allow_task_code", "workspace", "data_root")
"""Options of `harness calibrate` that the old `--calibrate` takes too."""


@click.command("check", short_help="Judges candidates by gates; exit code 3 where one fails.")
@click.argument("run", required=False, type=PATH)
@click.option("--against", type=PATH, metavar="RUN", help="Compares with this run's candidates.")
@click.option("--gates", "gates_file", type=PATH, help="File of gates, in place of the suite's.")
@click.option(
    "--candidate", "candidates", multiple=True, metavar="NAME", help="Judges this one alone; may be repeated."
)
@click.option("--strict", is_flag=True, help="Also stops at a gate that cannot tell.")
@click.option("--junit", type=PATH, help="JUnit XML file to write.")
@click.option("--summary", type=PATH, help="Markdown file to append to ($GITHUB_STEP_SUMMARY).")
@click.option("--calibrate", type=click.IntRange(3, MOST_VARIANTS), metavar="N", hidden=True)
@hidden(experiment_options, suite_option, place_options)
def check(run: Path | None, calibrate: int | None, **options: Any) -> None:
    """Judges a run's candidates by gates; exit code 3 where one lost more than a gate allows."""
    of_calibrate = {name: options.pop(name) for name in _OF_CALIBRATE}
    if calibrate is not None:
        _calibrate(run, calibrate, of_calibrate)
        return
    if run is None:
        raise click.UsageError("name the folder of a RUN to judge")
    from harness.commands.gate_check import CheckOptions
    from harness.commands.gate_check import check as check_run

    checked = check_run(run, CheckOptions(**options))
    click.echo("\n".join(checked.lines))
    sys.exit(checked.exit_code)


def _calibrate(run: Path | None, n_seeds: int, options: dict[str, Any]) -> None:
    """What `--calibrate` did before it became a command."""
    from harness.commands.calibrate import proposed_gates

    if run is not None:
        raise click.UsageError("--calibrate trains new adapters and takes no RUN")
    click.echo(
        f"`harness check --calibrate {n_seeds}` is now `harness calibrate --seeds {n_seeds}`; "
        "the old form goes away in the next release",
        err=True,
    )
    click.echo(proposed_gates(n_seeds, options), nl=False)
