"""Score by the reference ahead of the trainings that need it, in a process of their own."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.models.base import LoadedModel
from harness.training.recipe import EncodedRows, Recipe, usable_recipe
from harness.training.trainer import Folders, check_trainable, on_fitting_engine, ready_to_train, restored
from harness.training.trl import TrainerInputs
from suites.engine.scoring import ScoreStore


def score_reference(
    loaded: LoadedModel,
    rows: EncodedRows,
    recipe: Recipe,
    start: Path | None,
    say: Callable[[str], None],
    *,
    cache: ScoreStore,
) -> None:
    """Score what a training would score by its reference before the first step, and store it in the cache.

    It is the same code in the same order, so that a training that finds these scores ends with the same adapter.

    Args:
        loaded: base model without adapters.
        rows: encoded rows.
        recipe: recipe of the run.
        start: folder of the adapter of an earlier stage, which the training would continue.
        say: called with messages.
        cache: store of scores.

    Raises:
        TrainingError: the recipe cannot be trained.
    """

    def score(recipe: Recipe) -> None:
        recipe, _ = usable_recipe(recipe, loaded)
        check_trainable(loaded, rows, recipe, start)
        inputs = TrainerInputs(loaded, rows.training, recipe, start is not None)
        with tempfile.TemporaryDirectory() as folder, restored(loaded.base):
            folders = Folders(Path(folder) / "adapter", Path(folder) / "checkpoints", start)
            with ready_to_train(inputs, rows, folders, Path(folder), say=say, progress=None, cache=cache) as (_, own):
                own.score_selection_by_reference()

    on_fitting_engine(score, recipe, say)
