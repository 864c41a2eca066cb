"""Names for people: every dataset, task and metric that ships has one, and no two metrics of a run share theirs."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import harness
import suites
from harness.data.catalogue import CATALOGUE
from reports.records import EvaluationCounts, Metric
from reports.rendering.content.names import metric_name, metric_names, row_nouns, short_names

PRESETS = sorted((Path(harness.__file__).parent / "presets").glob("*.yaml"))


def counts(dataset: str, evaluation: str = "mine") -> EvaluationCounts:
    """Rows of a dataset."""
    return EvaluationCounts(evaluation, dataset, 1, 1, 1, dataset_name=dataset)


def perplexity(evaluation: str) -> Metric:
    """A metric of an evaluation of answers."""
    return Metric(evaluation, "perplexity", "nats per token", higher_is_better=False, display="exp")


def test_every_dataset_of_the_catalogue_has_a_name_of_its_own():
    """None is shown as a path of the hub, and none is mistaken for another."""
    names = {entry.name: metric_name(perplexity("mine"), counts(entry.name)) for entry in CATALOGUE.values()}
    assert not any("/" in name or "_" in name or name.startswith("Mine") for name in names.values())
    without_configuration = {name.partition(":")[0] + name.partition("#")[2] for name in names}
    assert len(set(names.values())) == len(without_configuration)


def test_every_task_of_the_presets_has_a_name():
    """Names of lm-eval's tasks stay in CSV and JSON."""
    tasks = {
        task
        for preset in PRESETS
        for key in ("lm_eval_tasks", "capability_tasks")
        for task in yaml.safe_load(preset.read_text(encoding="utf-8"))["data"][key]
    }
    assert len(tasks) >= 7
    for task in tasks:
        name = metric_name(Metric(f"capability/{task}", "acc", "share", higher_is_better=True, display="percent"))
        assert "_" not in name
        assert name[0].isupper()


def test_every_evaluation_of_the_shipped_suites_has_a_name():
    """What an evaluation measures is said in words, also on rows of a file."""
    evaluations = {
        (each["name"], each["kind"])
        for file in (Path(suites.__file__).parent / "definitions").glob("*.yaml")
        for each in yaml.safe_load(file.read_text(encoding="utf-8"))["evaluations"]
    }
    for name, kind in evaluations:
        if kind != "lm_eval":
            assert metric_name(perplexity(name), counts("/home/me/rows.jsonl")).partition(",")[0] != name.capitalize()


@pytest.mark.parametrize(
    ("evaluation", "name", "unit", "display", "dataset", "expected"),
    [
        ("truthfulness", "perplexity", "nats", "exp", "truthfulqa/truthful_qa:generation", "TruthfulQA, perplexity"),
        ("safety", "perplexity", "nats", "exp", "embedded/safety", "Safe answers, perplexity"),
        ("my_rows", "perplexity", "nats", "exp", "rows.jsonl", "My rows, perplexity"),
        ("preferences", "reward_accuracy", "", "percent", "Anthropic/hh-rlhf", "Preferred answers, reward accuracy"),
        (
            *("preferences", "reward_accuracy[longest wins is wrong]", "", "percent", "x"),
            "Preferred answers, reward accuracy where longest wins is wrong",
        ),
        ("preferences", "reward_accuracy[honesty]", "", "percent", "x", "Preferred answers, reward accuracy (honesty)"),
        ("preferences", "reward_margin", "nats", "mean", "x", "Preferred answers, reward margin (nats)"),
        ("safety", "bits_per_byte", "bits per byte", "mean", "x", "Safe answers, bits per byte"),
        ("answers", "refusal_rate[harmful]", "share", "percent", "x", "Generated answers, refusals (harmful)"),
        ("answers", "answer_length", "tokens per answer", "mean", "x", "Generated answers, length (tokens per answer)"),
        ("answers", "verdict[gpt]", "share of answers", "percent", "x", "Generated answers, wins, judged by gpt"),
        ("answers", "verdict[gpt]", "score", "mean", "x", "Generated answers, score, judged by gpt"),
        ("drift", "kl_per_token", "nats", "mean", "x", "Drift from the reference, KL divergence (nats)"),
        ("lm_eval/gsm8k", "exact_match[strict-match]", "share", "percent", "", "GSM8K, accuracy (strict match)"),
        ("lm_eval/arc_easy", "acc_norm", "share", "percent", "", "ARC-Easy, accuracy by length"),
        ("lm_eval/my_task", "acc", "share", "percent", "", "my_task, accuracy"),
    ],
)  # fmt: skip
def test_what_a_metric_is_called(evaluation, name, unit, display, dataset, expected):
    """The dataset where people know it, the evaluation elsewhere; what a subset or a judge is, and a unit once."""
    metric = Metric(evaluation, name, unit, higher_is_better=True, display=display)
    assert metric_name(metric, counts(dataset, evaluation)) == expected


def test_metrics_that_would_share_a_name_are_told_apart(fakes):
    """Two evaluations of one dataset have their machine names behind it."""
    metrics = (perplexity("a"), perplexity("b"), fakes.MARGIN)
    run = fakes.small_run({(metric, "base"): () for metric in metrics})
    run = replace(run, counts=tuple(counts("Anthropic/hh-rlhf", name) for name in "ab"))
    assert list(metric_names(run).values()) == [
        *("HH-RLHF, perplexity (a/perplexity)", "HH-RLHF, perplexity (b/perplexity)"),
        "Preferred answers, margin (nats)",
    ]


@pytest.mark.parametrize(
    ("evaluation", "unit", "dataset", "expected"),
    [
        ("preferences", "share of pairs", "Anthropic/hh-rlhf", ("pairs", "prompts")),
        ("preferences", "share of pairs", "rows.jsonl", ("pairs", "groups")),
        ("safety", "nats per token", "PKU-Alignment/PKU-SafeRLHF", ("answers", "prompts")),
        ("truthfulness", "nats per token", "truthfulqa/truthful_qa:generation", ("questions", "questions")),
        ("mine", "nats per token", "rows.jsonl", ("examples", "groups")),
        ("capability/winogrande", "share of questions", "", ("sentences", "twin groups")),
        ("capability/arc_easy", "share of questions", "", ("questions", "groups")),
    ],
)
def test_what_rows_and_groups_are_called(evaluation, unit, dataset, expected):
    """By the dataset where it is known, and by words that are right of any rows elsewhere."""
    metric = Metric(evaluation, "metric", unit, higher_is_better=True)
    assert row_nouns(metric, counts(dataset, evaluation)) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("learning_rate=5e-6", "learning_rate=1e-5", "control: sft"), ["5e-6", "1e-5", "control: sft"]),
        (("beta=0.1, rank=4", "beta=0.2, rank=4"), ["0.1, 4", "0.2, 4"]),
        (("beta=0.1, seed 1", "beta=0.1, seed 2"), ["0.1, seed 1", "0.1, seed 2"]),
        (("beta=0.1", "rank=4"), ["beta=0.1", "rank=4"]),
        (("beta=0.1", "control"), ["beta=0.1", "control"]),
        (("beta=0.1", "beta=0.2", "0.1"), ["beta=0.1", "beta=0.2", "0.1"]),
    ],
)
def test_swept_candidates_are_called_by_what_differs(names, expected):
    """Only where all of them sweep the same settings, and no two names become one."""
    assert list(short_names(names).values()) == expected
