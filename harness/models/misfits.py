"""Why an adapter cannot be put on a base, in the words of the adapter's own files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.models.adapter_files.config import AdapterConfig
from harness.models.adapter_files.folder import CONFIG_FILE, WEIGHTS_FILE
from harness.models.adapter_files.weights import PREFIX
from reports.errors import last_line

_KEYS = {
    ".modules_to_save.": "modules_to_save",
    ".token_adapter.": "trainable_token_indices",
    ".lora_magnitude_vector": "use_dora",
}
"""Part of a tensor's name -> the key that asks for such tensors."""
_SHAPES = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*torch\.Size\((\[.*?\])\)")
"""What torch says of a tensor, with its shape in the file and in the model."""


@dataclass(frozen=True, slots=True)
class Misfits:
    """Tensors that keep an adapter off a base, by PEFT's names."""

    missing: Sequence[str]
    """Those that the adapter's file lacks."""
    without_a_place: Sequence[str]
    """Those that the base has no module for."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.missing or self.without_a_place)


def why_unfit(misfits: Misfits, base: str) -> str:
    """Return what is wrong, as the end of a sentence that begins with the adapter.

    Args:
        misfits: at least one tensor.
        base: name of the base.
    """
    keys = {name: key for name in misfits.missing for part, key in _KEYS.items() if part in name}
    if not misfits.without_a_place and len(keys) == len(misfits.missing):
        name, key = next(iter(keys.items()))
        return _not_whole(key, min((name.partition(part)[0] for part in _KEYS if part in name), key=len))
    shown = ", ".join([*misfits.missing, *misfits.without_a_place][:2])
    return _of_another_base(base, f"tensors that are missing or have no place: {shown}")


def why_refused(error: Exception, config: AdapterConfig, base: str) -> str:
    """Return what is wrong where PEFT refuses an adapter, as `why_unfit`."""
    reason = last_line(error)
    if shapes := _SHAPES.search(reason):
        return _of_other_shapes(shapes, config, base)
    if isinstance(error, KeyError):  # a tensor that PEFT looks up in the file
        module, is_of_tokens, _ = str(error.args[0]).partition(".token_adapter.")
        if is_of_tokens:
            return _not_whole("trainable_token_indices", module)
        return _not_whole("modules_to_save", module.rpartition(".")[0])
    if "exclude" in reason:  # with words on all that PEFT's user may have meant
        return (
            f"cannot be put on {base!r}: exclude_modules in its {CONFIG_FILE} leaves none of its target_modules; "
            f"save it again, or take them out of {CONFIG_FILE}"
        )
    return _of_another_base(base, _what_is_not_there(reason, config) or reason)


def _what_is_not_there(reason: str, config: AdapterConfig) -> str:
    """Return which part of a base PEFT looked for in vain, in the words of the adapter's configuration; else nothing.

    Args:
        reason: PEFT's own, which speaks of target modules in any case.
        config: configuration of the adapter.
    """
    if "no `target_parameters` found" in reason:
        return f"which has no parameter {' or '.join(config.target_parameters)}"
    if "not found in the base model" not in reason:
        return ""
    of_tokens = config.trainable_token_indices
    for module in of_tokens if isinstance(of_tokens, dict) else ():
        if f"{{{module!r}}}" in reason and module not in config.target_modules:
            return f"which has no module {module}, whose tokens trainable_token_indices names"
    targets = config.target_modules
    named = targets if isinstance(targets, str) else " or ".join(sorted(targets))
    layers, patterns = config.layers_to_transform, config.layers_pattern
    numbers = (layers,) if isinstance(layers, int) else layers
    within = f" in layer {' or '.join(map(str, numbers))}" if numbers else ""
    of = f" of {patterns if isinstance(patterns, str) else ' or '.join(patterns)}" if within and patterns else ""
    return f"which has no module {named}{within}{of}"


def _not_whole(key: str, module: str) -> str:
    return (
        f"is not whole: {key} in its {CONFIG_FILE} asks for weights of {module.removeprefix(PREFIX)}, and "
        f"{WEIGHTS_FILE} holds none; save it again, or take them out of {CONFIG_FILE}"
    )


def _of_other_shapes(shapes: re.Match[str], config: AdapterConfig, base: str) -> str:
    module = shapes[1].removeprefix(PREFIX).partition(".lora_")[0]
    named = config.base if config.base and config.base != base else ""
    advice = f"{CONFIG_FILE} names {named!r}: give it" if named else "give the base that it was trained on"
    return (
        f"belongs to another base model: in {WEIGHTS_FILE} a tensor of {module} has shape {shapes[2]}, where "
        f"{base!r} needs {shapes[3]}; {advice} with --model"
    )


def _of_another_base(base: str, reason: str) -> str:
    return f"belongs to another base model: it does not fit {base!r} ({reason})"
