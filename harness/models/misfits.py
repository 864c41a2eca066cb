"""Why an adapter cannot be put on a base, in the words of the adapter's own files."""

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
    if isinstance(error, KeyError):  # a tensor that PEFT looks up in the file
        module, is_of_tokens, _ = str(error.args[0]).partition(".token_adapter.")
        if is_of_tokens:
            return _not_whole("trainable_token_indices", module)
        return _not_whole("modules_to_save", module.rpartition(".")[0])
    if "not found in the base model" in reason:
        targets = config.target_modules
        named = targets if isinstance(targets, str) else " or ".join(sorted(targets))
        layers = config.layers_to_transform
        numbers = (layers,) if isinstance(layers, int) else layers
        within = f" in layer {' or '.join(map(str, numbers))}" if numbers else ""
        reason = f"which has no module {named}{within}"
    return _of_another_base(base, reason)


def _not_whole(key: str, module: str) -> str:
    return (
        f"is not whole: {key} in its {CONFIG_FILE} asks for weights of {module.removeprefix(PREFIX)}, and "
        f"{WEIGHTS_FILE} holds none; save it again, or take them out of {CONFIG_FILE}"
    )


def _of_another_base(base: str, reason: str) -> str:
    return f"belongs to another base model: it does not fit {base!r} ({reason})"
