"""`harness doctor`."""

import sys
from pathlib import Path

import click

from harness.commands.options import place_options


@click.command("doctor", short_help="Says what is missing on this machine, and what to do.")
@place_options
def doctor(workspace: Path, data_root: Path | None) -> None:
    """Checks versions, devices, quantisation, hub, data and disk, and says how to mend what is wrong."""
    from harness.commands.examination import as_text, examine, worst

    checks = examine(workspace, data_root)
    click.echo(as_text(checks))
    sys.exit(2 if worst(checks) == "problem" else 0)
