"""A model's config.json: checked here against what the weights hold, so that nothing behind it meets an odd value.

Each family has keys of its own, so their types are transformers' to check. It does so as it builds the model, which
here happens without memory for the weights, and after a look at the numbers that would make building endless.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.wording import shown
from harness.models.base_files.folder import CONFIG_FILE, ModelError, read_config, weight_files
from harness.models.library_errors import LIBRARY_ERRORS
from reports.errors import first_line, last_line
from suites.engine.causal_model import attention_window, hidden_size, max_positions, n_vocabulary, rotary_boundary

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_MOST_LABELS = 100_000
_LARGEST_NUMBER = 2**40
_SPARE_VALUES = 2**24
"""Values that a model may have beside its weights: buffers of positions and masks."""
_PACKED = 2
"""Largest number of 4-bit values that a stored one stands for."""


_WITHOUT_CACHE = (AssertionError, AttributeError, LookupError, RuntimeError, ValueError)
"""What some families raise with a cache of their own; scoring then does without. Another type comes of an odd value."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the files of weights hold."""

    n_tensors: int
    n_values: int


def load_config(name: str, folder: Path) -> Any:
    """Return transformers' configuration of a model, every dropout at 0, after a check against its weights.

    Without dropout policy and reference are free of noise.

    Raises:
        ModelError: a value is of another type than the model needs, or describes another model than the weights hold.
    """
    from transformers import AutoConfig

    content = read_config(name, folder)
    where = f"model.name {name!r}: {folder / CONFIG_FILE}"
    stored = check_numbers(name, folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        settings = config.get_text_config()
        for key, value in settings.to_dict().items():
            if "drop" in key and isinstance(value, float):
                setattr(settings, key, 0.0)
        described = without_memory(config)
        _read_what_the_engine_reads(described)
    except LIBRARY_ERRORS as error:
        raise ModelError(f"{where} describes no model that can be built: {_reason(error)}") from error
    n_values = sum({id(each): each.numel() for each in (*described.parameters(), *described.buffers())}.values())
    packed = _PACKED if "quantization_config" in content else 1
    if n_values > packed * 1.5 * stored.n_values + _SPARE_VALUES:
        raise ModelError(
            f"{where} describes a model of {n_values:,} values, but the weights hold {stored.n_values:,}; give the "
            f"configuration that belongs to them"
        )
    return config


def check_computes(name: str, model: Any) -> None:
    """Check that a loaded model computes two tokens, in which the rest of its configuration is read.

    Raises:
        ModelError: says what it stumbled over.
    """
    import torch

    token_ids = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    try:
        with torch.inference_mode():
            model(input_ids=token_ids, use_cache=False)
            with suppress(*_WITHOUT_CACHE):
                model(input_ids=token_ids)
    except LIBRARY_ERRORS as error:
        raise ModelError(
            f"model.name {name!r}: its {CONFIG_FILE} describes a model that cannot compute: {_reason(error)}"
        ) from error


def unplaced(unexpected: list[str], model: Any) -> list[str]:
    """Return the tensors without a place that belong to layers as the model has them, of all that have no place.

    A tower for pictures or a head for training may be left out; a layer or a bias may not.
    """
    own = {_before_number(name) for name, _ in model.named_parameters()} - {""}
    ends = {ending.partition(".")[2] for ending in own} - {""}
    return sorted(name for name in unexpected if _before_number(name) in own | ends)


def _before_number(name: str) -> str:
    """Return the part of a tensor's name up to the number of its layer; empty where it has none."""
    parts = name.split(".")
    at = next((index for index, part in enumerate(parts) if part.isdecimal()), 0)
    return ".".join(parts[:at])


def _stored(where: str, folder: Path) -> Stored:
    """Return what the weights hold; of pickles, which are not opened here, at most what their bytes could hold."""
    from safetensors import SafetensorError, safe_open

    n_tensors = n_values = 0
    for file in weight_files(folder):
        if file.suffix != ".safetensors":
            n_tensors, n_values = n_tensors + file.stat().st_size // 100, n_values + file.stat().st_size
            continue
        try:
            with safe_open(file, framework="numpy") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - no mapping
                    size = 1
                    for length in tensors.get_slice(key).get_shape():
                        size *= length
                    n_tensors, n_values = n_tensors + 1, n_values + size
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{where.partition(': ')[0]} cannot be loaded: {file.name}: {first_line(error)}; it is damaged"
            ) from error
    return Stored(n_tensors, n_values)


def check_numbers(name: str, folder: Path) -> Stored:
    """Check the numbers of config.json that transformers makes lists or layers of, before it makes them.

    Returns:
        What the weights hold.

    Raises:
        ModelError: a number is larger than the weights, or than any model's.
    """
    content, where = read_config(name, folder), f"model.name {name!r}: {folder / CONFIG_FILE}"
    stored = _stored(where, folder)
    level: list[Any] = [content]
    while level:
        below: list[Any] = []
        for each in level:
            items = each.items() if isinstance(each, Mapping) else enumerate(each)
            for key, value in items:
                if isinstance(value, Mapping | list):
                    below.append(value)
                if isinstance(value, bool) or not isinstance(value, int | float):
                    continue
                if isinstance(value, int) and abs(value) > (_MOST_LABELS if key == "num_labels" else _LARGEST_NUMBER):
                    raise ModelError(f"{where}: {key} is larger than that of any model; it is damaged")
                if key in _LAYERS and value > stored.n_tensors:
                    raise ModelError(
                        f"{where} names {key} {value:g}, but the weights hold {stored.n_tensors} tensors; give the "
                        f"configuration that belongs to them"
                    )
        level = below
    return stored


def without_memory(config: Any) -> Any:
    """Return the model that a configuration describes, built without memory for its values."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _read_what_the_engine_reads(model: Any) -> None:
    """Read the keys that scoring reads from a configuration."""
    for of_config in (max_positions, attention_window, rotary_boundary):
        found = of_config(model.config)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int)):
            raise TypeError(f"{of_config.__name__.replace('_', ' ')} must be a whole number, got {shown(found)}")
    for of_model in (n_vocabulary, hidden_size):
        of_model(model)


def _reason(error: Exception) -> str:
    """Return an error in words; transformers' checks of types say what is wrong at their end."""
    kind = "" if isinstance(error, ValueError | OSError | RuntimeError) else f"{type(error).__name__}: "
    text = last_line(error) if "alidation error" in str(error) else first_line(error)
    return f"{'' if text.startswith(('TypeError', 'ValueError')) else kind}{text}"
