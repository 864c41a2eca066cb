"""Shows rows of a dataset as they are trained on: rendered, truncated, with the boundary of the response marked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.schema import DatasetConfig, ExperimentConfig
from harness.data.load import TrainableDataset, load_trainable
from harness.data.make import Trainable, answers_of
from harness.data.read import is_file
from harness.models.base_files.folder import locate_weights
from harness.models.base_files.tokenizer import load_tokenizer
from harness.models.templates import apply_template
from suites.engine.encoding import EncodedResponse, Encoder, Lengths
from suites.inputs import Pair, RatedAnswer

BOUNDARY = "‖"
"""Marks where a prompt ends and its response begins."""


def inspect_dataset(
    name: str, split: str | None, config: ExperimentConfig, *, n_rows: int, data_root: Path | None
) -> str:
    """Shows rows of a dataset as an experiment would train on them.

    A dataset that the experiment configures is read with the columns configured there; a file that it does not name,
    with those of its training data.

    Raises:
        UserError: Rows or tokenizer cannot be loaded, or the dataset has nothing to train on.
    """
    model_name, folder = locate_weights(config.model)
    tokenizer = load_tokenizer(folder, model_name)
    apply_template(tokenizer, config.model)
    encoder = Encoder(
        tokenizer,
        max_prompt_tokens=config.data.max_prompt_tokens,
        max_tokens=config.data.max_tokens,
        system_prompt=config.model.system_prompt,
    )
    configured = [config.data.training, *([config.sft.data] if config.sft else []), *config.data.roles.values()]
    # Columns of the training data are those of a file that no dataset of the experiment names.
    columns = config.data.training.columns if is_file(name) else None
    known = next((dataset for dataset in configured if dataset.name == name), DatasetConfig(name, columns=columns))
    dataset = replace(known, split=split or known.split)
    return inspect(dataset, encoder, n_rows=n_rows, data_root=data_root)


def inspect(dataset: DatasetConfig, encoder: Encoder, *, n_rows: int = 3, data_root: Path | None = None) -> str:
    """Shows the first rows of a dataset: rendered prompt and responses, token counts, truncation, group, source, score.

    Raises:
        DataError: The dataset has nothing to train on, or its rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    trainable = load_trainable(dataset, data_root=data_root)
    shown: tuple[Trainable, ...] = trainable.rows[:n_rows]
    # Where a prompt ends depends on all responses to it, also on those that are not shown.
    prompts = {row.prompt for row in shown}
    together = [row for row in trainable.rows if row.prompt in prompts]
    items = [(row.prompt, answers_of(row)) for row in together]
    encoded = {
        row.example_id: (responses, lengths)
        for row, responses, lengths in zip(together, encoder.encode_all(items), encoder.lengths(items), strict=True)
    }
    rows = [
        _row(f"row {number} of {len(trainable.rows)}", row, *encoded[row.example_id], encoder)
        for number, row in enumerate(shown, start=1)
    ]
    return "\n\n".join((_heading(trainable), *rows))


def _heading(dataset: TrainableDataset) -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in dataset.left_out.items()) or "none"
    lines = [
        dataset.origin,
        f"{dataset.n_read} rows read, {len(dataset.rows)} usable as {_kind(dataset.rows[0])}s; left out: {left_out}",
        *dataset.notes,
        f"{BOUNDARY} marks the end of the prompt and the beginning of the response.",
    ]
    return "\n".join(lines)


def _row(title: str, row: Trainable, responses: Sequence[EncodedResponse], lengths: Lengths, encoder: Encoder) -> str:
    about = [f"{_kind(row)} {row.example_id}", f"group {row.group}"]
    if isinstance(row, Pair | RatedAnswer):
        about.append(f"source {row.source}")
    if isinstance(row, Pair) and row.score_gap is not None:
        about.append(f"score gap {row.score_gap:g}")
    first = responses[0]
    prompt = encoder.tokenizer.decode(first.request.prompt_ids)
    parts = [
        f"--- {title}: {', '.join(about)}",
        f"prompt, {_tokens(len(first.request.prompt_ids), lengths.n_prompt_tokens)}{_prompt_changes(first)}:",
        prompt + BOUNDARY,
    ]
    for name, response, n_whole in zip(_names(row), responses, lengths.n_response_tokens, strict=True):
        n_tokens = len(response.request.response_ids)
        parts += [
            f"{name}, {_tokens(n_tokens, n_whole)}:",
            BOUNDARY + encoder.tokenizer.decode(response.request.response_ids),
        ]
    return "\n".join(parts)


def _kind(row: Trainable) -> str:
    if isinstance(row, Pair):
        return "pair"
    return "rated answer" if isinstance(row, RatedAnswer) else "example"


def _names(row: Trainable) -> tuple[str, ...]:
    """The name of each response, such as chosen."""
    if isinstance(row, Pair):
        return ("chosen", "rejected")
    if isinstance(row, RatedAnswer):
        return ("good answer" if row.is_good else "bad answer",)
    return ("response",)


def _tokens(n_tokens: int, n_whole: int) -> str:
    return f"{n_tokens} tokens" if n_tokens == n_whole else f"truncated to {n_tokens} of {n_whole} tokens"


def _prompt_changes(response: EncodedResponse) -> str:
    """What else the encoder did to the prompt, each part after a comma."""
    changes = (
        (response.boundary_moved, "its last tokens merge with the response and count as part of it"),
        (response.system_folded, "system turn folded into the first user turn"),
        (response.prompt_cut, "a part of it is not written by the template"),
        (response.has_control_tokens, "a text of the row spells a control token"),
    )
    return "".join(f", {text}" for applies, text in changes if applies)
