"""`harness lm-eval`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_lm_evals_command_line_runs_on_the_engine(
    harness: Callable[..., Any], tmp_path: Path, llama_folder: Path
) -> None:
    """`harness lm-eval` takes lm-eval's own arguments and scores with this project's engine."""
    rows = [{"question": f"What is {n}?", "choices": [" one", " two or three"], "gold": n % 2} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "numbers.yaml").write_text(
        "task: numbers\ndataset_path: json\noutput_type: multiple_choice\nvalidation_split: validation\n"
        f"dataset_kwargs: {{data_files: {{validation: {tmp_path / 'rows.jsonl'}}}}}\n"
        "doc_to_text: '{{question}}'\ndoc_to_target: gold\ndoc_to_choice: '{{choices}}'\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    common = ("--model_args", f"pretrained={llama_folder},dtype=float32", "--tasks", tmp_path / "numbers.yaml")

    def accuracy(*arguments: str | Path) -> str:
        outcome = harness("lm-eval", *arguments, *common, "--device", "cpu")
        assert outcome.exit_code == 0, outcome.err
        (line,) = (line for line in outcome.out.splitlines() if "numbers" in line and "acc" in line)
        return line

    ours = accuracy()
    assert ours == accuracy("--model", "hf")
