"""The records that every report is made of: plain frozen values, which `run_folder.py` stores on disk."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from reports.plain_text import one_line
from reports.scores import ExampleScore, ExampleScores

if TYPE_CHECKING:
    from pandas import DataFrame

Display = Literal["mean", "exp", "percent"]
"""How a table shows sum(total)/sum(count): unchanged, as its exponential, or times 100. Stored values never change."""

Basis = Literal["recorded", "assumed", "unknown"]
"""How the reference or the beta of a reward is known: the record of the training or the model card says it; nothing
says it, and the baseline or the configured beta is taken; or it is known to be another one that is not here."""

SubjectKind = Literal["baseline", "candidate", "ruler", "base", "aside"]
"""What is done with a subject: candidates are compared with the baseline and with rulers. In a report of two runs the
baseline is the first run's candidate; then "base" is the base model of both, and "aside" are all other candidates."""

SelectionRule = Literal["accuracy", "loss", "order"]
"""What decided a choice: the highest accuracy, of equal ones the lowest loss, of equal ones the first of the sweep."""


LARGEST_AMOUNT = 1e9
"""Largest value that a gate may name; no metric comes near it, and arithmetic with it stays exact enough."""
WITHOUT_END_OF_TURN = "_without_eos"
"""End of the name of a metric that leaves the end of turn out."""


@dataclass(frozen=True, slots=True)
class Metric:
    """The name, unit and direction of what is measured."""

    evaluation: str
    """Name of the evaluation in the suite, such as "truthfulness"."""
    name: str
    """Name of the metric within the evaluation, such as "perplexity"."""
    unit: str
    """Unit of sum(total)/sum(count), such as "nats per token"."""
    higher_is_better: bool | None
    """Whether more is better; None if neither direction is."""
    display: Display = "mean"
    primary: bool = False
    """Whether this is the evaluation's one primary metric."""
    chance: float | None = None
    """The baseline's value by definition, such as 0.5 for reward accuracy, if the baseline cannot be measured."""
    graded_by: str = ""
    """Metric of the same evaluation with an amount for each outcome of this one (a margin for a win), or empty."""
    uninformative: float | None = None
    """Value from which it carries no information, in its unit: the nats of a uniform guess, ln(vocabulary)."""

    @property
    def twin(self) -> str:
        """Name of the same metric without the end of turn, or with it if this one is without; it may not exist."""
        if self.name.endswith(WITHOUT_END_OF_TURN):
            return self.name.removesuffix(WITHOUT_END_OF_TURN)
        return self.name + WITHOUT_END_OF_TURN


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is measured, or a surface ruler that candidates are compared with."""

    name: str
    kind: SubjectKind
    description: str
    """Base model, quantisation and adapter in words."""
    reference: str | None = None
    """Name of the subject that is the reference of its implicit rewards."""
    reference_basis: Basis = "recorded"
    """How that reference is known."""
    beta: float | None = None
    """Scale of its implicit rewards; None if it has none, and in older run folders."""
    beta_basis: Basis = "recorded"
    """How beta is known."""
    knows_rows: bool = True
    """Whether the rows it was trained on are known, so that those that are measured were kept from it."""
    same_weights: bool = True
    """Whether its base weights are those of the baseline."""
    is_of_base: bool = True
    """Whether its files say that it was trained on these base weights, rather than on others of the same shapes."""
    recipe: str = ""
    """Name that is shared by candidates which differ only in their training seed; empty if there is one seed."""
    is_control: bool = False
    """Whether it was trained only for comparison: on the chosen answers alone, or on shuffled pairs."""
    compared_with: tuple[str, ...] = ()
    """Candidates it is compared with besides the baseline: its controls, the stage or adapter it was made from."""

    @property
    def is_base(self) -> bool:
        """Whether it is a base model beside the baseline, such as the unquantised one: it has no reference at all."""
        return self.reference is None and self.reference_basis != "unknown"

    @property
    def assumed(self) -> tuple[str, ...]:
        """What of its implicit reward nothing records, so that it is assumed: "reference", "beta", both or none."""
        if self.reference is None or self.beta is None:
            return ()
        bases = {"reference": self.reference_basis, "beta": self.beta_basis}
        return tuple(name for name, basis in bases.items() if basis == "assumed")


@dataclass(frozen=True, slots=True)
class MetricScores:
    """The scores of one subject on one metric."""

    metric: Metric
    subject: str
    scores: ExampleScores
    """Rows that are given one by one become columns."""
    value: float | None = None
    """The metric's value if it is not sum/count; then `scores` is empty and there is no interval."""
    missing: str | None = None
    """Reason, in words, if there is no value."""
    is_finite: bool = True
    """Whether the subject's numbers are finite; a gate on a metric that is NaN or infinite fails."""

    def __post_init__(self) -> None:
        given: Sequence[ExampleScore] = self.scores
        if not isinstance(given, ExampleScores):
            object.__setattr__(self, "scores", ExampleScores.of(given))

    @property
    def number(self) -> float | None:
        """The metric's value: sum(total) / sum(count), or `value` if there are no scores; None if it is missing."""
        measurement = without_nan(self)
        count = measurement.scores.sum_of_counts
        return measurement.scores.sum_of_totals / count if count > 0 else measurement.value


@dataclass(frozen=True, slots=True)
class Generation:
    """One subject's answer to one prompt."""

    evaluation: str
    example_id: str
    subject: str
    kind: str
    prompt: str
    answer: str
    refused: bool
    """Whether the answer matches a refusal pattern."""


@dataclass(frozen=True, slots=True)
class ExampleText:
    """The texts of one example, for reports that show them."""

    example_id: str
    evaluation: str
    prompt: str
    texts: dict[str, str]
    """Role of a text ("chosen", "rejected", "right", ...) -> the text; the same for all subjects."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A candidate's results on selection rows, by which the winner of a sweep is chosen."""

    candidate: str
    accuracy: float | None
    """Share of selection rows whose chosen answer is preferred; a tie counts half. None if a number is not finite."""
    loss: float | None
    """Mean loss on selection rows. None if a number is not finite."""
    n: int
    is_winner: bool
    n_won: float | None = None
    """Comparisons won, over all seeds, a tie counted half: what candidates are ranked by, because it is exact. None if
    a number is not finite, and in older run folders."""
    n_compared: int | None = None
    """Comparisons over all seeds: pairs, or combinations of a good and a bad rated answer."""
    decided_by: SelectionRule | None = None
    """Of a winner, what it was chosen by; None in older run folders."""
    tied_with: tuple[str, ...] = ()
    """Of a winner, the candidates that `decided_by` set it apart from: equal in what comes before it."""


@dataclass(frozen=True, slots=True)
class Published:
    """Published results on the same base model."""

    source: str
    """Where they were published, and what is unknown about them."""
    figures: dict[str, dict[str, float]]
    """Evaluation -> subject -> response-only cross-entropy in nats per token."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What is required of a metric: that it loses no more than an amount, or that it has at least a value."""

    metric: Annotated[str, MinLen(1)]
    """Evaluation and metric, such as "truthfulness/perplexity"."""
    largest_loss: Annotated[float, Ge(0), Le(LARGEST_AMOUNT)] | None = None
    """In the metric's own unit: fractions as fractions, logarithms of perplexities in nats per token."""
    relative: bool = False
    """Whether it is a share of the value compared with: 0.05 allows a perplexity of 20 to rise to 21."""
    at_least: Annotated[float, Ge(-LARGEST_AMOUNT), Le(LARGEST_AMOUNT)] | None = None
    """Smallest value in the metric's own unit, whatever it is compared with; for metrics of which more is better."""

    @property
    def contradiction(self) -> str | None:
        """What is wrong with it by itself, in words, or None."""
        name = one_line(self.metric)
        if (self.largest_loss is None) == (self.at_least is None):
            return f"gate {name}: give either largest_loss or at_least, one of the two"
        if self.relative and self.largest_loss is None:
            return f"gate {name}: relative belongs to largest_loss; at_least is a value of the metric itself"
        return None


def gate_contradictions(gates: Iterable[Gate]) -> Iterator[tuple[int, str]]:
    """Yield the index of each gate that contradicts itself or an earlier one, and how.

    A metric may have one gate on what it loses and one on its value.
    """
    seen: set[tuple[str, bool]] = set()
    for index, gate in enumerate(gates):
        requirement = (gate.metric, gate.at_least is None)
        if problem := gate.contradiction:
            yield index, problem
        elif requirement in seen:
            what = "largest_loss" if gate.at_least is None else "at_least"
            yield index, f"gate {one_line(gate.metric)}: a second {what} for one metric; keep one"
        seen.add(requirement)


@dataclass(frozen=True, slots=True)
class EvaluationCounts:
    """Counts of an evaluation's rows: read, scored, left out and changed, so that no row disappears unseen."""

    evaluation: str
    dataset: str
    """Dataset, split and where its rows were read from, in words."""
    n_read: int
    n_scored: int
    n_groups: int
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> number of rows."""
    touched: dict[str, int] = field(default_factory=dict)
    """Rule -> number of rows it changed ("prompt truncated", "response truncated", "boundary moved")."""
    suite_group: str = ""
    """Group that the suite assigns the evaluation to, such as "capability"; may be empty."""
    dataset_name: str = ""
    """Dataset as the configuration names it, such as "truthfulqa/truthful_qa:generation"; empty in older run folders.
    """
    split: str = ""
    """Split of the dataset; empty in older run folders."""
    conditions: dict[str, str] = field(default_factory=dict)
    """What else determines its numbers, as a value or a hash: "prompts", "shots", "task version"; empty in older run
    folders."""


@dataclass(frozen=True, slots=True)
class DifferingSetting:
    """A setting that differs between the runs of one report."""

    key: str
    """Dotted, such as "training.beta"."""
    values: tuple[str, ...]
    """As text, one a run."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a measurement: everything that a report needs without loading a model."""

    name: str
    suite: str
    created: str
    """ISO 8601, UTC."""
    headline: str
    """First line of every report, such as what the embedded default did not measure."""
    suite_fingerprint: str
    """Hash of everything but weights that determines a number: evaluations, rows, prompts in tokens, template, limits,
    shots, task versions, beta."""
    subjects: tuple[Subject, ...]
    measurements: tuple[MetricScores, ...]
    counts: tuple[EvaluationCounts, ...] = ()
    generations: tuple[Generation, ...] = ()
    examples: Iterable[ExampleText] = ()
    """Texts of the scored examples, shortened if they are long; read again whenever they are gone through."""
    notes: tuple[str, ...] = ()
    """Messages for the reader: splits made, rows dropped."""
    training: tuple[dict[str, Any], ...] = ()
    """Rows of training.jsonl, in order; "candidate" names the adapter if several were trained."""
    selection: tuple[Selection, ...] = ()
    """Selection results of the candidates of a sweep."""
    published: Published | None = None
    gates: tuple[Gate, ...] = ()
    """Gates of the suite, for `harness check`."""
    fingerprint_without_beta: str = ""
    """The same without beta, which scales reward margins alone: runs that differ in nothing else are compared. Empty in
    older run folders."""
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    """Names of the runs that were put together, if it is several."""
    differing: tuple[DifferingSetting, ...] = ()
    """Settings that differ between these runs."""
    not_measured: tuple[str, ...] = ()
    """Lines on subjects that were asked for and are not there: "adapter, seed 45: not measured: its process died"."""

    @property
    def baseline(self) -> Subject:
        """The one subject of the kind baseline."""
        return next(subject for subject in self.subjects if subject.kind == "baseline")

    @property
    def candidates(self) -> tuple[Subject, ...]:
        """The subjects of the kind candidate, in the order of the report."""
        return tuple(subject for subject in self.subjects if subject.kind == "candidate")

    @property
    def base(self) -> Subject | None:
        """The base model of both runs in a report of two, in which the baseline is the first run's candidate."""
        return next((subject for subject in self.subjects if subject.kind == "base"), None)

    def subject(self, name: str) -> Subject:
        """Return the subject of a name, which must exist."""
        return next(subject for subject in self.subjects if subject.name == name)

    def not_finite(self) -> dict[str, tuple[Metric, ...]]:
        """Map each subject with numbers that are NaN or infinite to the metrics that are missing because of them."""
        metrics: dict[str, tuple[Metric, ...]] = {}
        for each in map(without_nan, self.measurements):
            if not each.is_finite:
                metrics[each.subject] = (*metrics.get(each.subject, ()), each.metric)
        return metrics

    def to_pandas(self) -> "DataFrame":
        """Return the scores as a tidy table: one row an example, metric and subject.

        Its columns are evaluation, metric, unit, higher_is_better, primary, subject, kind, example_id, group, total,
        count and value = total / count, which is NaN for an example without a count. A metric is
        sum(total) / sum(count) over its rows.
        """
        import pandas as pd

        metrics = pd.DataFrame(
            [
                (each.evaluation, each.name, each.unit, each.higher_is_better, each.primary)
                for each in dict.fromkeys(measurement.metric for measurement in self.measurements)
            ],
            columns=["evaluation", "metric", "unit", "higher_is_better", "primary"],
        )
        subjects = pd.DataFrame([(each.name, each.kind) for each in self.subjects], columns=["subject", "kind"])
        scores = pd.concat([_frame(each) for each in self.measurements if each.scores] or [_frame(None)])
        table = scores.merge(metrics, on=["evaluation", "metric"]).merge(subjects, on="subject")
        table["value"] = table["total"] / table["count"].where(table["count"] != 0)
        first = ["evaluation", "metric", "unit", "higher_is_better", "primary", "subject", "kind"]
        return table[[*first, "example_id", "group", "total", "count", "value"]]


def _frame(measurement: MetricScores | None) -> "DataFrame":
    """Return a measurement's scores as a table without what they share with those of other subjects."""
    import pandas as pd

    columns = ("evaluation", "metric", "subject", "example_id", "group", "total", "count")
    if measurement is None:
        return pd.DataFrame(columns=columns)
    metric, scores = measurement.metric, measurement.scores
    texts = [each.to_pandas() for each in (scores.examples.ids, scores.examples.groups)]
    cells = (metric.evaluation, metric.name, measurement.subject, *texts, scores.totals, scores.counts)
    return pd.DataFrame(dict(zip(columns, cells, strict=True)))


def without_nan(measurement: MetricScores) -> MetricScores:
    """Return the measurement, without its numbers and with a reason if one of them is NaN or infinite.

    One such example spoils the ratio, and leaving it out would pair different examples, so the whole metric is missing.
    """
    scores, bad = measurement.scores, measurement.scores.not_finite
    if len(bad):
        first = scores.examples.ids[int(bad[0])]
        reason = f"{len(bad)} of {len(scores)} scores are not finite numbers, the first of example {first}"
    elif measurement.value is not None and not math.isfinite(measurement.value):
        reason = f"the value is {measurement.value}"
    else:
        return measurement
    return replace(measurement, scores=ExampleScores.of(()), value=None, missing=reason, is_finite=False)
