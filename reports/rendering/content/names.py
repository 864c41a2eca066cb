"""Names that a reader understands: "TruthfulQA, perplexity" for the machine's `truthfulness/perplexity`.

Machine names stay in CSV, JSON, JUnit and gate files; every text and picture for people has these.
"""

import re
from collections.abc import Mapping

from reports.records import EvaluationCounts, Metric, Run

_DATASETS = {
    "truthfulqa/truthful_qa": "TruthfulQA",
    "allenai/winogrande": "Winogrande",
    "PKU-Alignment/PKU-SafeRLHF": "PKU-SafeRLHF",
}
"""Dataset of an evaluation of answers -> what people call it."""
_EVALUATIONS = {
    "preferences": "Preferred answers",
    "truthfulness": "Truthful answers",
    "coreference": "Coreference answers",
    "safety": "Safe answers",
    "neutral_text": "Neutral text",
    "answers": "Answers",
    "drift": "Drift of answers",
}
"""Evaluation of the shipped suites -> its name where the dataset has none that people know."""
_TASKS = {
    "truthfulqa_mc1": "TruthfulQA, multiple choice (mc1)",
    "truthfulqa_mc2": "TruthfulQA, multiple choice (mc2)",
    "embedded_truthfulqa_mc1": "Truthfulness, multiple choice (mc1)",
    "embedded_truthfulqa_mc2": "Truthfulness, multiple choice (mc2)",
    "embedded_winogrande": "Coreference, accuracy",
    "winogrande": "Winogrande, accuracy",
    "arc_easy": "ARC-Easy, accuracy",
    "arc_challenge": "ARC-Challenge, accuracy",
    "hellaswag": "HellaSwag, accuracy",
    "piqa": "PIQA, accuracy",
    "boolq": "BoolQ, accuracy",
    "mmlu": "MMLU, accuracy",
    "gsm8k": "GSM8K, accuracy",
}
"""lm-eval task -> its name with its usual metric, `acc` or `exact_match`."""
_USUAL = ("acc", "exact_match")
_METRICS = {
    "acc": "accuracy",
    "acc_norm": "accuracy by length",
    "bits_per_byte": "bits per byte",
    "drift_chosen": "drift of chosen answers",
    "drift_rejected": "drift of rejected answers",
    "kl_per_token": "KL divergence per token",
    "perplexity_per_example": "perplexity, mean of examples",
    "perplexity_without_eos": "perplexity without end of turn",
    "preference_accuracy": "accuracy of probabilities",
    "preference_accuracy_per_token": "accuracy of probabilities per token",
    "right_above_wrong": "right above wrong",
    "right_wrong_margin": "margin of right over wrong",
}
_SUBSET = re.compile(r"\[(.*)\]$")


def metric_names(run: Run) -> Mapping[Metric, str]:
    """Map each metric of a run to its name; metrics that would share one have their evaluation's machine name too."""
    counts = {each.evaluation: each for each in run.counts}
    metrics = dict.fromkeys(measurement.metric for measurement in run.measurements)
    names = {metric: metric_name(metric, counts.get(metric.evaluation)) for metric in metrics}
    taken = list(names.values())
    return {
        metric: name if taken.count(name) == 1 else f"{name} ({metric.evaluation})" for metric, name in names.items()
    }


def metric_name(metric: Metric, counts: EvaluationCounts | None = None) -> str:
    """Return what people call a metric, from the dataset that its rows are from where that is known."""
    *_, task = metric.evaluation.split("/")
    if task in _TASKS and metric.name in _USUAL:
        return _TASKS[task]
    name = metric.name.removesuffix("]")
    name, bracket, subset = name.partition("[")
    words = _METRICS.get(name, name.replace("_", " "))
    if bracket:
        words += f" ({subset})"
    unit = f" ({metric.unit})" if metric.display == "mean" and metric.unit not in ("", metric.name) else ""
    return f"{_evaluation_name(metric, counts)}, {words}{unit}"


def _evaluation_name(metric: Metric, counts: EvaluationCounts | None) -> str:
    group, slash, task = metric.evaluation.rpartition("/")
    if slash and group:
        known = _TASKS.get(task)
        return known.rpartition(",")[0] if known else task
    dataset = counts.dataset_name.partition(":")[0].partition("#")[0] if counts else ""
    if dataset in _DATASETS and metric.evaluation != "preferences":
        return _DATASETS[dataset]
    fallback = metric.evaluation.replace("_", " ")
    return _EVALUATIONS.get(metric.evaluation, fallback[:1].upper() + fallback[1:])
