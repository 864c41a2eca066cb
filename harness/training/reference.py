"""Log-probabilities of the training rows under the reference, scored once before the first step.

Every epoch, and every adapter that has the same base, rows and lengths, needs the same ones: they go through the score
cache, and a copy lies beside the checkpoints, so that a training that goes on sees the same bits without the cache.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.training.checkpoints import writing
from harness.training.token_table import hash_lists
from reports.json_text import parse_json
from reports.whole import write_whole
from suites.inputs import Request, content_id

if TYPE_CHECKING:
    import pyarrow as pa

REFERENCE_FILE = "reference.json"

Score = Callable[[Sequence[Request], int, int], Sequence[float]]
"""Log-probabilities in nats of responses under the reference; of how many before these, and of how many in all."""

_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "dpo": {"ref_chosen_logps": "chosen_ids", "ref_rejected_logps": "rejected_ids"},
    "kto": {"ref_logps": "completion_ids", "ref_KL_logps": "KL_completion_ids"},
}
"""Method -> TRL's column of the reference's log-probabilities -> column of the responses that they are of."""
_PROMPTS = "prompt_ids"
_ROWS_AT_A_TIME = 4096
"""Rows of which requests are made at a time; both sides of a pair are scored together, so that they share a pack."""


def has_reference(method: str) -> bool:
    """Whether a method compares the policy with a reference."""
    return method in _COLUMNS


def reference_columns(
    method: str, dataset: Any, places: NDArray[np.integer[Any]] | None, checkpoints: Path, score: Score
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of TRL's trainer that hold the reference's log-probabilities; NaN where no step needs any.

    Args:
        method: dpo or kto.
        dataset: rows in the columns of the method's collator.
        places: of the rows that the steps see; None for all.
        checkpoints: folder of the run's checkpoints, where the scores are kept.
        score: called for some rows at a time where the folder does not have them.

    Raises:
        UnwritableError: they cannot be kept.
    """
    columns = _COLUMNS[method]
    rows = np.arange(len(dataset)) if places is None else places
    table = dataset.with_format("arrow")[:].take(rows)
    of_rows = _content(table.select([_PROMPTS, *columns.values()]))
    file = checkpoints / REFERENCE_FILE
    sums = _kept(file, of_rows, len(rows) * len(columns))
    if sums is None:
        sums = _scored(table, [*columns.values()], score)
        text = json.dumps({"rows": of_rows, "sums": sums, "content": content_id(sums)})
        with writing(file, checkpoints):
            checkpoints.mkdir(parents=True, exist_ok=True)
            write_whole(file, text)
    full = np.full((len(columns), len(dataset)), np.nan)
    full[:, rows] = np.reshape(sums, (len(columns), len(rows)))
    return dict(zip(columns, full, strict=True))


def _content(table: "pa.Table") -> str:
    """Return the hash of all token ids."""
    digest = hashlib.sha256(f"{table.num_rows}\n".encode())
    for column in table.columns:
        hash_lists(digest, column)
    return digest.hexdigest()[:16]


def _scored(table: "pa.Table", responses: Sequence[str], score: Score) -> list[float]:
    """Return the log-probabilities of all columns of responses, one column after another."""
    n_all = table.num_rows * len(responses)
    sums: list[list[float]] = [[] for _ in responses]
    for batch in table.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        prompts = list(map(tuple, batch[_PROMPTS].to_pylist()))
        requests = [
            Request(prompt_ids=prompt, response_ids=tuple(ids))
            for name in responses
            for prompt, ids in zip(prompts, batch[name].to_pylist(), strict=True)
        ]
        values = np.reshape(score(requests, len(sums[0]) * len(responses), n_all), (len(responses), len(prompts)))
        for own, more in zip(sums, values.tolist(), strict=True):
            own.extend(more)
    return [value for own in sums for value in own]


def _kept(file: Path, of_rows: str, count: int) -> list[float] | None:
    """Log-probabilities that an earlier process scored of these rows; None where there are none, or damaged ones."""
    try:
        kept = parse_json(file.read_bytes())
        sums = [float(value) for value in kept["sums"]]
        is_whole = kept["rows"] == of_rows and kept["content"] == content_id(sums) and len(sums) == count
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sums if is_whole else None
