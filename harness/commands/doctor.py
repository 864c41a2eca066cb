"""`harness doctor`."""

import sys
from pathlib import Path

import click

from harness.commands.options import place_options


@click.command("doctor", short_help="Says what is missing on this machine, and what to do.")
@click.option("--on", "place", type=click.Choice(["ray"]), help="Asks the nodes of a Ray cluster too.")
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster to ask. [env: RAY_ADDRESS]")
@place_options
def doctor(workspace: Path, data_root: Path | None, place: str | None, address: str | None) -> None:
    """Checks versions, devices, quantisation, hub, data and disk, and says how to mend what is wrong.

    With --on ray or --address it says what every node of the cluster has, and whether it sees the workspace.
    """
    from harness.commands.examination import as_text, examine, worst

    checks = examine(workspace, data_root)
    if place is not None or address is not None:
        from harness.commands.nodes import examine_nodes

        checks = (*checks, *examine_nodes(address, workspace))
    click.echo(as_text(checks))
    sys.exit(2 if worst(checks) == "problem" else 0)
