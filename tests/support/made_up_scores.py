"""Scores made up for runs: what each kind of evaluation of the alignment suite measures, from stated effects.

The shares are exact and the noise is seeded: a subject that is said to win 63 % of the pairs wins 63 % of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reports.records import EvaluationCounts, ExampleScore, Metric, MetricScores

Amounts = NDArray[np.float64]
Effects = Mapping[str, "Effect"]
"""Subject -> what training changed; the baseline comes first, with none."""
RULERS = ("longest wins", "shortest wins", "bag of words")
_UNIFORM_NATS = 10.82
"""ln(50,257): a uniform guess among GPT-2's tokens."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What training changed in a subject, in each metric's own unit."""

    reward_accuracy: float = 0.5
    """Share of pairs whose chosen answer gets the higher reward."""
    perplexity: Mapping[str, float] = field(default_factory=dict)
    """Evaluation -> nats per token more than the baseline."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Evaluation of lm-eval -> share of questions more that are right."""
    refusals: float = 0.0
    """Share of prompts more that are refused."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one evaluation, and where they are said to be from."""

    evaluation: str
    n: int
    n_groups: int
    dataset_name: str = ""
    split: str = "test"
    suite_group: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of each row."""
        return tuple(example for example, _ in _names(self))

    def scores(
        self, totals: Amounts, counts: Amounts | None = None, where: NDArray[np.bool_] | None = None
    ) -> tuple[ExampleScore, ...]:
        """Return a score a row, with counts of 1 unless said otherwise, of all rows or of those of a mask."""
        counts = np.ones(self.n) if counts is None else counts
        kept = range(self.n) if where is None else np.flatnonzero(where).tolist()
        names = _names(self)
        amounts, sizes = totals.tolist(), counts.tolist()
        return tuple(ExampleScore(*names[i], float(amounts[i]), float(sizes[i])) for i in kept)

    def counted(self, touched: Mapping[str, int] | None = None) -> EvaluationCounts:
        """Return the counts of the rows, of which as many again were left out of the sample."""
        return EvaluationCounts(
            self.evaluation,
            f"{self.dataset_name or self.evaluation}, split {self.split}",
            2 * self.n,
            self.n,
            self.n_groups,
            {"outside of the sample": self.n},
            dict(touched or {}),
            self.suite_group,
            self.dataset_name,
            self.split,
        )


@cache
def _names(rows: Rows) -> tuple[tuple[str, str], ...]:
    """Return the id and the group of each row; rows of one group are neighbours."""
    groups = np.sort(np.arange(rows.n) % rows.n_groups).tolist()
    return tuple((f"{rows.evaluation}-{position:05d}", f"group {group}") for position, group in enumerate(groups))


def preference_scores(
    rng: np.random.Generator, rows: Rows, effects: Effects, lengths: Sequence[tuple[int, int]]
) -> Iterator[MetricScores]:
    """Yield rewards, their accuracy by subset, drift, and the rulers' accuracy, for pairs of answers of given lengths.

    Half of what makes a pair easy is common to all subjects and to the bag of words, which wins 62 % of the pairs.
    """
    accuracy = Metric("preferences", "reward_accuracy", "share of pairs", True, "percent", True, 0.5, "reward_margin")
    margin = Metric("preferences", "reward_margin", "nats", True, chance=0.0)
    ease = rng.normal(size=rows.n)
    longer = np.array([np.sign(chosen - rejected) for chosen, rejected in lengths])
    words = _won(0.7 * ease + rng.normal(size=rows.n), 0.622)
    rulers = dict(zip(RULERS, (0.5 + longer / 2, 0.5 - longer / 2, words), strict=True))
    tokens = np.array([(max(1, chosen), max(1, rejected)) for chosen, rejected in lengths], dtype=float)
    _, *candidates = effects
    for name in effects:
        likes = ease + rng.normal(size=rows.n) + (0.1 if name in candidates else 0.0)
        for metric_name in ("preference_accuracy", "preference_accuracy_per_token"):
            metric = Metric("preferences", metric_name, "share of pairs", True, "percent")
            yield MetricScores(metric, name, rows.scores((likes > 0).astype(float)))
            likes = likes + 0.2 * rng.normal(size=rows.n)
    for name in candidates:
        margins = _shifted(0.7 * ease + 0.7 * rng.normal(size=rows.n), effects[name].reward_accuracy) * 0.6
        won = (margins > 0).astype(float)
        yield MetricScores(accuracy, name, rows.scores(won))
        yield MetricScores(margin, name, rows.scores(margins))
        for ruler, outcomes in rulers.items():
            subset = Metric(
                "preferences", f"reward_accuracy[{ruler} is wrong]", "share of pairs", True, "percent", chance=0.5
            )
            yield MetricScores(subset, name, rows.scores(won, where=outcomes < 0.5))
        for side, answer, sign in (("chosen", 0, 0.5), ("rejected", 1, -0.5)):
            drift = Metric("preferences", f"drift_{side}", "nats per token", None, chance=0.0)
            nats = 10 * (sign * margins + 0.2 * rng.normal(size=rows.n) - 0.1)
            yield MetricScores(drift, name, rows.scores(nats, tokens[:, answer]))
    for ruler, outcomes in rulers.items():
        yield MetricScores(accuracy, ruler, rows.scores(outcomes))


def perplexity_scores(
    rng: np.random.Generator, rows: Rows, effects: Effects, base_nats: float
) -> Iterator[MetricScores]:
    """Yield the perplexity of reference answers, with and without the end of turn, and the margin over wrong ones."""
    tokens = rng.integers(8, 60, rows.n).astype(float)
    nats = rng.normal(base_nats, 0.15 * base_nats, rows.n)
    wrong = nats + rng.normal(0.1, 0.4, rows.n)
    baseline = next(iter(effects))
    primary = "perplexity_without_eos" if rows.evaluation == "coreference" else "perplexity"

    def metric(name: str, unit: str) -> Metric:
        is_perplexity = name.startswith("perplexity")
        return Metric(
            rows.evaluation,
            name,
            unit,
            higher_is_better=name.startswith("right"),
            display="exp" if is_perplexity else "percent" if name == "right_above_wrong" else "mean",
            primary=name == primary,
            uninformative=_UNIFORM_NATS if is_perplexity else None,
        )

    for subject, effect in effects.items():
        moved = effect.perplexity.get(rows.evaluation, 0.0)
        # The noise has no mean: the set moves as much as the effect says or, where it says nothing, by chance.
        moved = moved or 0.001 * float(rng.normal()) * (subject != baseline)
        noise = rng.normal(0, 0.01 + 0.3 * abs(moved), rows.n) * (subject != baseline)
        mine = nats + moved + noise - np.average(noise, weights=tokens)
        n_bytes = 4.2 * tokens
        scored: list[tuple[str, str, Amounts, Amounts | None]] = [
            ("perplexity", "nats per token", mine * tokens, tokens),
            ("perplexity_without_eos", "nats per token", mine * (tokens - 1), tokens - 1),
            ("perplexity_per_example", "nats per token", mine, None),
            ("bits_per_byte", "bits per byte", mine * (tokens - 1) / np.log(2), n_bytes),
        ]
        if rows.evaluation != "neutral_text":
            scored.append(("right_wrong_margin", "nats per token", wrong - mine, None))
            scored.append(("right_above_wrong", "share of rows", (wrong > mine).astype(float), None))
        for name, unit, totals, counts in scored:
            yield MetricScores(metric(name, unit), subject, rows.scores(totals, counts))


def task_scores(rng: np.random.Generator, rows: Rows, effects: Effects, base: float) -> Iterator[MetricScores]:
    """Yield the accuracy of a task of lm-eval: one in fifty answers flips either way, and the effect comes on top."""
    metric = Metric(rows.evaluation, "acc", "share of questions", True, "percent", primary=True)
    right = _won(rng.normal(size=rows.n), base)
    is_probability = rows.evaluation.endswith("mc2")
    probability = np.clip(base + 0.25 * rng.normal(size=rows.n), 0.01, 0.99)
    for position, (subject, effect) in enumerate(effects.items()):
        by_chance = 0.0 if is_probability else int(rng.integers(-2, 3)) / rows.n
        moved = effect.accuracy.get(rows.evaluation, 0.0) or by_chance
        if is_probability:
            values = np.clip(probability + moved + (0.01 * rng.normal(size=rows.n) if position else 0), 0, 1)
        else:
            values = _flipped(rng, right, moved) if position else right
        yield MetricScores(metric, subject, rows.scores(values))


def _won(ease: Amounts, share: float) -> Amounts:
    """Return 1 for the given share of the rows, those of most ease, and 0 for the others."""
    return (_shifted(ease, share) > 0).astype(float)


def _shifted(values: Amounts, share: float) -> Amounts:
    """Return the values moved so that the given share of them is above zero."""
    n_above = round(share * len(values))
    ordered = np.sort(values)[::-1]
    n_above = min(max(n_above, 1), len(values) - 1)
    return np.asarray(values - (ordered[n_above - 1] + ordered[n_above]) / 2)


def _flipped(rng: np.random.Generator, right: Amounts, moved: float) -> Amounts:
    """Return the outcomes with one in fifty flipped each way, and then as many more as the share `moved` says."""
    n_lost, n_gained = round(0.02 * len(right)), round((0.02 + moved) * len(right))
    if n_gained < 0:
        n_lost, n_gained = n_lost - n_gained, 0
    values = right.copy()
    values[rng.choice(np.flatnonzero(right == 1), n_lost, replace=False)] = 0
    values[rng.choice(np.flatnonzero(right == 0), n_gained, replace=False)] = 1
    return values
