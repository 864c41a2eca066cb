"""A trainer's padded batch as requests, and values of response tokens back in the padded shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from suites.inputs import Request

if TYPE_CHECKING:
    import torch

UNLABELLED = -100
"""Label of a token that no loss is about."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """The requests of a padded batch and where their response tokens stand."""

    requests: tuple[Request, ...]
    """Each once, however many rows are equal."""
    rows: tuple[tuple[Request, int, int], ...]
    """Request, row and column of the first response token, of each row that has labels."""
    shape: tuple[int, int]
    """Rows and columns of the batch."""

    def places(self, requests: Sequence[Request]) -> "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]":
        """Where values belong that stand one after another, request after request.

        Args:
            requests: The distinct requests in the order of the values.

        Returns:
            Of each labelled token of the batch its row, its column among the labels without the first one (which
            nothing predicts), and its index among the values.
        """
        starts, n_values = {}, 0
        for request in requests:
            starts[request] = n_values
            n_values += len(request.response_ids)
        lengths = [len(request.response_ids) for request, _, _ in self.rows]
        steps = np.concatenate([np.arange(length) for length in lengths])
        rows = np.repeat([row for _, row, _ in self.rows], lengths)
        columns = np.repeat([column - 1 for _, _, column in self.rows], lengths) + steps
        sources = np.repeat([starts[request] for request, _, _ in self.rows], lengths) + steps
        return rows, columns, sources


class UnpackableBatchError(ValueError):
    """A batch has labels that are not those of one response at the end of each row."""


def read_batch(input_ids: "torch.Tensor", attention_mask: "torch.Tensor", labels: "torch.Tensor") -> PaddedBatch:
    """Reads the requests out of a padded batch; rows without labels are left out.

    Args:
        input_ids: Shape (n_rows, n_columns).
        attention_mask: The same shape, 0 where padding is.
        labels: The same shape; `UNLABELLED` outside of the responses.

    Raises:
        UnpackableBatchError: The labels of a row are not all of its tokens from one on.
    """
    rows = []
    for row, (ids, seen, own) in enumerate(
        zip(input_ids.tolist(), attention_mask.tolist(), labels.tolist(), strict=True)
    ):
        columns = [column for column, is_seen in enumerate(seen) if is_seen]
        labelled = [column for column in columns if own[column] != UNLABELLED]
        if not labelled:
            continue
        n_prompt = len(columns) - len(labelled)
        if columns[n_prompt:] != labelled or labelled[-1] - labelled[0] + 1 != len(labelled) or not n_prompt:
            raise UnpackableBatchError("each row needs a prompt, and one response at its end")
        tokens = tuple(ids[column] for column in columns)
        rows.append((Request(prompt_ids=tokens[:n_prompt], response_ids=tokens[n_prompt:]), row, labelled[0]))
    requests = tuple(dict.fromkeys(request for request, _, _ in rows))
    return PaddedBatch(requests, tuple(rows), (input_ids.shape[0], input_ids.shape[1]))
