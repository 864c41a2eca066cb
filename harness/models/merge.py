"""Merge an adapter into its unquantised base and write the model, which is base plus adapter up to one rounding."""

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import Timeout

from harness.config.schema import HalfPrecision, ModelConfig
from harness.models.adapter_files.folder import (
    CONFIG_FILE,
    FIXTURE_FILE,
    GROUPS_FILE,
    WEIGHTS_FILE,
    locate_adapter,
    read_json,
)
from harness.models.adapters import attach_adapter, base_of_adapter
from harness.models.base import LoadedModel, load_model
from harness.models.base_files.folder import files_fingerprint, locate_weights, weights_fingerprint
from harness.models.library_errors import LIBRARY_ERRORS
from harness.models.origin import MERGE_FILE, as_record, origin_of_adapter
from harness.models.provenance import package_versions
from reports.errors import UserError, first_line
from reports.json_text import parse_json
from reports.locks import hold
from reports.paths import expanded
from reports.whole import whole_folder
from suites.engine.chat_template import ensure_template, without_settings
from suites.inputs import content_id

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PACKAGES = ("dpo-harness", "torch", "transformers", "peft", "safetensors")
_ADAPTER = "merged"


class MergeError(UserError):
    """An adapter cannot be merged, or the merged model cannot be written."""


@dataclass(frozen=True, slots=True)
class MergedModel:
    """A merged model on disk: a folder that `load_model` and plain transformers load."""

    folder: Path
    fingerprint: str
    """Hash of its weights."""
    reused: bool
    """Whether it was found, made from the same adapter and base, rather than merged now."""
    notes: tuple[str, ...] = ()
    """Messages for the user."""


def merge_adapter(
    adapter: str,
    out: Path,
    *,
    dtype: HalfPrecision,
    base: ModelConfig | str | None = None,
    revision: str | None = None,
) -> MergedModel:
    """Merge an adapter into the unquantised weights of its base and write the complete model, or nothing.

    A weight becomes W + (alpha / rank) B A in float32 and is rounded to `dtype` once. In half precision it would be
    rounded three times: as W, as the update and as their sum. Merging into quantised weights would lose the update,
    because the sum is quantised again in steps larger than the update.

    The model is written with the chat template that the adapter was trained with, so that prompts are rendered alike.

    Args:
        adapter: folder or hub id of the adapter.
        out: folder to write, which must be missing, empty, or already hold this merge.
        dtype: type of the written weights.
        base: name or configuration of the base model, whose quantisation, dtype and device are ignored; None takes the
            base that the adapter names.
        revision: revision of a base on the hub, unless `base` is a configuration.

    Raises:
        MergeError: `out` holds something else or cannot be written, or the merged weights do not fit the dtype.
        AdapterError: the adapter belongs to another base model, or is damaged.
        ModelError: the base cannot be loaded without quantisation.
    """
    config = base if isinstance(base, ModelConfig) else _base(adapter, base, revision)
    folder, (base_name, base_folder) = locate_adapter(adapter), locate_weights(config)
    ingredients = {
        "adapter": files_fingerprint([folder / CONFIG_FILE, folder / WEIGHTS_FILE]),
        "base": {"name": base_name, "fingerprint": weights_fingerprint(base_folder)},
        "template": config.template,
        "dtype": dtype,
    }
    out = expanded(out).absolute()
    if _holds(out, ingredients):
        return MergedModel(out, weights_fingerprint(out), reused=True)
    with _reserved(out):
        _check_free(out)
        return _merged(adapter, folder, config, out, ingredients)


def _base(adapter: str, base: str | None, revision: str | None) -> ModelConfig:
    """Return the base to merge into: the given one, or else that which the adapter names, at its revision."""
    if base is not None:
        return ModelConfig(base, revision)
    named = base_of_adapter(adapter)
    return ModelConfig(named if revision is None else named.partition("@")[0], revision)


def _merged(adapter: str, folder: Path, config: ModelConfig, out: Path, ingredients: dict[str, Any]) -> MergedModel:
    """Merge an adapter into a folder that is free, and return the model there."""
    dtype, base_folder = ingredients["dtype"], locate_weights(config)[1]
    loaded = load_model(replace(config, quantization="none", device="cpu", dtype=_exact_dtype(base_folder)))
    notes = attach_adapter(loaded, _ADAPTER, adapter)
    notes += _use_trained_template(loaded, folder)
    merge_weights(loaded, _ADAPTER, dtype)
    with _new_folder(out) as partial:
        _write_model(loaded, base_folder, partial, dtype)
        fingerprint = weights_fingerprint(partial)
        record = ingredients | {
            "fingerprint": fingerprint,
            "versions": package_versions(_PACKAGES),
            "trained": as_record(origin_of_adapter(folder)),
        }
        if (folder / GROUPS_FILE).is_file():
            shutil.copyfile(folder / GROUPS_FILE, partial / GROUPS_FILE)
        (partial / MERGE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return MergedModel(out, fingerprint, reused=False, notes=tuple(notes))


def merge_weights(loaded: LoadedModel, name: str, dtype: Literal["float32", "float16", "bfloat16"]) -> None:
    """Merge an attached adapter into the weights of its base in place, which leaves no baseline.

    Layers are merged one at a time in float32. The result equals that of a base in float32, while a base stored in half
    precision takes little more memory than its file.

    Raises:
        MergeError: the adapter changes a weight that the model uses twice, or a merged weight does not fit `dtype`.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    assert loaded.adapters is not None
    key, target = loaded.adapter_keys[name], getattr(torch, dtype)
    n_places = Counter(id(weight) for _, weight in loaded.base.named_parameters(remove_duplicate=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PEFT's, that these layers are merged when it unloads them
        for layer_name, layer in loaded.base.named_modules():
            if isinstance(layer, LoraLayer):
                if any(n_places[id(weight)] > 1 for weight in _changed_by(layer)):
                    raise MergeError(
                        f"the adapter changes {layer_name}, whose weight the model also uses elsewhere (tied "
                        f"embeddings), so merging would change both; use the adapter without merging it"
                    )
                for weight in _changed_by(layer):
                    weight.data = weight.data.to(torch.float32)
                try:
                    layer.merge(adapter_names=[key])
                except LIBRARY_ERRORS as error:
                    raise MergeError(
                        f"PEFT cannot merge {layer_name}: {first_line(error)} Use the adapter without merging it"
                    ) from error
                for weight in _changed_by(layer):
                    weight.data = weight.data.to(target)
        loaded.adapters.merge_and_unload(adapter_names=[key])
    loaded.adapters = None
    _tie_again(loaded.base)
    loaded.base.to(target)
    for weight_name, weight in loaded.base.named_parameters():
        if not torch.isfinite(weight).all():
            raise MergeError(
                f"--dtype {dtype}: {weight_name} has merged values that {dtype} cannot hold (beyond "
                f"{torch.finfo(target).max:g}, or NaN); choose bfloat16, or check the adapter"
            )


def _changed_by(layer: Any) -> "list[torch.nn.Parameter]":
    """Return the weights that an adapter's layer changes: those of its module, or one of those of several experts."""
    own, name = layer.get_base_layer(), getattr(layer, "parameter_name", None)
    return [*own.parameters(recurse=False)] if name is None else [getattr(own, name)]


def _tie_again(base: "PreTrainedModel") -> None:
    """Make input embeddings and output head one matrix again where the model's configuration says that they are.

    PEFT's merging leaves two equal ones. Where it made two different ones, it has changed the configuration as well.
    """
    head = base.get_output_embeddings()
    if head is not None and base.config.get_text_config().tie_word_embeddings:
        head.weight = base.get_input_embeddings().weight


def _exact_dtype(folder: Path) -> Literal["float32", "float16", "bfloat16"]:
    """Return the type that all of a folder's weights are stored in; float32, which holds them all, for mixed types."""
    from safetensors import safe_open

    stored = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            stored |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 - no mapping
    if stored == {"BF16"}:
        return "bfloat16"
    return "float16" if stored == {"F16"} else "float32"


def _use_trained_template(loaded: LoadedModel, adapter_folder: Path) -> list[str]:
    """Give the tokenizer the template that fixture.json names, and return a message where it is unknown."""
    record = adapter_folder / FIXTURE_FILE
    base = read_json(record).get("base") if record.is_file() else None
    trained_with = base.get("template") if isinstance(base, dict) else None
    own = loaded.tokenizer.chat_template
    if trained_with in (None, content_id(own)):
        return []
    ensure_template(loaded.tokenizer, "instruction")
    if trained_with == content_id(loaded.tokenizer.chat_template):
        return []
    loaded.tokenizer.chat_template = own
    return ["The adapter was trained with a chat template that is not the base model's; the base model's is kept."]


def _write_model(loaded: LoadedModel, base_folder: Path, folder: Path, dtype: str) -> None:
    """Write weights and tokenizer, with both configurations as the base's folder has them."""
    from transformers import AutoConfig, GenerationConfig

    if (base_folder / "generation_config.json").is_file():
        loaded.base.generation_config = GenerationConfig.from_pretrained(base_folder)
    loaded.base.save_pretrained(folder)
    config = AutoConfig.from_pretrained(base_folder, trust_remote_code=False)  # with the dropout that loading took out
    config.dtype, config.architectures = dtype, loaded.base.config.architectures
    if config.get_text_config().tie_word_embeddings != loaded.base.config.get_text_config().tie_word_embeddings:
        config.get_text_config().tie_word_embeddings = False  # the adapter holds one of them as a whole
    config.save_pretrained(folder)
    loaded.tokenizer.chat_template = without_settings(loaded.tokenizer.chat_template)  # with today's date again
    loaded.tokenizer.save_pretrained(folder)


def _holds(out: Path, ingredients: dict[str, Any]) -> bool:
    """Return whether the folder already holds this merge, undamaged."""
    try:
        record = parse_json((out / MERGE_FILE).read_bytes())
        is_same = ingredients.items() <= record.items()
        return bool(is_same and record["fingerprint"] == weights_fingerprint(out))
    except (OSError, ValueError, KeyError, AttributeError):
        return False


@contextmanager
def _reserved(out: Path) -> Iterator[None]:
    """Keep other processes from merging into the same folder within the block, before any of them loads weights."""
    with ExitStack() as stack:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(out.with_name(f".{out.name}.lock")))
        except Timeout:
            raise MergeError(
                f"--out {out}: another process writes it now; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise MergeError(f"--out {out} cannot be written ({error}); choose another folder") from error
        yield


def _check_free(out: Path) -> None:
    if out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None):
        raise MergeError(
            f"--out {out}: must be missing or empty, but holds something other than this merge; choose another folder"
        )


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `out` on success, delete it on failure."""
    from safetensors import SafetensorError

    try:
        with whole_folder(out) as folder:
            yield folder
    except (OSError, SafetensorError) as error:
        raise MergeError(
            f"--out {out} cannot be written ({error}); free some space, or choose another folder"
        ) from error
