"""What the tests of lm-eval's tasks share: a tiny model behind our interface and behind lm-eval's, and task files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.lm_eval.model import ScorerLM

WORDS = ("bread", "suitcase", "telescope", "trophy", "yeast", "party")
TASKS = {
    "loglikelihood": """
        doc_to_text: "{{q}}"
        doc_to_target: " {{a}}"
        metric_list: [{metric: perplexity}, {metric: acc}]
        """,
    "multiple_choice": """
        doc_to_text: "{{q}}"
        doc_to_choice: "{{choices}}"
        doc_to_target: right
        metric_list: [{metric: acc}, {metric: acc_norm}, {metric: f1}]
        """,
    "loglikelihood_rolling": """
        doc_to_text: ""
        doc_to_target: "{{q}} {{a}}"
        metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
        """,
    "generate_until": """
        doc_to_text: "{{q}}"
        doc_to_target: "{{a}}"
        generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
        metric_list: [{metric: exact_match}]
        """,
}
"""Output type -> what a task file says of prompts, answers and metrics."""


@pytest.fixture(scope="session", autouse=True)
def without_packages_of_the_machine() -> Iterator[None]:
    """Keeps lm-eval from listing installed packages beside its results, which takes far longer than a tiny model."""
    from lm_eval import evaluator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "add_env_info", lambda results: results)
        yield


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., str]:
    """Writes a task file with rows of its own beside it; returns its path."""

    def write(output_type: str, *, name: str = "mine", more: str = "", n_rows: int = 6) -> str:
        rows = [
            {
                "q": f"What is {number} times the {WORDS[number % 6]}?",
                "a": WORDS[(number + 1) % 6],
                "choices": [WORDS[number % 6], "the brown suitcase"],
                "right": number % 2,
            }
            for number in range(n_rows + 8)
        ]
        for split, part in (("test", rows[:n_rows]), ("train", rows[n_rows:])):
            lines = "".join(json.dumps(row) + "\n" for row in part)
            (tmp_path / f"{name}_{split}.jsonl").write_text(lines)
        head = (
            f"task: {name}\noutput_type: {output_type}\ndataset_path: json\ntest_split: test\ntraining_split: train\n"
        )
        files = f"dataset_kwargs: {{data_files: {{test: {name}_test.jsonl, train: {name}_train.jsonl}}}}\n"
        body = "\n".join(line.strip() for line in TASKS[output_type].splitlines())
        file = tmp_path / f"{name}.yaml"
        file.write_text(f"{head}{files}{body}\n{more}\n")
        return str(file)

    return write


@pytest.fixture(scope="module")
def both_models(llama_folder: Path) -> tuple[ScorerLM, Any]:
    """One model behind our interface and behind lm-eval's, whose softmax is float64: its float32 is the less exact."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(llama_folder).eval(),
        AutoTokenizer.from_pretrained(llama_folder),
    )
    scorer = ModelScorer(model, pad_token_id=tokenizer.pad_token_id, state=ScoringState(plan_for(model), print))
    ours = ScorerLM(model, tokenizer, scorer.score)
    return ours, HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, softmax_dtype="float64")
