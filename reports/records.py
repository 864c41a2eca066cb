"""The records every report is made of: plain frozen values. `run_folder.py` keeps them on disk."""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

Display = Literal["mean", "exp", "percent"]
"""How a table shows sum(total)/sum(count): as it is, as its exponential, or times 100. Applied only when shown."""

SubjectKind = Literal["baseline", "candidate", "ruler"]


@dataclass(frozen=True, slots=True)
class ExampleScore:
    """One example's share of a metric, which is always sum(total) / sum(count)."""

    example_id: str
    group: str
    total: float
    count: float


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured and how to read it."""

    evaluation: str
    """Name of the evaluation in the suite, such as "truthfulness"."""
    name: str
    """Name of the metric within it, such as "perplexity"."""
    unit: str
    """Unit of sum(total)/sum(count), such as "nats per token"."""
    higher_is_better: bool | None
    """None where neither direction is better."""
    display: Display = "mean"
    primary: bool = False
    """Whether this is the evaluation's one primary metric."""
    chance: float | None = None
    """The baseline's value by definition (0.5 for reward accuracy), where the baseline cannot be measured."""
    graded_by: str = ""
    """Metric of the same evaluation that says by how much, where this one only says which way; empty if there is none.
    """


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that is measured, or a surface ruler it is held against."""

    name: str
    kind: SubjectKind
    description: str
    """What it is, in words: base model, quantisation, adapter."""
    reference: str | None = None
    """The subject its implicit rewards are taken against."""
    same_weights: bool = True
    """Whether it sits on the very weights of the baseline."""
    recipe: str = ""
    """What candidates share that differ in their training seed alone; empty where there is one seed."""
    is_control: bool = False
    """Whether it is there to be held against: trained on the chosen answers alone, or on shuffled pairs."""
    compared_with: tuple[str, ...] = ()
    """Other candidates it is held against besides the baseline: its controls, the stage or adapter it was made from."""


@dataclass(frozen=True, slots=True)
class MetricScores:
    """A metric of one subject, example by example."""

    metric: Metric
    subject: str
    scores: tuple[ExampleScore, ...]
    value: float | None = None
    """The number itself where it is not sum/count (then `scores` is empty and it has no interval)."""
    missing: str | None = None
    """Why there is no number, where there is none."""

    @property
    def number(self) -> float | None:
        """sum(total) / sum(count), or the number that it is where it is no such sum."""
        count = math.fsum(score.count for score in self.scores)
        return math.fsum(score.total for score in self.scores) / count if count > 0 else self.value


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
    """What an example says, for reports that show it."""

    example_id: str
    evaluation: str
    prompt: str
    texts: dict[str, str]
    """What it is ("chosen", "rejected", "right", ...) -> the text, the same for all subjects."""


@dataclass(frozen=True, slots=True)
class Selection:
    """How a candidate did on selection rows, by which a sweep's winner is chosen."""

    candidate: str
    accuracy: float
    """Share of selection rows, ties half."""
    loss: float
    """Mean loss on them; the lower one wins where accuracies are equal."""
    n: int
    is_winner: bool


@dataclass(frozen=True, slots=True)
class Published:
    """Figures of a write-up on the same base model."""

    source: str
    """Where they were published, and what is not known of them."""
    figures: dict[str, dict[str, float]]
    """Evaluation -> subject -> response-only cross-entropy in nats per token."""


@dataclass(frozen=True, slots=True)
class Gate:
    """An allowed loss on a metric."""

    metric: Annotated[str, MinLen(1)]
    """Evaluation and metric, such as "truthfulness/perplexity"."""
    largest_loss: Annotated[float, Ge(0)]
    """In the metric's own unit: fractions as fractions, logarithms of perplexities in nats per token."""
    relative: bool = False
    """Whether it is a share of what the metric is held against: 0.05 lets a perplexity of 20 rise to 21."""


@dataclass(frozen=True, slots=True)
class EvaluationCounts:
    """What an evaluation read, left out and touched, so that no row disappears unseen."""

    evaluation: str
    dataset: str
    """Dataset, split and where its rows were read from."""
    n_read: int
    n_scored: int
    n_groups: int
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> rows."""
    touched: dict[str, int] = field(default_factory=dict)
    """Rule -> rows it changed ("prompt truncated", "response truncated", "boundary moved")."""
    suite_group: str = ""
    """Group of evaluations that the suite puts it into, such as "capability"."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a report needs; reports never load a model."""

    name: str
    suite: str
    created: str
    """ISO 8601, UTC."""
    headline: str
    """First line of every report, such as what a default run did not measure."""
    suite_fingerprint: str
    """Hash of evaluations, datasets, template and limits: only equal ones are comparable."""
    subjects: tuple[Subject, ...]
    measurements: tuple[MetricScores, ...]
    counts: tuple[EvaluationCounts, ...] = ()
    generations: tuple[Generation, ...] = ()
    examples: tuple[ExampleText, ...] = ()
    """Texts of what was scored, cut where they are long."""
    notes: tuple[str, ...] = ()
    """Lines worth telling: splits made, rows dropped, threads chosen."""
    training: tuple[dict[str, Any], ...] = ()
    """Rows of training.jsonl, in order; "candidate" names the adapter where several were trained."""
    selection: tuple[Selection, ...] = ()
    """Of the candidates of a sweep."""
    published: Published | None = None
    gates: tuple[Gate, ...] = ()
    """Of the suite, for `harness check`."""
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def subject(self, name: str) -> Subject:
        """The subject of this name; it must have one."""
        return next(subject for subject in self.subjects if subject.name == name)


def without_nan(measurement: MetricScores) -> MetricScores:
    """The measurement; where a number of it is NaN or infinite, the same without numbers and with that as its reason.

    One bad example spoils the ratio, and leaving it out would pair different examples: the metric is then missing.
    """
    bad = [s.example_id for s in measurement.scores if not (math.isfinite(s.total) and math.isfinite(s.count))]
    if bad:
        reason = f"{len(bad)} of {len(measurement.scores)} scores are not finite numbers, the first of example {bad[0]}"
    elif measurement.value is not None and not math.isfinite(measurement.value):
        reason = f"the value is {measurement.value}"
    else:
        return measurement
    return replace(measurement, scores=(), value=None, missing=reason)
