"""`harness prune`."""

import sys
from pathlib import Path

import click

from harness.commands.options import workspace_option


@click.command("prune", short_help="Removes what no run needs, after listing it.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Also adapters, but for the N used last.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Also adapters that no run used for DAYS."
)
@click.option("--yes", is_flag=True, help="Removes without asking.")
@workspace_option
def prune(keep: int | None, older_than: float | None, *, yes: bool, workspace: Path) -> None:
    """Removes what killed commands left in a workspace: half-written and damaged files, and locks that nobody holds.

    Runs are never removed. With --keep or --older-than, trained adapters go too; with both, those that both name.
    """
    from harness.prunable import prunable, remove_all, table

    found = prunable(workspace, keep=keep, older_than_days=older_than)
    if not found:
        click.echo(f"nothing to remove in {workspace}")
        return
    click.echo(table(found, workspace))
    if not yes and not sys.stdin.isatty():
        click.echo("nothing was removed: add --yes to remove all of this")
        return
    if yes or click.confirm("Remove all of this?"):
        kept = remove_all(found)
        for each in kept:
            click.echo(f"kept, because it is in use or cannot be removed: {each.path}", err=True)
        click.echo(f"removed {len(found) - len(kept)} of {len(found)}")
