"""`harness show-config`."""

from pathlib import Path

import click

from harness.commands.options import experiment_options


@click.command("show-config")
@experiment_options
def show_config(preset: str | None, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """Prints the resolved configuration as YAML."""
    from harness.config.load import load_experiment, to_yaml

    click.echo(to_yaml(load_experiment(preset, config_file, overrides)), nl=False)
