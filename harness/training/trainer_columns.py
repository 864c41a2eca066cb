"""The columns that TRL's trainers read, made from the rows' columns of token ids, none of which becomes an object."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.training.packed_step.batch import UNLABELLED
from harness.training.token_table import PROMPT, RATING, REJECTED, RESPONSE, TokenTable

if TYPE_CHECKING:
    import pyarrow as pa


def pair_columns(rows: TokenTable) -> "pa.Table":
    """Return the columns of TRL's DPOTrainer."""
    names = {PROMPT: "prompt_ids", RESPONSE: "chosen_ids", REJECTED: "rejected_ids"}
    return rows.columns.select([*names]).rename_columns([*names.values()])


def labelled_columns(rows: TokenTable) -> "pa.Table":
    """Return the columns of TRL's SFTTrainer; only response tokens are labelled."""
    import pyarrow as pa

    types = pa.schema({name: pa.list_(pa.int32()) for name in ("input_ids", "labels")})
    batches = []
    for batch in rows.columns.to_batches():
        (prompts, prompt_ids), (responses, response_ids) = (_flat(batch[name]) for name in (PROMPT, RESPONSE))
        starts = np.concatenate([[0], np.cumsum(prompts + responses)])
        is_prompt = np.repeat(np.tile([True, False], len(batch)), np.stack([prompts, responses], axis=1).ravel())
        ids, labels = np.empty(starts[-1], np.int32), np.full(starts[-1], UNLABELLED, np.int32)
        ids[is_prompt], ids[~is_prompt] = prompt_ids, response_ids
        labels[~is_prompt] = response_ids
        lists = [pa.ListArray.from_arrays(starts.astype(np.int32), each) for each in (ids, labels)]
        batches.append(pa.record_batch(lists, schema=types))
    return pa.Table.from_batches(batches, schema=types)


def _flat(lists: "pa.ListArray") -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the length of each list, and all their numbers one after another."""
    return lists.value_lengths().to_numpy().astype(np.int64), lists.flatten().to_numpy()


def rated_columns(rows: TokenTable, batch_size: int, seed: int, max_tokens: int | None) -> "pa.Table":
    """Return the columns of TRL's KTOTrainer, shuffled by the seed once and for all epochs.

    KTO compares every implicit reward with a reference point: the KL divergence of the policy from the reference on
    answers paired with other prompts. TRL pairs each answer of a batch with the next prompt, and the last answer with
    the first prompt, so the order must be fixed. Good and bad answers both have weight 1, TRL's default; the more
    frequent kind therefore counts for more.

    Args:
        rows: rated answers.
        batch_size: rows of a batch.
        seed: of the order.
        max_tokens: positions of the model, which an answer beside another's prompt is cut to; None where it has no
            limit. Each answer beside its own prompt is within it.
    """
    import pyarrow as pa

    shuffled = rows.take(np.random.default_rng(seed).permutation(len(rows))).columns
    batches = np.split(np.arange(len(rows)), range(batch_size, len(rows), batch_size))
    before = np.concatenate([np.roll(batch, 1) for batch in batches])
    others = shuffled[RESPONSE].take(before).combine_chunks()
    prompt_lengths, _ = _flat(shuffled[PROMPT].combine_chunks())
    return pa.table(
        {
            "prompt_ids": shuffled[PROMPT],
            "completion_ids": shuffled[RESPONSE],
            "KL_completion_ids": others if max_tokens is None else _cut(others, max_tokens - prompt_lengths),
            "label": shuffled[RATING],
        }
    )


def _cut(lists: "pa.ListArray", most: NDArray[np.int64]) -> "pa.ListArray":
    """Return the lists with their first numbers, of each at most so many."""
    import pyarrow as pa

    lengths, numbers = _flat(lists)
    place = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
    return pa.ListArray.from_arrays(starts.astype(np.int32), numbers[place < np.repeat(most, lengths)])
