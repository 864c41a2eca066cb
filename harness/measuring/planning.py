"""Says what a whole job would take, its training and its measuring, without training or writing anything."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.config.schema import LoraConfig
from harness.measuring.dry_run import estimate
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate, TrainedAdapter, training_runs, with_unquantised
from harness.measuring.opening import open_job, trained_names
from harness.training.dry_run import estimates
from harness.training.fixture import Fixture, planned_fixture
from harness.training.trainer import write_untrained
from harness.training.variants import FIRST_STAGE


def planned_adapters(experiment: Experiment) -> tuple[TrainedAdapter, ...]:
    """The adapters that an experiment asks for; `fixture.reused` says which of them are trained already."""
    planned: list[TrainedAdapter] = []
    first_stage: Fixture | None = None
    for variant, rows in training_runs(experiment):
        start = first_stage if variant.starts_from_sft else None
        fixture = planned_fixture(experiment.loaded, rows, variant.recipe, experiment.workspace.fixtures, start=start)
        if variant.name == FIRST_STAGE:
            first_stage = fixture
        planned.append(TrainedAdapter(variant, fixture, rows))
    return tuple(planned)


def training_estimate(experiment: Experiment, planned: Sequence[TrainedAdapter]) -> str:
    """What training the planned adapters would take, as text.

    Raises:
        TrainingError: a recipe that cannot be trained.
    """
    there = [each.variant.name for each in planned if each.fixture.reused]
    missing = [(each.variant, each.rows) for each in planned if not each.fixture.reused]
    blocks = [f"{'; '.join(there)}: trained already, reused"] if there else []
    blocks += [estimates(experiment.loaded, missing, experiment.terminal.say)] if missing else []
    return "\n\n".join(blocks)


def estimate_job(experiment: Experiment, others: Sequence[Candidate]) -> Iterator[str]:
    """Yields what training and measuring would take.

    The adapters that are still to be trained are stood in for by untrained ones of the same shape, which compute as
    much. Assumed, besides what each of the two estimates assumes: merging takes no time.

    Args:
        experiment: rows, model and settings.
        others: full models that are measured too.

    Raises:
        UserError: a recipe that cannot be trained, or a candidate that does not fit.
    """
    suite = open_job(experiment, others, trains=True)
    planned = planned_adapters(experiment)
    yield f"Training:\n\n{training_estimate(experiment, planned)}\n\nMeasuring:\n"
    with TemporaryDirectory() as scratch:
        yield from estimate(experiment, _candidates(experiment, planned, others, Path(scratch)), suite)


def _candidates(
    experiment: Experiment, planned: Sequence[TrainedAdapter], others: Sequence[Candidate], scratch: Path
) -> tuple[Candidate, ...]:
    """What will be measured beside the baseline."""
    config = experiment.config
    standing_in: dict[LoraConfig, Path] = {}
    candidates = []
    for each in planned:
        lora, folder = each.variant.recipe.lora, each.fixture.folder
        if not each.fixture.reused:
            folder = standing_in.setdefault(lora, scratch / str(len(standing_in)))
            if not folder.exists():
                write_untrained(experiment.loaded, each.rows, each.variant.recipe, folder)
        candidates.append(Candidate(each.variant.name, f"adapter {folder}", adapter=str(folder)))
    names = {each.name for each in candidates}
    merged = [name for name in trained_names(config) if name not in names]
    candidates += [Candidate(name, "merged", model=config.model) for name in merged]
    return with_unquantised(config, [*candidates, *others])
