"""A training recipe, and the rows it trains on: preference pairs for DPO, rated answers for KTO, answers for SFT."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.config.schema import LoraConfig, TrainingConfig
from harness.models.base import LoadedModel
from reports.errors import UserError
from suites.engine.encoding import EncodedPair
from suites.inputs import Request

KINDS = {"dpo": "pairs", "kto": "rated answers", "sft": "answers"}
"""Method -> the kind of rows that it trains on."""

LogLine = dict[str, Any]
"""A line of training.jsonl; its "kind" is train, selection or summary."""

Progress = Callable[[int, int, LogLine], None]
"""Called with the steps done, the number of all steps, and the newest log line.

While rows are scored the line is of kind "reference" or, selection rows by the adapter, "scoring"; such lines are not
written to training.jsonl.
"""

_ADAMW_FOR_GPUS = ("paged_adamw_32bit", "paged_adamw_8bit", "adamw_8bit", "adamw_bnb_8bit", "adamw_torch_8bit")


class TrainingError(UserError):
    """The recipe cannot be trained as configured."""


class TrainingStartError(TrainingError):
    """The first loss differs from the value it must have where policy and reference are the same weights."""


@dataclass(frozen=True, slots=True)
class RatedRequest:
    """An answer in token ids, labelled good or bad on its own."""

    request: Request
    is_good: bool


TrainingRow = EncodedPair | RatedRequest | Request


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Training and selection rows in token ids; no group has rows in both.

    All training rows are of one kind, and so are all selection rows. The two kinds may differ: a control that is
    fine-tuned on chosen answers is selected by pairs, like the preference tuning that it controls.
    """

    training: Sequence[TrainingRow]
    selection: Sequence[TrainingRow] = ()
    touched: Mapping[str, int] = field(default_factory=dict)
    """Truncation rule -> number of training rows that it changed."""
    n_equal: int = 0
    """Training pairs dropped because both sides are equal after truncation."""
    groups: frozenset[str] = frozenset()
    """Groups that the adapter, and one that it continues from, are trained on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of one training run."""

    lora: LoraConfig
    training: TrainingConfig
    seed: int
    """Seed of the adapter's initial weights, of the order of rows and of dropout."""
    n_ranks: int = 1
    """Processes that are to train it together; known before they are joined, so that its folder is found without them.
    """


def has_router(loaded: LoadedModel) -> bool:
    """Return whether a model is a mixture of experts."""
    return hasattr(loaded.base.config.get_text_config(), "output_router_logits")


def usable_recipe(recipe: Recipe, loaded: LoadedModel) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe as it can be trained on a model and its device, and a note where another optimizer is taken.

    Variants of AdamW that save GPU memory also run on a CPU in bitsandbytes 0.50, 1.5 to 7 times slower. There the
    paged variant does not page and equals torch's AdamW up to rounding; the 8-bit variants only lose precision.

    The engine `auto` is `trl` for mixtures of experts, whose router has a loss over padded batches, else `packed`.
    Where products are not computed in float32 the reference is computed in every step: in another batch it differs.
    """
    run, notes = recipe.training, []
    if loaded.device == "cpu" and run.optimizer in _ADAMW_FOR_GPUS:
        notes.append(
            f"training.optimizer {run.optimizer} saves GPU memory; on this CPU the adapter is trained with adamw_torch."
        )
        run = replace(run, optimizer="adamw_torch")
    if run.engine == "auto":
        run = replace(run, engine="trl" if has_router(loaded) else "packed")
    if (loaded.dtype, loaded.compute_dtype) != ("float32", "float32"):
        run = replace(run, reference="every_step")
    return replace(recipe, training=run), tuple(notes)


def kind_of(row: TrainingRow) -> str:
    """Return the kind of a row, one of the values of `KINDS`."""
    match row:
        case EncodedPair():
            return KINDS["dpo"]
        case RatedRequest():
            return KINDS["kto"]
        case Request():
            return KINDS["sft"]


def requests_of(rows: Iterable[TrainingRow]) -> list[Request]:
    """Return the requests of all rows in order; a pair gives its chosen side, then its rejected side."""
    requests: list[Request] = []
    for row in rows:
        match row:
            case EncodedPair():
                requests += [row.chosen.request, row.rejected.request]
            case RatedRequest():
                requests.append(row.request)
            case Request():
                requests.append(row)
    return requests
