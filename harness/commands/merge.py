"""`harness merge`."""

from pathlib import Path
from typing import Any

import click

from harness.commands.options import PATH, model_option


@click.command("merge", short_help="Merges an adapter into its unquantised base.")
@click.argument("adapter")
@click.option("--dtype", type=click.Choice(["float16", "bfloat16"]), required=True, help="Type of the merged weights.")
@click.option("--out", type=PATH, required=True, help="Folder to write.")
@model_option
@click.option("--revision", help="Revision of a base model on the hub.")
def merge(adapter: str, dtype: Any, out: Path, model: str | None, revision: str | None) -> None:
    """Merges an adapter into its unquantised base: the model to deploy.

    Measure what you ship: `harness eval --adapter ADAPTER --candidate merged=DIR`.
    """
    from harness.models.merge import merge_adapter

    merged = merge_adapter(adapter, out, dtype=dtype, base=model, revision=revision)
    for note in merged.notes:
        click.echo(note, err=True)
    click.echo(merged.folder)
