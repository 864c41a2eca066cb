"""`harness data inspect` and `harness data build-pairs`."""

from pathlib import Path
from typing import Any

import click

from harness.commands.options import PATH, OnceGroup, experiment_options, place_options


@click.group("data", cls=OnceGroup)
def data() -> None:
    """Shows rows as training sees them, and makes new ones."""


@data.command("inspect", short_help="Shows rows as training sees them.")
@click.argument("name")
@click.option("--rows", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--split", help="Default: the split that training takes.")
@experiment_options
@place_options
def inspect(name: str, rows: int, split: str | None, data_root: Path | None, **options: Any) -> None:
    """Shows rows of a dataset, or of a file, as training sees them: prompt, boundary, response, token counts."""
    from harness.config.load import load_experiment
    from harness.data.inspection import inspect_dataset

    config = load_experiment(options["preset"], options["config_file"], options["overrides"])
    click.echo(inspect_dataset(name, split, config, n_rows=rows, data_root=data_root))


@data.command("build-pairs", short_help="Makes preference pairs with a model.")
@click.argument("specification", type=PATH)
@click.option("--out", type=PATH, required=True, help="JSONL file to write.")
@click.option("--unpaired", is_flag=True, help="Rows of prompt, completion and label instead of pairs.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True)
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=0.95, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True)
@click.option("--force", is_flag=True, help="Replaces a file that was made with other settings.")
@experiment_options
def build_pairs(
    specification: Path,
    out: Path,
    *,
    unpaired: bool,
    force: bool,
    preset: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    **decoding: Any,
) -> None:
    """Makes preference pairs: the configured model answers under two opposed instructions."""
    from harness.config.load import load_experiment
    from harness.data.made import pair_building
    from harness.data.made.pair_spec import load_pair_spec
    from harness.models.base import load_model
    from harness.models.threads import apply_threads, choose_threads
    from harness.terminal import Terminal
    from suites.engine.decoding import Decoding

    terminal = Terminal()
    spec = load_pair_spec(specification)
    config = load_experiment(preset, config_file, overrides)
    apply_threads(choose_threads(config.model.threads))
    with terminal.waiting("loading the model"):
        loaded = load_model(config.model)
    output = pair_building.Output(out, unpaired, force)
    with terminal.progress("pairs", spec.n_pairs) as done:
        built = pair_building.build_pairs(
            spec, loaded, output, decoding=Decoding(**decoding), say=terminal.say, progress=done
        )
    click.echo(f"{built.path}: {built.n_rows} rows; {built.left_out} pairs left out, their answers empty or equal")
