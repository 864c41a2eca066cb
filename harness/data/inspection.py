"""Rows of a dataset as they will be trained on: rendered, cut where they are too long, with the boundary marked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.schema import DatasetConfig, ExperimentConfig
from harness.data.load import TrainableDataset, load_trainable
from harness.data.make import Trainable, answers_of
from harness.models.base import load_tokenizer, locate_weights
from suites.engine.encoding import EncodedResponse, Encoder, Lengths, ensure_template
from suites.inputs import Pair, RatedAnswer

BOUNDARY = "‖"


def inspect_dataset(
    name: str, split: str | None, config: ExperimentConfig, *, n_rows: int, data_root: Path | None
) -> str:
    """Rows of a dataset as an experiment would train on them; its columns are the experiment's where it names them.

    Raises:
        UserError: rows or tokenizer cannot be had, or nothing can be trained on in that dataset.
    """
    model_name, folder = locate_weights(config.model)
    tokenizer = load_tokenizer(folder, model_name)
    ensure_template(tokenizer, config.model.template)
    encoder = Encoder(
        tokenizer,
        max_prompt_tokens=config.data.max_prompt_tokens,
        max_tokens=config.data.max_tokens,
        system_prompt=config.model.system_prompt,
    )
    configured = [config.data.training, *([config.sft.data] if config.sft else []), *config.data.roles.values()]
    known = next((dataset for dataset in configured if dataset.name == name), DatasetConfig(name))
    dataset = replace(known, split=split or known.split)
    return inspect(dataset, encoder, n_rows=n_rows, data_root=data_root)


def inspect(dataset: DatasetConfig, encoder: Encoder, *, n_rows: int = 3, data_root: Path | None = None) -> str:
    """The first rows of a dataset: prompt and responses as rendered, token counts, what was cut, group, source, score.

    Raises:
        DataError: nothing in the dataset can be trained on, or rows are missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    loaded = load_trainable(dataset, data_root=data_root)
    shown: tuple[Trainable, ...] = loaded.rows[:n_rows]
    # All responses to a prompt have a say in where it ends.
    prompts = {row.prompt for row in shown}
    together = [row for row in loaded.rows if row.prompt in prompts]
    items = [(row.prompt, answers_of(row)) for row in together]
    encoded = {
        row.example_id: (responses, lengths)
        for row, responses, lengths in zip(together, encoder.encode_all(items), encoder.lengths(items), strict=True)
    }
    rows = [
        _row(f"row {number} of {len(loaded.rows)}", row, *encoded[row.example_id], encoder)
        for number, row in enumerate(shown, start=1)
    ]
    return "\n\n".join((_heading(loaded), *rows))


def _heading(loaded: TrainableDataset) -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in loaded.left_out.items()) or "none"
    lines = [
        loaded.origin,
        f"{loaded.n_read} rows read, {len(loaded.rows)} {_kind(loaded.rows[0])}s of them; left out: {left_out}",
        *loaded.notes,
        f"{BOUNDARY} stands where the prompt ends and the response begins.",
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
        f"prompt, {_tokens(len(first.request.prompt_ids), lengths.n_prompt_tokens)}{_flags(first)}:",
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
    """What each response is."""
    if isinstance(row, Pair):
        return ("chosen", "rejected")
    if isinstance(row, RatedAnswer):
        return ("good answer" if row.is_good else "bad answer",)
    return ("response",)


def _tokens(n_tokens: int, n_whole: int) -> str:
    return f"{n_tokens} tokens" if n_tokens == n_whole else f"truncated to {n_tokens} of {n_whole} tokens"


def _flags(response: EncodedResponse) -> str:
    """What else was done to the prompt."""
    flags = (
        (response.boundary_moved, "its last tokens merge with the response and count as the response's"),
        (response.system_folded, "system turn folded into the first user turn"),
    )
    return "".join(f", {text}" for applies, text in flags if applies)
