"""Rebuilds the embedded base model: `python -m harness.embedded.recipe --out FOLDER`."""

from dataclasses import replace
from pathlib import Path

import click

from harness.config.limits import MOST_THREADS
from harness.embedded.recipe.base_model import BASE_MODEL, BaseRecipe, build
from harness.embedded.recipe.pretraining import Schedule


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=BASE_MODEL, show_default=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), default=Schedule().steps, show_default=True, help="Steps of training.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    default=2,
    show_default=True,
    help="Threads to compute with; they change the last digits.",
)
def main(out: Path, steps: int, seed: int, threads: int) -> None:
    """Builds the embedded base model from its text; the defaults give what ships (under an hour on two cores).

    A build that was stopped goes on when the same command is given again.
    """
    import torch

    torch.set_num_threads(threads)
    build(out, replace(BaseRecipe(seed=seed), schedule=Schedule(steps=steps)))


if __name__ == "__main__":
    main()
