"""`harness list`."""

from collections.abc import Callable
from pathlib import Path

import click

from harness.commands.options import workspace_option


@click.command("list", short_help="Lists suites, presets, datasets or runs.")
@click.argument("what", type=click.Choice(["suites", "presets", "datasets", "runs"]))
@workspace_option
def list_choices(what: str, workspace: Path) -> None:
    """Lists suites, presets or datasets to choose from, or the runs of a workspace."""
    from harness.commands import listings

    tables: dict[str, Callable[[], str]] = {
        "suites": listings.suites,
        "presets": listings.presets,
        "datasets": listings.datasets,
        "runs": lambda: listings.runs(workspace),
    }
    click.echo(tables[what]())
