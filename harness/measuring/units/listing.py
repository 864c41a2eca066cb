"""List what there is to do: the units of a job by name, and what each needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.config.schema import EvaluationConfig, SuiteConfig
from harness.measuring.kinds import KINDS
from harness.measuring.lineup import Candidate, TrainingRun
from harness.measuring.units.unit import ReferenceUnit, TrainUnit
from harness.models.base import BASELINE, LoadedModel
from harness.training.recipe import usable_recipe
from harness.training.reference import has_reference
from harness.training.variants import FIRST_STAGE, Variant

WHOLE_SUITE = "whole suite"
"""What stands in place of an evaluation's name for a subject with weights of its own."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The subjects that one evaluation measures on one set of weights, in the order of the report."""

    evaluation: str | None
    """Its name; None is the whole suite, of a subject with weights of its own."""
    subjects: tuple[str, ...]


def score_key(evaluation: str | None, subject: str) -> str:
    """Key of the unit that measures a subject by an evaluation; None is the whole suite."""
    return f"{evaluation or WHOLE_SUITE}: {subject}"


def train_unit(variant: Variant, start: str | None) -> TrainUnit:
    """The unit that trains a variant.

    Args:
        variant: What to train.
        start: Fingerprint of the adapter that it continues from.
    """
    return TrainUnit(f"train: {variant.name}", variant.name, start)


def reference_of(variant: Variant) -> str:
    """What a variant's training compares it with: the baseline, or the first stage."""
    return FIRST_STAGE if variant.starts_from_sft else BASELINE


def reference_unit(loaded: LoadedModel, runs: Sequence[TrainingRun], start: str | None) -> ReferenceUnit | None:
    """The unit that scores rows by a reference before adapters are trained, None where each step computes them anew.

    In one process, what the first training scores by its reference is found by those after it, so the scores of all
    come from as many calls as there are different rows. A unit does the same in the same order.

    Args:
        loaded: The base.
        runs: Adapters that are to be trained and have one reference, in their order.
        start: Fingerprint of the adapter that they continue from, which is their reference; None is the baseline.
    """
    recipes = [usable_recipe(variant.recipe, loaded)[0].training for variant, _ in runs]
    if not any(has_reference(recipe.method) and recipe.reference == "once" for recipe in recipes):
        return None
    return ReferenceUnit(f"reference: {reference_of(runs[0][0])}", _different(runs), start)


def _different(runs: Sequence[TrainingRun]) -> tuple[str, ...]:
    """Names of the first of each group of runs that see the same rows in the same batches."""
    first: dict[object, str] = {}
    for variant, _ in runs:
        recipe = variant.recipe.training
        sizes = (recipe.batch_size, recipe.gradient_accumulation_steps, recipe.max_steps, recipe.epochs)
        first.setdefault((variant.rows, recipe.method, recipe.engine, variant.recipe.seed, sizes), variant.name)
    return tuple(first.values())


def is_asked(evaluation: EvaluationConfig, candidate: Candidate | None, on_base: Mapping[str, Candidate]) -> bool:
    """Whether an evaluation asks anything of a subject on the base's weights.

    Args:
        evaluation: The line of the suite.
        candidate: The subject; None is the baseline.
        on_base: Candidates on these weights by name.
    """
    if not KINDS[evaluation.kind].reads_reference:
        return True
    if candidate is None or candidate.reference is None:
        return False
    return candidate.reference == BASELINE or candidate.reference in on_base


def stages_of(suite: SuiteConfig, candidates: Sequence[Candidate]) -> list[Stage]:
    """What there is to measure, in the order in which one process measures it.

    Args:
        suite: The suite.
        candidates: In the order of the report.
    """
    on_base = {each.name: each for each in candidates if each.model is None}
    stages = []
    for evaluation in suite.evaluations:
        asked = [name for name, each in on_base.items() if is_asked(evaluation, each, on_base)]
        first = [BASELINE] if is_asked(evaluation, None, on_base) else []
        stages.append(Stage(evaluation.name, (*first, *asked)))
    return [*stages, *(Stage(None, (each.name,)) for each in candidates if each.model is not None)]


def keys_of(stages: Sequence[Stage]) -> list[str]:
    """Keys of all units that measure."""
    return [score_key(stage.evaluation, subject) for stage in stages for subject in stage.subjects]
