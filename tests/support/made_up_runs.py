"""Whole runs made up for tests, benchmarks and pictures of reports: seeded, valid, and of the shapes that people have.

They are large and look real. `tests/reports/conftest.py` has the small ones whose numbers are worked out by hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from made_up_scores import RULERS, Effect, Effects, Rows, perplexity_scores, preference_scores, task_scores
from made_up_texts import edited, texts

from reports.records import ExampleText, Gate, Generation, Metric, MetricScores, Run, Selection, Subject

BASELINE = "baseline"
CONTROLS = ("control: sft on chosen", "control: shuffled pairs")
SEEDS = (42, 43, 44)
CHOSEN = "learning_rate=1e-5"
"""Recipe that `sweep_run` chose on selection rows."""
SWEPT = {
    "learning_rate=5e-6": Effect(
        0.541, {"truthfulness": -0.003, "neutral_text": 0.002}, {"capability/winogrande": -0.002}
    ),
    CHOSEN: Effect(
        0.618,
        {"truthfulness": -0.019, "safety": -0.022, "neutral_text": 0.006},
        {"lm_eval/truthfulqa_mc1": 0.004, "capability/winogrande": -0.006},
    ),
    "learning_rate=5e-5": Effect(
        0.669,
        {"truthfulness": -0.04, "coreference": 0.02, "safety": -0.05, "neutral_text": 0.06},
        {"lm_eval/truthfulqa_mc1": -0.011, "capability/winogrande": -0.045},
    ),
    "learning_rate=1e-4": Effect(
        0.673,
        {"truthfulness": 0.031, "coreference": 0.09, "safety": 0.02, "neutral_text": 0.174},
        {"lm_eval/truthfulqa_mc1": -0.06, "lm_eval/truthfulqa_mc2": -0.03, "capability/winogrande": -0.08},
        refusals=0.1,
    ),
}
"""Recipe of `sweep_run` -> what it changed."""

_ROWS = (
    Rows("truthfulness", 250, 250, "truthfulqa/truthful_qa:generation", "validation"),
    Rows("coreference", 250, 191, "allenai/winogrande:winogrande_xl", "validation"),
    Rows("safety", 249, 83, "PKU-Alignment/PKU-SafeRLHF"),
    Rows("neutral_text", 42, 42, "embedded/neutral", suite_group="capability"),
)
_BASE_NATS = {"truthfulness": 3.1, "coreference": 4.2, "safety": 2.8, "neutral_text": 3.6}
_TASKS = {
    Rows("lm_eval/truthfulqa_mc1", 250, 250, split="validation"): 0.256,
    Rows("lm_eval/truthfulqa_mc2", 250, 250, split="validation"): 0.405,
    Rows("capability/arc_easy", 250, 250, split="validation", suite_group="capability"): 0.436,
    Rows("capability/winogrande", 250, 191, split="validation", suite_group="capability"): 0.52,
}
"""Rows of a task of lm-eval -> the baseline's accuracy."""
_GATES = (
    Gate("preferences/reward_accuracy", at_least=0.5),
    *(Gate(f"{name}/perplexity", 0.1, relative=True) for name in ("truthfulness", "safety")),
    Gate("coreference/perplexity_without_eos", 0.1, relative=True),
)
_PROMPTS = Rows("answers", 24, 24, "embedded/prompts")
_KINDS = ("benign look-alike", "harmful")
_REFUSAL = "I am sorry, but I cannot help with that."
_PROVENANCE: dict[str, Any] = {
    "base": {"name": "gpt2", "quantization": "none", "dtype": "float32", "fingerprint": "0011223344556677"},
    "command": ["harness", "train-and-eval", "--suite", "alignment"],
    "device": "cpu",
    "git": {"commit": "0" * 40, "dirty": False},
    "n_threads": 1,
    "packages": {"torch": "2.13.0", "trl": "1.16.0", "peft": "0.21.2", "lm_eval": "0.4.13"},
    "python": "3.11.7",
    "seed": 42,
}


def default_like_run() -> Run:
    """One adapter that gained in reward accuracy, as a bag of words does too; coreference got worse."""
    effect = Effect(
        0.632,
        {"truthfulness": -0.024, "coreference": 0.03, "safety": -0.025, "neutral_text": -0.011},
        {"capability/winogrande": -0.008, "capability/arc_easy": 0.004},
    )
    return _made_up("default-like", {"adapter": effect}, (_candidate("adapter"),), n_pairs=250)


def worse_run() -> Run:
    """One adapter with which everything got worse: it prefers the rejected answers and unlearnt what it knew."""
    effect = Effect(
        0.4,
        {"truthfulness": 0.2, "coreference": 0.16, "safety": 0.25, "neutral_text": 0.31},
        {
            "lm_eval/truthfulqa_mc1": -0.1,
            "lm_eval/truthfulqa_mc2": -0.06,
            "capability/arc_easy": -0.16,
            "capability/winogrande": -0.14,
        },
        refusals=0.5,
    )
    return _made_up("everything-worse", {"adapter": effect}, (_candidate("adapter"),), n_pairs=250)


def sweep_run() -> Run:
    """Four learning rates with three seeds each, one of them chosen, and the controls: SFT, and shuffled pairs."""
    effects: dict[str, Effect] = {}
    subjects = []
    for recipe, effect in SWEPT.items():
        for seed, change in zip(SEEDS, (0.0, 0.1, -0.1), strict=True):
            name = f"{recipe}, seed {seed}"
            effects[name] = _stronger(effect, 1 + change)
            subjects.append(_candidate(name, recipe=recipe, compared_with=CONTROLS))
    effects[CONTROLS[0]] = Effect(0.55, {"truthfulness": -0.061, "safety": -0.055, "neutral_text": -0.022})
    effects[CONTROLS[1]] = Effect(0.503, {"truthfulness": -0.002, "neutral_text": 0.001})
    subjects += [_candidate(name, is_control=True) for name in CONTROLS]
    results = dict(zip(SWEPT, (0.55, 0.652, 0.641, 0.628), strict=True))
    sweep = {"training.learning_rate": [5e-6, 1e-5, 5e-5, 1e-4]}
    return _made_up("sweep", effects, subjects, n_pairs=400, selection=_selection(results), sweep=sweep)


def many_run(n_candidates: int = 20, n_examples: int = 5_000) -> Run:
    """Many candidates on many pairs, with texts of up to 2,000 words, some Arabic and Chinese, the first hostile."""
    strongest = Effect(
        0.65, {"truthfulness": -0.03, "coreference": 0.06, "neutral_text": 0.2}, {"capability/winogrande": -0.1}
    )
    rates = np.geomspace(1e-6, 2e-4, n_candidates).tolist()
    strengths = np.linspace(0.05, 1.0, n_candidates).tolist()
    effects = {
        f"learning_rate={rate:.1e}": _stronger(strongest, share) for rate, share in zip(rates, strengths, strict=True)
    }
    results = {name: 0.62 - 0.1 * abs(share - 0.6) for name, share in zip(effects, strengths, strict=True)}
    sweep = {"training.learning_rate": rates}
    subjects = [_candidate(name) for name in effects]
    return _made_up("many", effects, subjects, n_pairs=n_examples, selection=_selection(results), sweep=sweep)


def _candidate(name: str, **changes: Any) -> Subject:
    return replace(Subject(name, "candidate", f"gpt2, float32 on cpu; adapter {name}", BASELINE, beta=0.1), **changes)


def _stronger(effect: Effect, factor: float) -> Effect:
    """Return the effect times a factor."""
    return Effect(
        0.5 + factor * (effect.reward_accuracy - 0.5),
        {name: factor * nats for name, nats in effect.perplexity.items()},
        {name: factor * share for name, share in effect.accuracy.items()},
        factor * effect.refusals,
    )


def _selection(accuracies: Mapping[str, float]) -> tuple[Selection, ...]:
    """Return the results on 300 selection rows; the highest accuracy is the winner's."""
    winner = max(accuracies, key=lambda name: accuracies[name])
    return tuple(
        Selection(
            name,
            accuracy,
            loss=0.69 - 0.3 * (accuracy - 0.5),
            n=300,
            is_winner=name == winner,
            n_won=round(300 * accuracy),
            n_compared=300,
            decided_by="accuracy" if name == winner else None,
        )
        for name, accuracy in accuracies.items()
    )


def _made_up(
    name: str,
    effects: Effects,
    candidates: Sequence[Subject],
    *,
    n_pairs: int,
    selection: tuple[Selection, ...] = (),
    sweep: Mapping[str, list[float]] | None = None,
) -> Run:
    """Return a run of the alignment suite in which training had the given effects."""
    rng = np.random.default_rng(13)
    everyone = {BASELINE: Effect(), **effects}
    pairs = Rows("preferences", n_pairs, max(2, int(0.94 * n_pairs)), "Anthropic/hh-rlhf")
    pair_texts = tuple(_pair_texts(rng, pairs))
    lengths = [(len(each.texts["chosen"].split()), len(each.texts["rejected"].split())) for each in pair_texts]
    measurements = list(preference_scores(rng, pairs, everyone, lengths))
    for rows in _ROWS:
        measurements += perplexity_scores(rng, rows, everyone, _BASE_NATS[rows.evaluation])
    for rows, base in _TASKS.items():
        measurements += task_scores(rng, rows, everyone, base)
    generations = tuple(_generations(rng, everyone))
    measurements += _answer_scores(rng, everyone, generations)
    return Run(
        name=f"{name}-alignment-20261126-100000",
        suite="alignment",
        created="2026-11-26T10:00:00+00:00",
        headline=f"{name}: base gpt2, none, instruction template. The numbers are made up.",
        suite_fingerprint="0123456789abcdef",
        subjects=(
            Subject(BASELINE, "baseline", "gpt2, float32 on cpu; adapter off"),
            *candidates,
            *(Subject(ruler, "ruler", "judges by the surface of the answers alone") for ruler in RULERS),
        ),
        measurements=tuple(measurements),
        counts=(
            replace(pairs.counted(), evaluation="training", n_scored=2 * n_pairs),
            pairs.counted({"prompt truncated": 3}),
            *(rows.counted() for rows in (*_ROWS, *_TASKS, _PROMPTS, replace(_PROMPTS, evaluation="drift"))),
        ),
        generations=generations,
        examples=(*pair_texts, *(each for rows in _ROWS for each in _reference_texts(rng, rows))),
        notes=("1 thread, as HARNESS_THREADS says.", "These numbers are made up; no model was trained."),
        training=tuple(_training(rng, effects)),
        selection=selection,
        gates=_GATES,
        fingerprint_without_beta="fedcba9876543210",
        config=_config(name, sweep or {}, candidates),
        provenance=_PROVENANCE,
    )


def _pair_texts(rng: np.random.Generator, rows: Rows) -> Iterator[ExampleText]:
    prompts, chosen = texts(rng, rows.n, median_words=20), texts(rng, rows.n)
    for example, prompt, answer in zip(rows.ids, prompts, chosen, strict=True):
        yield ExampleText(example, rows.evaluation, prompt, {"chosen": answer, "rejected": edited(rng, answer)})


def _reference_texts(rng: np.random.Generator, rows: Rows) -> Iterator[ExampleText]:
    prompts, right = texts(rng, rows.n, median_words=10), texts(rng, rows.n, median_words=12)
    for example, prompt, answer in zip(rows.ids, prompts, right, strict=True):
        wrong = {} if rows.evaluation == "neutral_text" else {"wrong": edited(rng, answer)}
        yield ExampleText(example, rows.evaluation, prompt, {"right": answer, **wrong})


def _generations(rng: np.random.Generator, effects: Effects) -> Iterator[Generation]:
    """Yield each subject's answers: the baseline's, edited by training; half of the harmful prompts are refused."""
    prompts = texts(rng, _PROMPTS.n, median_words=12)
    originals = texts(rng, _PROMPTS.n, median_words=60)
    originals[1] = texts(rng, 251)[250]
    patience = rng.random(_PROMPTS.n)
    for subject, effect in effects.items():
        for position, example in enumerate(_PROMPTS.ids):
            kind = _KINDS[position % 2]
            refused = bool(patience[position] < effect.refusals + (0.5 if kind == "harmful" else 0.1))
            answer = originals[position] if subject == BASELINE else edited(rng, originals[position])
            text = _REFUSAL if refused else answer
            yield Generation("answers", example, subject, kind, prompts[position], text, refused)


def _answer_scores(
    rng: np.random.Generator, effects: Effects, generations: Sequence[Generation]
) -> Iterator[MetricScores]:
    """Yield length, emptiness, repetition and refusals of the answers, and their drift from the baseline's."""
    kinds = np.array([_KINDS[position % 2] for position in range(_PROMPTS.n)])
    for subject in effects:
        answers = [each for each in generations if each.subject == subject]
        lengths = np.array([len(each.answer.split()) for each in answers], dtype=float)
        refused = np.array([float(each.refused) for each in answers])
        repeated = np.round(lengths * rng.uniform(0, 0.05, _PROMPTS.n))
        length = Metric("answers", "answer_length", "tokens per answer", None)
        yield MetricScores(length, subject, _PROMPTS.scores(lengths))
        empty = Metric("answers", "empty_answers", "share of answers", False, "percent")
        yield MetricScores(empty, subject, _PROMPTS.scores(np.zeros(_PROMPTS.n)))
        repetition = Metric("answers", "repetition", "share of 4-grams", False, "percent")
        yield MetricScores(repetition, subject, _PROMPTS.scores(repeated, lengths))
        for kind in _KINDS:
            better = False if kind == _KINDS[0] else None
            refusals = Metric("answers", f"refusal_rate[{kind}]", "share of answers", better, "percent")
            yield MetricScores(refusals, subject, _PROMPTS.scores(refused, where=kinds == kind))
        if subject != BASELINE:
            drift = Metric("drift", "kl_per_token", "nats per token", None, chance=0.0)
            tokens = np.full(_PROMPTS.n, 48.0)
            yield MetricScores(
                drift,
                subject,
                replace(_PROMPTS, evaluation="drift").scores(tokens * rng.gamma(2, 0.02, _PROMPTS.n), tokens),
            )


def _training(rng: np.random.Generator, effects: Effects) -> Iterator[dict[str, Any]]:
    """Yield the curves of each candidate: training accuracy rises well above that on selection rows."""
    for name, effect in effects.items():
        gain = effect.reward_accuracy - 0.5
        for step in range(0, 101, 2):
            share = 1 - np.exp(-step / 25)
            noise = rng.normal(0, 0.02)
            row = {"candidate": name, "step": step, "seconds": 0.5 * step + 1, "peak_memory_bytes": 913_000_000}
            if step % 20 == 0:
                yield row | _logged("selection", 1.1 * gain * share) | {"n": 300}
            if step:
                yield row | _logged("train", 1.8 * gain * share + noise) | {"learning_rate": 1e-5 * (1 - step / 101)}
        yield row | {"kind": "summary", "num_tokens": 81_234, "n_threads": 1, "trainable_parameters": 350_208}


def _logged(kind: str, gain: float) -> dict[str, Any]:
    """Return loss, accuracy and margins of a model that prefers 0.5 + gain of the pairs."""
    margin = 3 * gain
    return {
        "kind": kind,
        "loss": float(np.log1p(np.exp(-margin))),
        "rewards/accuracies": float(np.clip(0.5 + gain, 0, 1)),
        "rewards/margins": margin,
        "rewards/chosen": 0.4 * margin,
        "rewards/rejected": -0.6 * margin,
    }


def _config(name: str, sweep: Mapping[str, list[float]], candidates: Sequence[Subject]) -> dict[str, Any]:
    """Return the parts of a resolved configuration that a report can show."""
    return {
        "name": name,
        "controls": ["sft", "shuffled"] if any(each.is_control for each in candidates) else [],
        "data": {"training": {"name": "Anthropic/hh-rlhf"}, "report_fraction": 0.3, "selection_fraction": 0.1},
        "lora": {"alpha": 32, "dropout": 0.05, "rank": 16, "target_modules": "all-linear"},
        "model": {"name": "gpt2", "quantization": "none", "template": "instruction"},
        "seed": SEEDS[0],
        "seeds": len(SEEDS) if any(each.recipe for each in candidates) else 1,
        "sweep": dict(sweep),
        "training": {"method": "dpo", "beta": 0.1, "learning_rate": 1e-5, "max_steps": 100, "batch_size": 8},
    }
