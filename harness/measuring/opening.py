"""Opens what a job needs before anything is trained or scored: names, full models, and the rows of the suite."""

from collections.abc import Mapping, Sequence

from harness.config.schema import EvaluationConfig, ExperimentConfig
from harness.measuring.evaluations.base import Evaluation
from harness.measuring.experiment import Experiment
from harness.measuring.kinds import prepare_suite
from harness.measuring.lineup import UNQUANTISED, Candidate, merged_name
from harness.models.adapter_files.folder import AdapterError
from harness.models.base import BASELINE
from harness.models.base_files.folder import ModelError
from harness.models.opening import open_model
from harness.training.variants import FIRST_STAGE, variants_of
from suites.evaluations.reward import RULERS


def open_job(
    experiment: Experiment, others: Sequence[Candidate], *, trains: bool
) -> Mapping[EvaluationConfig, Evaluation]:
    """Checks the names of all subjects, opens the full models, and encodes the rows of the suite.

    Args:
        experiment: what to measure on.
        others: candidates that exist already.
        trains: whether the experiment's own adapters are candidates too.

    Returns:
        The prepared suite, which rewards are added to when all candidates are there (`with_rewards`).

    Raises:
        UserError: a name that is taken, a model that cannot be loaded, or a row that cannot be encoded.
    """
    check_names(others, trained_names(experiment.config) if trains else ())
    for each in others:
        if each.model is not None and each.name != UNQUANTISED:
            _open(experiment, each)
    return prepare_suite(experiment, {})


def check_names(others: Sequence[Candidate], trained: Sequence[str]) -> None:
    """Checks that no two subjects of a run have one name.

    Raises:
        AdapterError: one of the others has the name of a trained adapter, of a ruler, of the baseline, or of another.
    """
    taken = {BASELINE, *RULERS, *trained}
    for each in others:
        if each.name in taken or (each.name == UNQUANTISED and each.reference is not None):
            option = "--candidate" if each.model is not None else "--adapter"
            raise AdapterError(
                f"{option} {each.name}=...: a subject of this run has that name already; write {option} OTHER=PATH"
            )
        taken.add(each.name)


def trained_names(config: ExperimentConfig) -> list[str]:
    """Names of the candidates that an experiment trains, and of their merged models."""
    variants = variants_of(config)
    names = [variant.name for variant in variants]
    if config.merged is not None:
        has_start = any(variant.starts_from_sft for variant in variants)
        names += [
            merged_name(variant.name, config.merged)
            for variant in variants
            if not variant.is_control and (has_start or variant.name != FIRST_STAGE)
        ]
    return names


def _open(experiment: Experiment, candidate: Candidate) -> None:
    """Opens a full model, and refuses one whose vocabulary is not the baseline's.

    Nothing could be paired token by token.

    Raises:
        ModelError: it cannot be loaded, or the vocabularies differ.
    """
    assert candidate.model is not None
    option = f"--candidate {candidate.name}={candidate.model.name}"
    if open_model(candidate.model, option).get_vocab() != experiment.encoder.tokenizer.get_vocab():
        raise ModelError(
            f"{option}: its tokenizer has other tokens than that of {experiment.config.model.name}, so its numbers "
            f"cannot be paired with the baseline's; measure it with --model in a run of its own"
        )
