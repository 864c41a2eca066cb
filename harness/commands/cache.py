"""`harness cache`."""

from pathlib import Path

import click

from harness.commands.options import workspace_option


@click.command("cache", short_help="Shows the size of the score cache, or empties it.")
@click.argument("what", type=click.Choice(["info", "clear"]))
@workspace_option
def cache(what: str, workspace: Path) -> None:
    """Shows how much the score cache of a workspace holds, or empties it."""
    from harness.workspace import Workspace
    from suites.engine.cache.score_cache import ScoreCache

    file = Workspace(workspace).scores
    if not file.exists():
        click.echo(f"there is no score cache in {workspace}")
        return
    with ScoreCache.open(file, lambda line: click.echo(line, err=True)) as scores:
        info = scores.info() if what == "info" else scores.clear()
    done = "holds" if what == "info" else "was emptied of"
    click.echo(
        f"{info.path} {done} {info.n_scores} scores of {info.n_contexts} contexts, {info.n_results} answers, "
        f"divergences and checks, {info.n_bytes:,} bytes"
    )
