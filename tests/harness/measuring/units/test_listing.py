"""What there is to do in every experiment that ships: names, and what each unit waits for."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.load import load_experiment, load_suite, preset_names
from harness.config.schema import ExperimentConfig
from harness.measuring.kinds import KINDS, row_kinds
from harness.measuring.lineup import Candidate, TrainedAdapter, candidate_of, merged_name, with_unquantised
from harness.measuring.units.by_hand import UnknownUnitError, check_name
from harness.measuring.units.listing import keys_of, reference_of, reference_unit, stages_of, train_unit
from harness.models.base import BASELINE
from harness.training.fixture import Fixture
from harness.training.recipe import EncodedRows
from harness.training.variants import FIRST_STAGE, Variant, variants_of

LOADED: Any = SimpleNamespace(
    device="cpu",
    dtype="float32",
    compute_dtype="float32",
    base=SimpleNamespace(config=SimpleNamespace(get_text_config=object)),
)
"""As much of a base as decides how a recipe is trained."""


@pytest.fixture(params=preset_names())
def config(request: pytest.FixtureRequest) -> ExperimentConfig:
    """A preset with three seeds and all controls that it can have."""
    config = load_experiment(request.param)
    controls = ("sft", "shuffled") if config.training.method == "dpo" else ()
    return replace(config, seeds=3, controls=controls)


def candidates_of(config: ExperimentConfig) -> list[Candidate]:
    """The candidates of an experiment once all is trained, merged models too."""
    variants = variants_of(config)
    fixtures = [Fixture(Path(f"f{place}"), f"f{place}", True, (), ()) for place, _ in enumerate(variants)]
    trained = [
        TrainedAdapter(variant, fixture, EncodedRows(())) for variant, fixture in zip(variants, fixtures, strict=True)
    ]
    candidates = [candidate_of(each, config) for each in trained]
    if config.merged is not None:
        name = merged_name(candidates[0].name, config.merged)
        candidates.append(Candidate(name, "merged", model=config.model))
    return list(with_unquantised(config, candidates))


def test_keys_are_unique_and_names_are_found_again(config: ExperimentConfig) -> None:
    """Each unit has a name of its own, by which `--only` and a process find it."""
    variants = variants_of(config)
    training = [train_unit(variant, None) for variant in variants]
    keys = [
        *(unit.key for unit in training),
        *keys_of(stages_of(load_suite("alignment", row_kinds()), candidates_of(config))),
    ]

    assert len(set(keys)) == len(keys)
    assert [unit.variant for unit in training] == [variant.name for variant in variants]
    for key in keys:
        check_name(key, keys)


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    """And with the nearest one."""
    with pytest.raises(
        UnknownUnitError, match=r"--only adapter, seed 4: .* \(did you mean adapter, seed 42\?\); there are: adapter, "
    ):
        check_name("adapter, seed 4", ["adapter, seed 42", "baseline"])


def test_every_subject_is_asked_by_every_evaluation_but_what_reads_a_reference(config: ExperimentConfig) -> None:
    """The baseline drifts from nothing; subjects with weights of their own are one unit each, and the last ones."""
    suite, candidates = load_suite("alignment", row_kinds()), candidates_of(config)
    stages = stages_of(suite, candidates)
    on_base = [each.name for each in candidates if each.model is None]
    others = [each.name for each in candidates if each.model is not None]

    assert [stage.evaluation for stage in stages] == [each.name for each in suite.evaluations] + [None] * len(others)
    for evaluation, stage in zip(suite.evaluations, stages, strict=False):
        first = [] if KINDS[evaluation.kind].reads_reference else [BASELINE]
        assert stage.subjects == (*first, *on_base)
    assert [stage.subjects for stage in stages[len(suite.evaluations) :]] == [(name,) for name in others]


def test_what_continues_a_first_stage_waits_for_it(config: ExperimentConfig) -> None:
    """Its unit names that adapter, and its reference is scored with it."""
    for variant in variants_of(config):
        start = "fingerprint" if variant.starts_from_sft else None
        assert train_unit(variant, start).start == start
        assert reference_of(variant) == (FIRST_STAGE if variant.starts_from_sft else BASELINE)
        assert (reference_of(variant) == FIRST_STAGE) == (config.sft is not None and variant.name != FIRST_STAGE)


def test_a_reference_is_one_unit_for_all_that_see_the_same_rows() -> None:
    """Rates and betas change no row; seeds do. Where it is computed in every step there is no unit."""
    config = replace(load_experiment("tiny"), seeds=2, sweep={"training.learning_rate": (1e-5, 1e-4)})
    runs: list[tuple[Variant, EncodedRows]] = [(variant, EncodedRows(())) for variant in variants_of(config)]
    unit = reference_unit(LOADED, runs, None)

    assert len(runs) == 4
    assert unit is not None
    assert unit.variants == tuple(variant.name for variant, _ in runs[:2])
    half: Any = SimpleNamespace(**vars(LOADED) | {"compute_dtype": "bfloat16"})
    assert reference_unit(half, runs, None) is None
