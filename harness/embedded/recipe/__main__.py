"""Rebuilds the embedded base model: `python -m harness.embedded.recipe --out FOLDER`."""

from pathlib import Path

import click

from harness.embedded.recipe.base_model import BaseRecipe, build

BASE_MODEL = Path(__file__).parent.parent / "base_model"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=BASE_MODEL, show_default=True, help="Folder to write.")
@click.option("--steps", default=BaseRecipe().steps, show_default=True, help="Steps on the base text.")
@click.option("--sft-steps", default=BaseRecipe().sft_steps, show_default=True, help="Steps on chats.")
@click.option("--lesson-steps", default=BaseRecipe().lesson_steps, show_default=True, help="Steps of the last lesson.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, steps: int, sft_steps: int, lesson_steps: int, seed: int) -> None:
    """Builds the embedded base model from its text; the defaults give what ships (about 20 minutes on one core)."""
    recipe = BaseRecipe(steps=steps, sft_steps=sft_steps, lesson_steps=lesson_steps, seed=seed)
    build(out, recipe)


if __name__ == "__main__":
    main()
