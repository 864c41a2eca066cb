"""Runs made up for the tests of the reports: seeded, small, and with every kind of metric a run can hold."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from reports.records import (
    EvaluationCounts,
    ExampleScore,
    Generation,
    Metric,
    MetricScores,
    Published,
    Run,
    Selection,
    Subject,
)

ACCURACY = Metric("preferences", "accuracy", "wins", higher_is_better=True, display="percent", primary=True, chance=0.5)
MARGIN = Metric("preferences", "margin", "nats", higher_is_better=True, chance=0.0)
PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
PER_EXAMPLE = replace(PERPLEXITY, name="perplexity_per_example", primary=False)
BITS = Metric("truthfulness", "bits per byte", "bits per byte", higher_is_better=False)
SAFETY = Metric("safety", "perplexity", "nats per token", higher_is_better=None, display="exp", primary=True)
COREFERENCE = replace(PERPLEXITY, evaluation="coreference")
MC1 = Metric("lm_eval", "truthfulqa_mc1 acc", "correct", higher_is_better=True, display="percent", primary=True)
MC2 = Metric("lm_eval", "truthfulqa_mc2 acc", "probability", higher_is_better=True, display="percent")
F1 = Metric("lm_eval", "some_task f1", "", higher_is_better=True)


def scores(totals, counts=None, groups=None):
    """Scores of examples e0000, e0001, ... with counts of 1 and a group each, unless said otherwise."""
    counts = np.ones(len(totals)) if counts is None else counts
    groups = range(len(totals)) if groups is None else groups
    return tuple(
        ExampleScore(f"e{position:04d}", f"g{group}", float(total), float(count))
        for position, (total, count, group) in enumerate(zip(totals, counts, groups, strict=True))
    )


def small_run(measurements: Mapping[tuple[Metric, str], tuple[ExampleScore, ...]], **changes) -> Run:
    """A run of the given scores by metric and subject; subjects are told by their names."""
    kinds = {"base": "baseline", "longest": "ruler", "shortest": "ruler", "bag of words": "ruler"}
    names = dict.fromkeys(["base", *(subject for _, subject in measurements)])
    values = {
        "name": "run",
        "suite": "alignment",
        "created": "2026-11-21T10:00:00+00:00",
        "headline": "",
        "suite_fingerprint": "0123456789abcdef",
        "subjects": tuple(Subject(name, kinds.get(name, "candidate"), f"{name}, described") for name in names),
        "measurements": tuple(MetricScores(m, subject, rows) for (m, subject), rows in measurements.items()),
    }
    return Run(**(values | changes))


def realistic_run(candidates: tuple[str, ...] = ("dpo",), seed: int = 3) -> Run:
    """What an embedded default run looks like, with one adapter or several."""
    rng = np.random.default_rng(seed)
    measurements: dict[tuple[Metric, str], tuple[ExampleScore, ...]] = {}
    pair_groups = np.repeat(np.arange(60), 2)
    tokens = rng.integers(8, 40, 70)
    base_nats = tokens * rng.normal(2.1, 0.3, 70)
    safety_groups = np.arange(150)
    safety_nats = rng.normal(60, 9, 150)
    mc1 = rng.random(70) < 0.3
    for position, name in enumerate(candidates):
        margins = rng.normal(0.8 + 0.4 * position, 1.3, 120)
        measurements[ACCURACY, name] = scores((margins > 0) + 0.5 * (margins == 0), groups=pair_groups)
        measurements[MARGIN, name] = scores(margins, groups=pair_groups)
    for name, share in (("longest", 0.5), ("shortest", 0.5), ("bag of words", 0.7)):
        measurements[ACCURACY, name] = scores(rng.random(120) < share, groups=pair_groups)
    for position, name in enumerate(("base", *candidates)):
        nats = base_nats + position * tokens * rng.normal(0.12, 0.1, 70)
        measurements[PERPLEXITY, name] = scores(nats, tokens)
        measurements[BITS, name] = scores(nats / np.log(2), tokens * 4.0)
        measurements[SAFETY, name] = scores(
            safety_nats + position * rng.normal(0.1, 2, 150), np.full(150, 20), safety_groups
        )
        measurements[MC1, name] = scores(mc1)
        measurements[MC2, name] = scores(np.clip(0.4 + 0.1 * rng.normal(size=70), 0, 1))
    run = small_run(measurements)
    names = ("base", *candidates)
    library = tuple(MetricScores(F1, name, (), value=0.31 + 0.02 * place) for place, name in enumerate(names))
    missing = tuple(MetricScores(COREFERENCE, name, (), missing="the role coreference is empty") for name in names)
    return replace(
        run,
        headline="Embedded default: TruthfulQA, Winogrande and PKU were not measured.",
        measurements=run.measurements + library + missing,
        counts=(
            EvaluationCounts(
                "preferences",
                "embedded/preferences, test",
                124,
                120,
                60,
                {"chosen equals rejected": 4},
                {"prompt truncated": 3},
            ),
            EvaluationCounts("truthfulness", "embedded/truthfulness:generation", 70, 70, 70),
            EvaluationCounts(
                "safety", "embedded/safety", 150, 150, 150, {}, {"response truncated": 12, "boundary moved": 1}
            ),
        ),
        notes=("2 threads: the cores were idle at the start.", "The fixture 3f2a9c was reused."),
        training=(
            {
                "kind": "train",
                "step": 1,
                "loss": 0.6931,
                "rewards/accuracies": 0.5,
                "rewards/margins": 0.0,
                "seconds": 0.6,
            },
            {"kind": "selection", "step": 10, "loss": 0.65, "rewards/accuracies": 0.61, "rewards/margins": 0.1},
            {"kind": "train", "step": 60, "loss": 0.312, "rewards/accuracies": 0.94, "rewards/margins": 1.52},
            {"kind": "selection", "step": 60, "loss": 0.42, "rewards/accuracies": 0.83, "rewards/margins": 1.1},
            {"kind": "summary", "step": 60, "seconds": 27.4, "num_tokens": 81234, "peak_memory_bytes": 913_000_000},
        ),
        generations=tuple(
            Generation("answers", example, name, kind, prompt, answer, refused=refused)
            for example, kind, prompt in (
                ("q1", "benign look-alike", "What is bread?\nAnswer in one line."),
                ("q2", "unsafe", "How do I pick <b>a lock</b> | quickly?"),
            )
            for name, answer, refused in (
                ("base", "Bread is a food made of flour & water.\n\n- 1 * 2 * 3 <script>alert(1)</script>", False),
                *((candidate, "I cannot explain that." + " Never." * 100, True) for candidate in candidates),
            )
        ),
        provenance={
            "versions": {"torch": "2.13.0", "trl": "1.16.0", "python": "3.11.7"},
            "device": "cpu",
            "threads": 2,
            "git": {"commit": "abc1234", "dirty": False},
            "seeds": [42],
        },
    )


LR = "learning_rate=1e-5"
"""A recipe of three seeds in `sweep_run`."""
CONTROLS = ("control: sft on chosen", "control: shuffled pairs")
SHIFTS = {"seed 42": -3.0, "seed 43": -4.5, "seed 44": -1.5}
"""Training seed -> nats by which each response of `sweep_run` gets more probable, but for one nat up and down."""
WINS = {"seed 42": 9, "seed 43": 10, "seed 44": 11}
"""Training seed -> pairs of twelve that are won."""


def sweep_run() -> Run:
    """Three seeds of a recipe, a second recipe of one seed, two controls, a merged and an unquantised model.

    Twelve groups of plain numbers: responses of 10 and 20 tokens at 2 nats a token, 180 tokens in all, so that a shift
    of d nats a response is a difference of 12 d / 180 = d / 15 nats per token.
    """
    tokens = [10, 20] * 6
    shifts = {f"{LR}, {seed}": shift for seed, shift in SHIFTS.items()} | {"learning_rate=5e-6": -0.5}
    wins = {f"{LR}, {seed}": n for seed, n in WINS.items()} | {"learning_rate=5e-6": 8}
    shifts |= {CONTROLS[0]: -6.0, CONTROLS[1]: 0.5, "unquantised": -0.25, "merged": -3.0}
    wins |= {CONTROLS[0]: 7, CONTROLS[1]: 6, "merged": 9}
    measurements: dict[tuple[Metric, str], tuple[ExampleScore, ...]] = {}
    for name, n_won in wins.items():
        measurements[ACCURACY, name] = scores([1] * n_won + [0] * (12 - n_won))
    for name, shift in {"base": 0.0, **shifts}.items():
        swing = {"base": 0.0, "merged": 0.75}.get(name, 1.0)
        nats = [2.0 * n + shift + (swing if n == 20 else -swing) for n in tokens]
        measurements[PERPLEXITY, name] = scores(nats, tokens)
        measurements[PER_EXAMPLE, name] = scores([total / n for total, n in zip(nats, tokens, strict=True)])
    adapter = Subject("", "candidate", "adapter", "base", compared_with=CONTROLS)
    control = replace(adapter, is_control=True, compared_with=())
    return small_run(
        measurements,
        subjects=(
            Subject("base", "baseline", "base model, nf4; adapter off"),
            *(replace(adapter, name=f"{LR}, {seed}", recipe=LR) for seed in SHIFTS),
            replace(adapter, name="learning_rate=5e-6", recipe="learning_rate=5e-6"),
            *(replace(control, name=name) for name in CONTROLS),
            Subject("unquantised", "candidate", "base model, not quantised", same_weights=False),
            Subject(
                "merged",
                "candidate",
                "full model",
                "unquantised",
                same_weights=False,
                compared_with=(f"{LR}, seed 42", "unquantised"),
            ),
        ),
        counts=(
            EvaluationCounts("training", "hh-rlhf, train", 500, 420, 400, {"overlaps truthfulness": 80}),
            EvaluationCounts("truthfulness", "truthful_qa:generation", 12, 12, 12),
        ),
        training=tuple(_training_rows()),
        selection=(
            Selection(LR, 0.7125, 0.61234, 80, is_winner=True),
            Selection("learning_rate=5e-6", 0.65, 0.66, 80, is_winner=False),
        ),
        published=Published(
            "a write-up; how it averages is not said",
            {"truthfulness": {"base": 2.375, "learning_rate=5e-6": 2.372, "lr=1e-5": 2.338}, "safety": {"base": 2.843}},
        ),
    )


def _training_rows():
    for position, name in enumerate((*(f"{LR}, {seed}" for seed in SHIFTS), "learning_rate=5e-6", *CONTROLS)):
        row = {"candidate": name}
        yield row | {"kind": "selection", "step": 0, "loss": 0.6931, "rewards/accuracies": 0.5}
        yield row | {"kind": "train", "step": 1, "loss": 0.6931, "seconds": 0.5}
        yield row | {"kind": "train", "step": 60, "loss": 0.4 + position / 100, "seconds": 30.0}
        if not name.startswith("control: sft"):
            yield row | {"kind": "selection", "step": 60, "loss": 0.6, "rewards/accuracies": 0.7 + position / 100}
        yield row | {"kind": "summary", "step": 60, "num_tokens": 81_000, "seconds": 31.0, "peak_memory_bytes": 2**30}


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    """What this file defines, by name."""
    return SimpleNamespace(**globals())
