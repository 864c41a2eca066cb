"""Names that a reader understands: "TruthfulQA, perplexity" for the machine's `truthfulness/perplexity`.

Machine names stay in CSV, JSON, JUnit and gate files; every text and picture for people has these.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.records import EvaluationCounts, Metric, Run


@dataclass(frozen=True, slots=True)
class _Dataset:
    name: str
    rows: str = "answers"
    """What its rows are, where answers are measured one by one."""
    groups: str = "prompts"
    """What makes them dependent."""


_DATASETS = {
    "truthfulqa/truthful_qa": _Dataset("TruthfulQA", "questions", "questions"),
    "allenai/winogrande": _Dataset("Winogrande", "sentences", "twin groups"),
    "PKU-Alignment/processed-hh-rlhf": _Dataset("HH-RLHF (PKU)"),
    "PKU-Alignment/PKU-SafeRLHF": _Dataset("PKU-SafeRLHF"),
    "PKU-Alignment/PKU-SafeRLHF#better": _Dataset("PKU-SafeRLHF, better answers"),
    "Anthropic/hh-rlhf": _Dataset("HH-RLHF"),
    "HuggingFaceH4/ultrafeedback_binarized": _Dataset("UltraFeedback"),
    "trl-lib/ultrafeedback_binarized": _Dataset("UltraFeedback (TRL)"),
    "llamafactory/dpo_en_demo": _Dataset("LLaMA-Factory DPO demo"),
    "shionhonda/reviewer2-1k-paired": _Dataset("Reviewer 2, paired"),
    "shionhonda/reviewer2-2k-unpaired": _Dataset("Reviewer 2, unpaired"),
    "trl-lib/kto-mix-14k": _Dataset("KTO mix"),
    "Intel/orca_dpo_pairs": _Dataset("Orca DPO pairs", groups="questions"),
    "openai/webgpt_comparisons": _Dataset("WebGPT comparisons", groups="questions"),
    "openai/summarize_from_feedback": _Dataset("Summaries from feedback", "summaries", "posts"),
    "eli5": _Dataset("ELI5", groups="questions"),
    "eli5_category": _Dataset("ELI5-Category", groups="questions"),
    "Hello-SimpleAI/HC3": _Dataset("HC3", groups="questions"),
    "embedded/preferences": _Dataset("Embedded preferences", groups="templates"),
    "embedded/truthfulness": _Dataset("Embedded truthfulness", "questions", "questions"),
    "embedded/coreference": _Dataset("Embedded coreference", "sentences", "twin groups"),
    "embedded/safety": _Dataset("Embedded safety"),
    "embedded/prompts": _Dataset("Embedded prompts"),
    "embedded/neutral": _Dataset("Embedded neutral text", "texts", "texts"),
}
"""Dataset as the catalogue names it, without its configuration -> what people call it, its rows and its groups."""
_EVALUATIONS = {
    "preferences": "Preferred answers",
    "chosen_answers": "Chosen answers",
    "truthfulness": "Truthful answers",
    "coreference": "Coreference answers",
    "safety": "Safe answers",
    "neutral_text": "Neutral text",
    "answers": "Generated answers",
    "drift": "Drift from the reference",
}
"""Evaluation of the shipped suites -> its name where that of the dataset does not say what is measured."""
_NOT_BY_DATASET = ("preferences", "chosen_answers", "answers", "drift")
"""Evaluations of which the role says more than the dataset, whose rows may also be those that were trained on."""
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
    "openbookqa": "OpenBookQA, accuracy",
    "lambada_openai": "LAMBADA, accuracy",
    "mmlu": "MMLU, accuracy",
    "gsm8k": "GSM8K, accuracy",
}
"""lm-eval task -> its name with its usual metric, `acc` or `exact_match`."""
_USUAL = ("acc", "exact_match")
_METRICS = {
    "acc": "accuracy",
    "acc_norm": "accuracy by length",
    "answer_length": "length",
    "bits_per_byte": "bits per byte",
    "drift_chosen": "drift of chosen answers",
    "drift_rejected": "drift of rejected answers",
    "empty_answers": "empty ones",
    "exact_match": "exact matches",
    "kl_per_token": "KL divergence",
    "perplexity_per_example": "perplexity, mean of examples",
    "perplexity_without_eos": "perplexity of the words",
    "preference_accuracy": "accuracy of probabilities",
    "preference_accuracy_per_token": "accuracy of probabilities per token",
    "refusal_rate": "refusals",
    "repetition": "repeated phrases",
    "right_above_wrong": "right above wrong",
    "right_wrong_margin": "margin of right over wrong",
}
_RULER_IS_WRONG = re.compile(r"(.+) is wrong")
_NO_WORDS_FOR_A_UNIT = ("", "lm-eval's own", "score")
"""Units that say nothing more than the metric's name."""


def metric_names(run: Run) -> Mapping[Metric, str]:
    """Map each metric of a run to its name; metrics that would share one have their machine names too."""
    counts = {each.evaluation: each for each in run.counts}
    metrics = dict.fromkeys(measurement.metric for measurement in run.measurements)
    names = {metric: metric_name(metric, counts.get(metric.evaluation)) for metric in metrics}
    shared = Counter(names.values())
    return {
        metric: name if shared[name] == 1 else f"{name} ({metric.evaluation}/{metric.name})"
        for metric, name in names.items()
    }


def metric_name(metric: Metric, counts: EvaluationCounts | None = None) -> str:
    """Return what people call a metric, from the dataset that its rows are from where that is known."""
    name, bracket, subset = metric.name.removesuffix("]").partition("[")
    task = metric.evaluation.rpartition("/")[2]
    if task in _TASKS and name in _USUAL:
        return _TASKS[task] + (f" ({subset.replace('-', ' ')})" if bracket else "")
    return f"{_evaluation_name(metric, counts)}, {_words(metric, name, subset)}{_unit(metric, name)}"


def evaluation_names(run: Run) -> Mapping[str, str]:
    """Map each evaluation of a run to its name: that of its dataset, or what it measures."""
    counts = {each.evaluation: each for each in run.counts}
    metrics = {measurement.metric.evaluation: measurement.metric for measurement in run.measurements}
    return {name: _evaluation_name(metric, counts.get(name)) for name, metric in metrics.items()}


def row_nouns(metric: Metric, counts: EvaluationCounts | None = None) -> tuple[str, str]:
    """Return what a metric's rows and groups are, in the plural: ("pairs", "prompts"), or else "examples", "groups"."""
    task = metric.evaluation.rpartition("/")[2]
    if "/" in metric.evaluation or task in _TASKS:
        return ("sentences", "twin groups") if task.endswith("winogrande") else ("questions", "groups")
    dataset = _dataset(counts)
    groups = dataset.groups if dataset else "groups"
    if metric.unit == "share of pairs":
        return "pairs", groups
    return dataset.rows if dataset else "examples", groups


def short_names(names: Sequence[str]) -> Mapping[str, str]:
    """Map names of swept values to what differs in them: "learning_rate=1e-5" to "1e-5" if all of them sweep that.

    Names that are no settings stay, and so do all if a short one could be taken for another.
    """
    settings = {name: dict(part.partition("=")[::2] for part in name.split(", ")) for name in names if "=" in name}
    alike = {tuple(key for key, value in each.items() if value) for each in settings.values()}
    if len(settings) < 2 or len(alike) != 1:  # noqa: PLR2004 - nothing to tell apart
        return {name: name for name in names}
    short = {name: ", ".join(value or key for key, value in each.items()) for name, each in settings.items()}
    found = {name: short.get(name, name) for name in names}
    return found if len(set(found.values())) == len(set(names)) else {name: name for name in names}


def _words(metric: Metric, name: str, subset: str) -> str:
    if name == "verdict" and subset:
        return f"{'wins' if metric.display == 'percent' else 'score'}, judged by {subset}"
    words = _METRICS.get(name, name.replace("_", " "))
    ruler = _RULER_IS_WRONG.fullmatch(subset)
    if ruler:
        return f"{words} where {ruler[1]} is wrong"
    return f"{words} ({subset})" if subset else words


def _unit(metric: Metric, name: str) -> str:
    said = (metric.name, name, _METRICS.get(name), *_NO_WORDS_FOR_A_UNIT)
    return f" ({metric.unit})" if metric.display == "mean" and metric.unit not in said else ""


def _evaluation_name(metric: Metric, counts: EvaluationCounts | None) -> str:
    group, slash, task = metric.evaluation.rpartition("/")
    if slash and group:
        known = _TASKS.get(task)
        return known.rpartition(",")[0] if known else task
    dataset = _dataset(counts)
    is_embedded = counts is not None and counts.dataset_name.startswith("embedded/")
    if dataset and not is_embedded and metric.evaluation not in _NOT_BY_DATASET:
        return dataset.name
    if metric.evaluation in _EVALUATIONS:
        return _EVALUATIONS[metric.evaluation]
    words = metric.evaluation.replace("_", " ")
    return dataset.name if dataset else words[:1].upper() + words[1:]


def _dataset(counts: EvaluationCounts | None) -> _Dataset | None:
    """Return the dataset of an evaluation: by its name with what follows #, or else by the name alone."""
    if counts is None:
        return None
    name, mark, reading = counts.dataset_name.partition("#")
    name = name.partition(":")[0]
    return _DATASETS.get(name + mark + reading) or _DATASETS.get(name)
