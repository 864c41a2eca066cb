"""Measures baseline and candidates, one set of weights after the other, and assembles the run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from harness.config.load import to_dict
from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import Evaluation, ImplicitReward, Record
from harness.measuring.experiment import Experiment
from harness.measuring.kinds import run_suite, with_rewards
from harness.measuring.lineup import Candidate, TrainedAdapter
from harness.measuring.places import without_places
from harness.measuring.scorers import Scorers, score_cache
from harness.models.adapters import attach_adapter, is_of_base
from harness.models.base import BASELINE, LoadedModel, load_model
from harness.models.provenance import collect
from harness.training.selection import choose_winner
from reports.example_texts import ExampleTexts, joined_texts
from reports.records import EvaluationCounts, Generation, MetricScores, Published, Run, Subject
from reports.scores import ExampleScores
from suites.engine.plan import ScoringPlan, ScoringState, plan_for
from suites.inputs import content_id

OneRecord = TypeVar("OneRecord")


@dataclass(frozen=True, slots=True)
class Filled:
    """How the stores were filled before a run that computes nothing itself."""

    plan: ScoringPlan
    """The plan that scoring began by."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Subject that is left out -> why, as a clause."""
    has_report: bool = True
    """Whether there is a report without them: baseline and references are there."""

    def measured(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that are not left out, compared with none that is."""
        return [
            replace(each, compared_with=tuple(name for name in each.compared_with if name not in self.missing))
            for each in candidates
            if each.name not in self.missing
        ]

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for every subject that is left out."""
        return tuple(f"{name}: not measured: {reason}" for name, reason in self.missing.items())


def measure(
    experiment: Experiment,
    candidates: Sequence[Candidate],
    suite: Mapping[EvaluationConfig, Evaluation],
    trained: Sequence[TrainedAdapter] = (),
    *,
    name: str,
    filled: Filled | None = None,
) -> Run:
    """Measures the baseline and the candidates of an experiment; writes nothing but the score cache.

    Args:
        experiment: what to measure on.
        candidates: in the order of the report; a full model comes after its reference.
        suite: the evaluations with their rows, as `open_job` returns them.
        trained: the adapters that were trained for this run.
        name: of the run.
        filled: how the cache was filled before, so that everything must be found in it; None computes what is missing.

    Raises:
        UserError: an adapter or a model that does not fit.
        MissingResultError: something must be found, and is not there.
    """
    terminal, notes = experiment.terminal, list(experiment.notes)
    scoring = ScoringState(first_plan(experiment) if filled is None else filled.plan, terminal.say)
    notes += dict.fromkeys(f"{each.variant.name}: {note}" for each in trained for note in each.fixture.notes)
    provenance, records = collect(experiment.loaded, experiment.config.seed), list[Record]()
    prepared = with_rewards(suite, _rewards(candidates))
    with score_cache(experiment) as cache:
        scorers = partial(Scorers, state=scoring, cache=cache, terminal=terminal, found_only=filled is not None)
        for part, own_notes in _weights_after_weights(experiment, candidates, prepared, scorers, scoring):
            notes += own_notes
            records += part
    terminal.say(scoring.summary)
    rows = {each.variant.name: each.fixture.log for each in trained}
    measurements = (*_of_type(MetricScores, records), *_unknown_rewards(candidates, records))
    counts = _of_type(EvaluationCounts, records)
    determined = _fingerprint_without_beta(experiment, measurements, counts)
    run = Run(
        name=name,
        suite=experiment.suite.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        headline=_headline(experiment),
        suite_fingerprint=content_id(determined, sorted({each.beta for each in candidates if each.reference})),
        fingerprint_without_beta=determined,
        subjects=(*_subjects(experiment, candidates), *dict.fromkeys(_of_type(Subject, records))),
        measurements=measurements,
        counts=(*_training_counts(experiment, trained), *counts),
        generations=_of_type(Generation, records),
        examples=joined_texts(*_of_type(ExampleTexts, records)),
        notes=(*notes, scoring.summary, *dict.fromkeys(_of_type(str, records))),
        training=tuple(row | {"candidate": name} for name, own in rows.items() for row in own),
        selection=choose_winner([each.variant for each in trained], rows),
        published=_published(experiment),
        gates=experiment.suite.gates,
        config=to_dict(experiment.config),
        provenance=provenance | {"scoring": scoring.as_record()},
        not_measured=() if filled is None else filled.lines,
    )
    return without_places(run, experiment, candidates)


def first_plan(experiment: Experiment) -> ScoringPlan:
    """The plan that scoring begins by: for the memory that is free now, within the configured bounds."""
    return plan_for(experiment.loaded.base).bounded(**asdict(experiment.config.scoring))


def _of_type(record_type: type[OneRecord], records: Iterable[Record]) -> tuple[OneRecord, ...]:
    """The records of one type, in their order."""
    return tuple(record for record in records if isinstance(record, record_type))


def _weights_after_weights(
    experiment: Experiment,
    candidates: Sequence[Candidate],
    suite: Mapping[EvaluationConfig, Evaluation],
    scorers: Callable[[LoadedModel, Mapping[str, str]], Scorers],
    scoring: ScoringState,
) -> Iterator[tuple[Sequence[Record], list[str]]]:
    """Yields records and notes of the baseline's weights, then of each candidate's own.

    Only one set of weights is in memory at a time.
    """
    loaded = experiment.loaded
    on_base = {each.name: each.adapter for each in candidates if each.adapter is not None}
    notes = [note for each in candidates for note in each.notes]
    for name, adapter in on_base.items():
        notes += attach_adapter(loaded, name, adapter)
    names = {name: name for name in (BASELINE, *on_base)}
    _said(experiment, notes)  # before hours of scoring, because some are a reason to stop
    yield list(run_suite(suite, scorers(loaded, names))), notes
    for each in candidates:
        if each.model is None:
            continue
        plan = scoring.plan
        loaded.release()
        with experiment.terminal.waiting(f"loading {each.name}"):
            loaded = load_model(each.model)
        records = list(run_suite(suite, scorers(loaded, {each.name: BASELINE})))
        notes = [f"{each.name}: {note}" for note in loaded.notes]
        if scoring.plan != plan:
            notes.append(f"{each.name} was scored on another path or pack size than the subjects before it")
        own = [record for record in records if not isinstance(record, EvaluationCounts | ExampleTexts)]
        yield own, _said(experiment, notes)  # its rows are those of the baseline


def _rewards(candidates: Sequence[Candidate]) -> dict[str, ImplicitReward]:
    """Candidate -> its implicit reward; one without a reference has none."""
    return {each.name: ImplicitReward(each.reference, each.beta) for each in candidates if each.reference is not None}


def _unknown_rewards(candidates: Sequence[Candidate], records: Iterable[Record]) -> list[MetricScores]:
    """Reward accuracies without a value, for candidates whose reference is not here; the table has their reason."""
    accuracies = [one.metric for one in _of_type(MetricScores, records) if one.metric.name == "reward_accuracy"]
    return [
        MetricScores(
            metric, each.name, ExampleScores.of(()), missing="the weights that its training started from are not here"
        )
        for metric in dict.fromkeys(accuracies)
        for each in candidates
        if each.reference_basis == "unknown"
    ]


def _said(experiment: Experiment, notes: list[str]) -> list[str]:
    for note in notes:
        experiment.terminal.say(note)
    return notes


def _headline(experiment: Experiment) -> str:
    """First line of the report: base model and template, or what the embedded default does not measure."""
    data = experiment.config.data
    loaded = experiment.loaded
    base = f"{experiment.config.name}: base {loaded.name}, {loaded.quantization}, {loaded.template} template."
    if all(dataset.name.startswith("embedded/") for dataset in data.roles.values()):
        return (
            "TruthfulQA, Winogrande and PKU were not measured: this is the embedded default, on data written for this "
            f"project. {base}"
        )
    return base


def _subjects(experiment: Experiment, candidates: Sequence[Candidate]) -> tuple[Subject, ...]:
    loaded = experiment.loaded
    quantised = "" if loaded.quantization == "none" else f" computed in {loaded.compute_dtype}, the rest"
    weights = f"{loaded.name}, {loaded.quantization}{quantised}, {loaded.dtype} on {loaded.device}"
    return (
        Subject(BASELINE, "baseline", f"{weights}; adapter off"),
        *(
            Subject(
                each.name,
                "candidate",
                f"{weights}; {each.description}" if each.model is None else each.description,
                reference=each.reference,
                reference_basis=each.reference_basis,
                beta=None if each.reference is None else each.beta,
                beta_basis=each.beta_basis,
                knows_rows=each.knows_rows,
                same_weights=each.model is None,
                is_of_base=each.adapter is None or is_of_base(loaded, each.adapter),
                recipe=each.family,
                is_control=each.is_control,
                compared_with=each.compared_with,
            )
            for each in candidates
        ),
    )


def _training_counts(experiment: Experiment, trained: Sequence[TrainedAdapter]) -> tuple[EvaluationCounts, ...]:
    """Counts of the training rows: read, used, and left out with the reason; none where nothing was trained on them."""
    data = experiment.data
    own = next((each for each in trained if each.variant.rows == "experiment"), None)
    if own is None:
        return ()
    left_out = {
        **data.training_dataset.left_out,
        **data.left_out,
        **experiment.filtered,
        "equal after truncation": own.rows.n_equal,
        "kept for selection": len(data.selection),
    }
    return (
        EvaluationCounts(
            evaluation="training",
            dataset=data.training_dataset.origin,
            dataset_name=data.training_dataset.name,
            split=data.training_dataset.split,
            n_read=data.training_dataset.n_read,
            n_scored=len(own.rows.training),
            n_groups=len({row.group for row in data.training}),
            left_out={reason: n_rows for reason, n_rows in left_out.items() if n_rows},
            touched=dict(own.rows.touched),
        ),
    )


def _published(experiment: Experiment) -> Published | None:
    """The published figures, if they belong to exactly this base model."""
    published = experiment.config.published
    if published is None or published.base != experiment.config.model.name:
        return None
    return Published(published.source, published.figures)


def _fingerprint_without_beta(
    experiment: Experiment, measurements: Iterable[MetricScores], counts: Iterable[EvaluationCounts]
) -> str:
    """Hash of what makes numbers comparable: evaluations, their rows and conditions, template and token limits."""
    data = experiment.config.data
    own = [one for one in measurements if one.subject == BASELINE]
    examples = {id(one.scores.examples): one.scores.examples for one in own}
    ids = {key: each.sorted_ids.to_pylist() for key, each in examples.items()}  # once for all metrics over them
    rows = [[one.metric.evaluation, one.metric.name, ids[id(one.scores.examples)]] for one in own]
    conditions = [
        # A new version of lm-eval that asks and scores as before has other numbers in no condition but this one.
        [each.evaluation, {name: value for name, value in each.conditions.items() if name != "lm-eval"}]
        for each in counts
    ]
    return content_id(
        to_dict(replace(experiment.suite, gates=(), description="")),  # which change no number
        rows,
        conditions,
        experiment.encoder.tokenizer.chat_template,
        experiment.config.model.system_prompt,
        [data.max_prompt_tokens, data.max_tokens],
        asdict(experiment.config.answers),
    )
