"""The candidates of a run: adapters that an experiment trains, adapters that exist already, and full models."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeAlias

from harness.config.schema import ExperimentConfig, ModelConfig
from harness.config.wording import shown_name
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import score_cache
from harness.models.adapter_files.folder import AdapterError
from harness.models.base import BASELINE, stored_dtype
from harness.models.merge import merge_adapter
from harness.models.origin import origin_of_model
from harness.processes import by_all
from harness.training.encode import encode_rows
from harness.training.fixture import Fixture, Workplace, build_or_reuse, find_fixture, note_on_earlier_fixtures
from harness.training.recipe import EncodedRows, Recipe, TrainingError, usable_recipe
from harness.training.trainer import try_recipe
from harness.training.variants import FIRST_STAGE, RowsOf, Variant, n_steps, variants_of
from reports.errors import UserError
from reports.paths import expanded
from reports.records import Basis
from suites.evaluations.reward import RULERS

UNQUANTISED = "unquantised"
"""Name of the subject that is the base model without quantisation."""
_MANY_ROWS = 2000
"""Rows whose encoding takes long enough to be shown."""
_LONGEST_NAME = 200
"""Characters of a candidate's name, which is a column of tables and part of file names."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject besides the baseline: an adapter on the baseline's weights, or a model with its own."""

    name: str
    description: str
    adapter: str | None = None
    """Folder or hub id of the adapter; None for a full model."""
    model: ModelConfig | None = None
    """The full model, in place of an adapter."""
    reference: str | None = BASELINE
    """Subject that its implicit reward is taken against: its own weights before preference training. None where there
    is no such reward."""
    reference_basis: Basis = "recorded"
    """How the reference is known."""
    beta: float = 0.1
    """Scale of the implicit reward."""
    beta_basis: Basis = "recorded"
    """How beta is known."""
    knows_rows: bool = True
    """Whether the rows that it was trained on are known, so that those that are measured were kept from it."""
    family: str = ""
    """Name shared by candidates that differ only in their training seed; empty where there is one seed."""
    is_control: bool = False
    """Whether it is only there to be compared with: trained on the chosen answers alone, or on shuffled pairs."""
    compared_with: tuple[str, ...] = ()
    """Other candidates that the report compares it with."""
    notes: tuple[str, ...] = ()
    """Messages for the reader."""


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """An adapter of an experiment, trained now or reused; in a dry run, planned."""

    variant: Variant
    fixture: Fixture
    rows: EncodedRows


TrainingRun: TypeAlias = tuple[Variant, EncodedRows]
"""An adapter to train, with its rows."""


class MissingAdapterError(UserError):
    """An adapter that must have been trained before is not there."""


def train(experiment: Experiment, missing: Mapping[str, str] | None = None) -> tuple[TrainedAdapter, ...]:
    """Trains the adapters of an experiment, or reuses those that exist; processes that are joined call it together.

    Args:
        experiment: what to train on.
        missing: the adapters that are left out, with the reason, where all others must be there, so that nothing is
            trained; None trains.

    Raises:
        MissingAdapterError: one that must be there is not.
        UserError: a recipe that cannot be trained, or a workspace that cannot be written.
    """
    runs = by_all(lambda: training_runs(experiment))
    if missing is not None:
        found = find_trained(experiment, [run for run in runs if run[0].name not in missing])
        lacking = {variant.name for variant, _ in runs} - {each.variant.name for each in found} - missing.keys()
        if lacking:
            raise MissingAdapterError(
                f"{'; '.join(sorted(lacking))}: must be trained and is not in {experiment.workspace.fixtures}; start "
                "the same command again, which trains what is missing"
            )
        return found
    by_all(lambda: try_recipes(experiment, runs[1:], tried=runs[:1]))  # the first is trained at once
    return train_runs(experiment, runs)


def train_runs(experiment: Experiment, runs: Sequence[TrainingRun]) -> tuple[TrainedAdapter, ...]:
    """Trains these adapters in their order, or reuses those that exist.

    Args:
        experiment: what to train on.
        runs: some of what `training_runs` lists; a first stage comes before those that continue it.
    """
    if note := note_on_earlier_fixtures(experiment.workspace.fixtures):
        experiment.terminal.say(note)
    trained: list[TrainedAdapter] = []
    with score_cache(experiment) as cache:
        for variant, rows in runs:
            with experiment.terminal.training(variant.name) as progress:
                fixture = build_or_reuse(
                    experiment.loaded,
                    rows,
                    variant.recipe,
                    Workplace(experiment.workspace.folder, experiment.terminal.say, progress, cache),
                    start=start_of(variant, trained),
                )
            for line in filter(None, (fixture.told, *fixture.notes)):
                experiment.terminal.say(f"{variant.name}: {line}")
            trained.append(TrainedAdapter(variant, fixture, rows))
    return tuple(trained)


def find_trained(experiment: Experiment, runs: Sequence[TrainingRun]) -> tuple[TrainedAdapter, ...]:
    """Those of these adapters that exist already, in their order; trains nothing."""
    found: list[TrainedAdapter] = []
    for variant, rows in runs:
        start = start_of(variant, found)
        if variant.starts_from_sft and start is None:
            continue
        folder = experiment.workspace.fixtures
        fixture = find_fixture(experiment.loaded, rows, variant.recipe, folder, start=start)
        if fixture is not None:
            found.append(TrainedAdapter(variant, fixture, rows))
    return tuple(found)


def start_of(variant: Variant, trained: Sequence[TrainedAdapter]) -> Fixture | None:
    """The fixture that a variant continues from, where it is among these."""
    stages = (each.fixture for each in trained if each.variant.name == FIRST_STAGE)
    return next(stages, None) if variant.starts_from_sft else None


def try_recipes(experiment: Experiment, runs: Sequence[TrainingRun], tried: Sequence[TrainingRun] = ()) -> None:
    """Tries recipes, so that none is refused after another was trained.

    Args:
        experiment: what to train on.
        runs: the adapters whose recipes are tried, each kind once.
        tried: those that are known to be right, or show it soon.

    Raises:
        TrainingError: one cannot be trained.
    """
    known: set[tuple[Recipe, RowsOf]] = set()
    for number, (variant, rows) in enumerate([*tried, *runs]):
        recipe, _ = usable_recipe(variant.recipe, experiment.loaded)
        alike = replace(recipe, seed=0, training=replace(recipe.training, learning_rate=1.0, beta=1.0, max_steps=1))
        if number >= len(tried) and (alike, variant.rows) not in known:
            with _named_by(variant.name):
                try_recipe(experiment.loaded, rows, recipe, is_started=variant.starts_from_sft)
        known.add((alike, variant.rows))


@contextmanager
def _named_by(name: str) -> Iterator[None]:
    """Names the adapter in errors of a recipe within the block.

    Raises:
        TrainingError: the block raised one.
    """
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{name}: {error}") from error


def training_runs(experiment: Experiment) -> list[TrainingRun]:
    """Lists every adapter to train with its rows; a control takes as many steps as the adapter it controls."""
    n_rows = len(experiment.data.training)
    with experiment.terminal.progress("encoding rows", n_rows) if n_rows >= _MANY_ROWS else nullcontext() as done:
        variants = variants_of(experiment.config)
        encoded = encode_rows(
            experiment.data,
            experiment.encoder,
            experiment.config.seed,
            done,
            kinds={variant.rows for variant in variants},
            folder=experiment.workspace.folder,
        )
    runs = []
    for variant in variants:
        recipe, rows = replace(variant.recipe, n_ranks=experiment.n_ranks), encoded[variant.rows]
        if variant.is_control:
            steps = n_steps(len(encoded["experiment"].training), recipe.training)
            recipe = replace(recipe, training=replace(recipe.training, max_steps=steps))
        runs.append((replace(variant, recipe=recipe), rows))
    return runs


def trained_candidates(
    experiment: Experiment, trained: Sequence[TrainedAdapter], others: Sequence[Candidate] = ()
) -> tuple[Candidate, ...]:
    """The candidates that a configuration asks for, then other full models.

    Raises:
        AdapterError: a full model has the name of an adapter.
    """
    config = experiment.config
    candidates = [candidate_of(each, config) for each in trained]
    if config.merged is not None:
        candidates += _merged_candidates(experiment, trained)
    return with_unquantised(config, [*candidates, *others])


def with_unquantised(config: ExperimentConfig, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates, with the unquantised base added where it is asked for or a full model needs it as reference.

    The unquantised base comes before the full models, because their reference has to be measured first.

    Raises:
        AdapterError: two candidates have one name.
    """
    names = Counter(each.name for each in candidates)
    if len(names) < len(candidates):
        taken = names.most_common(1)[0][0]
        raise AdapterError(f"--candidate: the name {taken!r} is taken by another one; write --candidate OTHER=PATH")
    on_base = [each for each in candidates if each.model is None]
    others = [each for each in candidates if each.model is not None]
    is_quantised = config.model.quantization != "none"
    if not is_quantised or not (others or UNQUANTISED in config.subjects):
        return (*on_base, *others)
    model = replace(config.model, quantization="none")
    unquantised = Candidate(
        UNQUANTISED, f"{config.model.name}, not quantised: what quantisation costs", model=model, reference=None
    )
    own = (replace(each, reference=UNQUANTISED) if each.reference == BASELINE else each for each in others)
    return (*on_base, unquantised, *own)


def named_models(models: Sequence[str], config: ExperimentConfig) -> tuple[Candidate, ...]:
    """Candidates from texts NAME=PATH, which name full models; one that another was trained from comes before it.

    Raises:
        AdapterError: a text without a name or path, or two with one name.
    """
    candidates: dict[str, Candidate] = {}
    for text in models:
        name, _, path = text.partition("=")
        if not path or name in candidates or not _is_name(name):
            raise AdapterError(
                f"--candidate {shown_name(text)}: must be NAME=PATH with a name that is not taken, of at most "
                f"{_LONGEST_NAME} characters on one line"
            )
        candidates[name] = full_model(name, path, config)
    return _held_to_starts(candidates)


def _is_name(name: str) -> bool:
    """Whether a full model can be called so; `check_names` knows all other names of a run."""
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name not in (BASELINE, UNQUANTISED, *RULERS)


def _held_to_starts(candidates: Mapping[str, Candidate]) -> tuple[Candidate, ...]:
    """Full models, each held to the one among them that it was trained from, the way both were before merging."""
    paths = {name: each.model.name for name, each in candidates.items() if each.model is not None}
    origins = {name: origin_of_model(expanded(path)) for name, path in paths.items()}
    names = {origin.fingerprint: name for name, origin in origins.items() if origin.fingerprint is not None}
    starts = {name: names[origin.start] for name, origin in origins.items() if origin.start in names}
    held: dict[str, Candidate] = {}
    while free := [name for name in candidates if name not in held and starts.get(name, "") in ("", *held)]:
        for name in free:  # the start of a start comes first
            each, start = candidates[name], starts.get(name)
            held[name] = each if start is None else _held_to(each, start)
    return (*held.values(), *(each for name, each in candidates.items() if name not in held))


def _held_to(candidate: Candidate, start: str) -> Candidate:
    """A full model, held to another one that it was trained from."""
    return replace(candidate, reference=start, reference_basis="recorded", compared_with=(start,), notes=())


def candidate_of(trained: TrainedAdapter, config: ExperimentConfig) -> Candidate:
    """The candidate that a trained adapter is."""
    variant, fixture = trained.variant, trained.fixture
    stage = (FIRST_STAGE,) if variant.starts_from_sft else ()
    return Candidate(
        variant.name,
        f"adapter {fixture.fingerprint}",
        adapter=str(fixture.folder),
        reference=FIRST_STAGE if variant.starts_from_sft else BASELINE,
        beta=variant.recipe.training.beta,
        family=variant.family if config.seeds > 1 and not variant.is_control else "",
        is_control=variant.is_control,
        compared_with=(*variant.controls, *stage),
    )


def _merged_candidates(experiment: Experiment, trained: Sequence[TrainedAdapter]) -> list[Candidate]:
    """The merged models of all adapters but controls, each held to its merged start.

    The start of adapters that continue from a first stage is merged and measured before them: against the bare base,
    what SFT taught would count as preferences.
    """
    merged, named = list[Candidate](), {each.variant.name: each for each in trained}
    for variant in merged_variants([each.variant for each in trained]):
        reference = merged[0].name if variant.starts_from_sft else BASELINE
        merged.append(_merged(experiment, named[variant.name], reference))
    return merged


def merged_variants(variants: Sequence[Variant]) -> list[Variant]:
    """Those whose adapters are merged where merged models are measured: a first stage that is continued, then others.

    Controls are none of them.
    """
    tuned = [each for each in variants if not each.is_control and each.name != FIRST_STAGE]
    is_continued = any(each.starts_from_sft for each in tuned)
    return [*(each for each in variants if each.name == FIRST_STAGE and is_continued), *tuned]


def _merged(experiment: Experiment, trained: TrainedAdapter, reference: str) -> Candidate:
    """Merges an adapter into the unquantised base, the model that people deploy, and makes it a candidate."""
    config = experiment.config
    dtype = config.merged
    assert dtype is not None
    folder = experiment.workspace.merged / f"{trained.fixture.fingerprint}-{dtype}"
    with experiment.terminal.waiting(f"merging {trained.variant.name}"):
        merged = merge_adapter(str(trained.fixture.folder), folder, dtype=dtype, base=config.model)
    for note in merged.notes:
        experiment.terminal.say(note)
    return replace(
        full_model(merged_name(trained.variant.name, dtype), str(folder), config),
        description=f"adapter {trained.fixture.fingerprint} merged in {dtype}, not quantised",
        reference=reference,
        reference_basis="recorded",
        beta=trained.variant.recipe.training.beta,
        beta_basis="recorded",
        knows_rows=True,
        compared_with=(trained.variant.name,),
    )


def merged_name(variant: str, dtype: str) -> str:
    """Name of the candidate that a trained adapter becomes when it is merged."""
    return f"{variant} merged, {dtype}"


def full_model(name: str, path: str, config: ExperimentConfig) -> Candidate:
    """A full model as a candidate, in the dtype of its files on a GPU and in float32 on a CPU.

    Its reference and beta are what the record of its merge says. Where nothing says them, its reference is taken to be
    the base; where it was merged from an adapter that continued another one, its reference is not here.
    """
    origin = origin_of_model(expanded(path))
    dtype = stored_dtype(path, config.model.device)
    candidate = Candidate(
        name,
        f"full model {path}, not quantised",
        model=replace(config.model, name=path, revision=None, quantization="none", dtype=dtype),
        reference_basis="recorded" if origin.says_start else "assumed",
        beta=config.training.beta if origin.beta is None else origin.beta,
        beta_basis="assumed" if origin.beta is None else "recorded",
        knows_rows=origin.is_own,
    )
    return candidate if origin.start is None else without_reference(candidate, origin.start)


def without_reference(candidate: Candidate, start: str) -> Candidate:
    """The candidate without an implicit reward, because the weights that its training started from are not here."""
    if candidate.model is not None:
        remedy = "merge that adapter too (`harness merge`), and give it as another --candidate."
    elif "/" in start:  # a folder or a hub id; a fixture is named by its fingerprint alone
        remedy = f"add --adapter {start}; it is fetched only if you name it."
    else:
        remedy = f"put its folder {start} next to this one's, or add --adapter with that folder."
    note = (
        f"{candidate.name} was trained from the adapter {start}, which is not here, so its implicit reward and its "
        f"drift are not measured: against the base, what that adapter taught would count as preferences. Measure both: "
        f"{remedy}"
    )
    return replace(candidate, reference=None, reference_basis="unknown", notes=(*candidate.notes, note))
