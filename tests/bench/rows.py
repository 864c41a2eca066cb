"""Samples the real rows with a fixed seed, as texts, pairs and lm-eval tasks."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from harness.config.schema import DatasetConfig
from harness.data.read import load_rows
from harness.data.row import LeftOut, Row
from harness.data.sources import hh_rlhf, ultrafeedback
from suites.engine.chat_template import ensure_template
from suites.engine.encoding import Encoder
from suites.evaluations.plan import EvaluationPlan
from suites.evaluations.reward import plan
from suites.inputs import Pair
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import TaskSet, load_tasks

HH_RLHF = "Anthropic/hh-rlhf:helpful-base"
ULTRAFEEDBACK = "HuggingFaceH4/ultrafeedback_binarized"
ARC_TASK = {
    "task": "arc_easy_rows",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "validation_split": "validation",
    "doc_to_text": "{{query}}\nAnswer:",
    "doc_to_target": "gold",
    "doc_to_choice": "{{choices}}",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
}


def all_texts(data_root: Path, rows_per_file: int | None = None) -> list[str]:
    """Returns every text in the rows of all datasets of the folder, once, sorted."""
    datasets = yaml.safe_load((data_root / "datasets.yaml").read_text(encoding="utf-8"))
    texts: set[str] = set()
    for name in sorted({name for splits in datasets.values() for name in splits.values()}):
        opened = gzip.open if name.endswith(".gz") else open
        with opened(data_root / name, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number == rows_per_file:
                    break
                texts.update(_texts_in(json.loads(line)))
    return sorted(texts)


def truthfulqa(data_root: Path, n_questions: int) -> TaskSet:
    """Returns mc1 and mc2 on the same questions."""
    rows = data_root / "truthful_qa" / "multiple_choice" / "validation.jsonl"
    return load_tasks([TaskSource(f"truthfulqa_{kind}", rows) for kind in ("mc1", "mc2")], limit=n_questions)


def arc_easy(data_root: Path, n_questions: int, folder: Path) -> TaskSet:
    """Returns the rows as they are, through a task file written here."""
    rows = data_root / "lm_eval" / "arc_easy" / "icl.jsonl"
    file = folder / "arc_easy_rows.yaml"
    task = {**ARC_TASK, "dataset_kwargs": {"data_files": {"validation": str(rows.resolve())}}}
    file.write_text(yaml.safe_dump(task), encoding="utf-8")
    return load_tasks([TaskSource(str(file))], limit=n_questions)


def winogrande(data_root: Path, n_sentences: int) -> TaskSet:
    """Returns sentences with their twins."""
    return load_tasks([TaskSource("winogrande", data_root / "winogrande" / "dev.jsonl")], limit=n_sentences)


def hh_rlhf_pairs(data_root: Path, n_pairs: int) -> list[Pair]:
    """Returns pairs of helpful-base."""
    return _pairs(data_root, HH_RLHF, hh_rlhf.pair, n_pairs)


def ultrafeedback_pairs(data_root: Path, n_pairs: int) -> list[Pair]:
    """Returns pairs of the preference split."""
    return _pairs(data_root, ULTRAFEEDBACK, ultrafeedback.pair, n_pairs)


def encoded_pairs(pairs: list[Pair], tokenizer: Any) -> EvaluationPlan[Pair]:
    """Encodes pairs as the main job does, with the benchmark's own limits."""
    ensure_template(tokenizer, "auto")
    return plan(pairs, Encoder(tokenizer, max_prompt_tokens=512, max_tokens=1024))


def _pairs(data_root: Path, name: str, adapter: Callable[[Row], Pair | LeftOut], n_pairs: int) -> list[Pair]:
    rows = load_rows(DatasetConfig(name), ("test", "train_prefs"), data_root).rows
    pairs = {pair.example_id: pair for row in rows if isinstance(pair := adapter(row), Pair)}
    return random.Random(0).sample([pairs[example_id] for example_id in sorted(pairs)], n_pairs)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item)
