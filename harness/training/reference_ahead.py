"""Score by the reference ahead of the trainings that need it, in a process of their own."""

import tempfile
from pathlib import Path

from harness.models.base import LoadedModel
from harness.training.fixture import Fixture, Workplace, file_of_check, fixture_inputs
from harness.training.recipe import EncodedRows, Recipe, usable_recipe
from harness.training.trainer import Folders, check_trainable, on_fitting_engine, ready_to_train, restored
from harness.training.trl import TrainerInputs
from harness.workspace import Workspace


def score_reference(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, place: Workplace, *, start: Fixture | None = None
) -> None:
    """Score what a training would score by its reference before the first step, and store it in the cache.

    It is the same code in the same order, so that a training that finds these scores ends with the same adapter. What
    the check of packs finds is kept in the workspace, as a training keeps it.

    Args:
        loaded: base model without adapters.
        rows: encoded rows.
        recipe: recipe of the run.
        place: workspace, who is told, and the cache that takes the scores.
        start: fixture of an earlier stage, which the training would continue.

    Raises:
        WorkspaceError: the workspace is not writable.
        TrainingError: the recipe cannot be trained.
    """
    workspace = Workspace(place.workspace)
    workspace.prepare()
    start_folder = None if start is None else start.folder

    def score(recipe: Recipe) -> None:
        recipe, _ = usable_recipe(recipe, loaded)
        check_trainable(loaded, rows, recipe, start_folder)
        check = file_of_check(workspace.fixtures, fixture_inputs(loaded, rows, recipe, start))
        inputs = TrainerInputs(loaded, rows.training, recipe, start is not None)
        with tempfile.TemporaryDirectory() as folder, restored(loaded.base):
            here = Path(folder)
            folders = Folders(here / "adapter", here / "checkpoints", start_folder, check=check)
            with ready_to_train(
                inputs, rows, folders, here, say=place.say, progress=place.progress, cache=place.cache
            ) as (_, recorder):
                recorder.score_selection_by_reference()

    on_fitting_engine(score, recipe, place.say)
