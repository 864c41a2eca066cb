"""Log-probabilities of the training rows under the reference, scored once before the first step.

Every epoch, and every adapter that has the same base, rows and lengths, needs the same ones: they go through the score
cache, and a copy lies beside the checkpoints, so that a training that goes on sees the same bits without the cache.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from harness.training.checkpoints import writing
from reports.json_text import parse_json
from reports.whole import write_whole
from suites.inputs import Request, content_id

REFERENCE_FILE = "reference.json"

Score = Callable[[Sequence[Request]], Sequence[float]]
"""Log-probabilities in nats of responses under the reference."""

_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "dpo": {"ref_chosen_logps": "chosen_ids", "ref_rejected_logps": "rejected_ids"},
    "kto": {"ref_logps": "completion_ids", "ref_KL_logps": "KL_completion_ids"},
}
"""Method -> TRL's column of the reference's log-probabilities -> column of the responses that they are of."""


def has_reference(method: str) -> bool:
    """Whether a method compares the policy with a reference."""
    return method in _COLUMNS


def reference_columns(method: str, dataset: Any, checkpoints: Path, score: Score) -> dict[str, list[float]]:
    """Return the columns of TRL's trainer that hold the reference's log-probabilities.

    Args:
        method: dpo or kto.
        dataset: rows in the columns of the method's collator.
        checkpoints: folder of the run's checkpoints, where the scores are kept.
        score: called for all responses at once where the folder does not have them.

    Raises:
        UnwritableError: they cannot be kept.
    """
    columns = _COLUMNS[method]
    prompts = [tuple(ids) for ids in dataset["prompt_ids"]]
    requests = [
        Request(prompt_ids=prompt, response_ids=tuple(ids))
        for name in columns.values()
        for prompt, ids in zip(prompts, dataset[name], strict=True)
    ]
    of_rows = content_id([(request.prompt_ids, request.response_ids) for request in requests])
    file = checkpoints / REFERENCE_FILE
    sums = _kept(file, of_rows, len(requests))
    if sums is None:
        sums = [float(value) for value in score(requests)]
        text = json.dumps({"rows": of_rows, "sums": sums, "content": content_id(sums)})
        with writing(file, checkpoints):
            checkpoints.mkdir(parents=True, exist_ok=True)
            write_whole(file, text)
    values = iter(sums)
    return {name: list(islice(values, len(prompts))) for name in columns}


def _kept(file: Path, of_rows: str, count: int) -> list[float] | None:
    """Log-probabilities that an earlier process scored of these rows; None where there are none, or damaged ones."""
    try:
        kept = parse_json(file.read_bytes())
        sums = [float(value) for value in kept["sums"]]
        is_whole = kept["rows"] == of_rows and kept["content"] == content_id(sums) and len(sums) == count
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sums if is_whole else None
