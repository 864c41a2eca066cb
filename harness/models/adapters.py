"""Find adapters, check that they belong to a loaded base, and attach them to it without merging."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.base import BASELINE, LoadedModel, files_fingerprint
from harness.models.hub import fetch, is_path
from harness.models.templates import TEMPLATE_FILES
from reports.checksums import file_checksum
from reports.errors import UserError
from reports.json_text import parse_json
from reports.paths import expanded

if TYPE_CHECKING:
    import torch

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
FIXTURE_FILE = "fixture.json"
"""Record beside an adapter that this project trained; it names the weights it was trained on."""
GROUPS_FILE = "trained_groups.txt"
"""Groups of the rows that an adapter of this project was trained on, one a line."""
CARD_FILE = "README.md"
"""Model card of an adapter."""
_HUB_FILES = (CONFIG_FILE, WEIGHTS_FILE, FIXTURE_FILE, GROUPS_FILE, CARD_FILE, *TEMPLATE_FILES)
_PROBE_TEXT = "What do you think of this? It is hard to say, and it depends on what you want."


class AdapterError(UserError):
    """An adapter is missing, is damaged, or belongs to another base model."""


def attach_adapter(loaded: LoadedModel, name: str, path_or_id: str) -> list[str]:
    """Attach an adapter to the base; `loaded.subject(name)` then yields the model with it.

    Args:
        loaded: base model, whose active subject stays the baseline.
        name: name of the candidate in reports.
        path_or_id: folder or hub id of the adapter.

    Returns:
        Messages for the user, such as that the adapter changes nothing.

    Raises:
        AdapterError: it belongs to another base model, is damaged, or changes the base's own weights.
    """
    from safetensors import SafetensorError

    if name == BASELINE or name in loaded.adapter_keys:
        raise ValueError(f"there is a subject {name!r} already")
    folder = locate_adapter(path_or_id)
    notes = _check_base(loaded, path_or_id, folder)
    check_ranks(folder, path_or_id)
    before = probe_logits(loaded)
    key = f"candidate_{len(loaded.adapter_keys)}"
    try:
        unfit = _load(loaded, key, folder)
        problem = f"tensors that are missing or have no place: {', '.join(unfit[:2])}" if unfit else ""
    except SafetensorError as error:
        _take_off(loaded, key)
        raise AdapterError(f"adapter {path_or_id!r}: {WEIGHTS_FILE} cannot be read ({error}); it is damaged") from error
    except (RuntimeError, ValueError, KeyError) as error:
        problem = str(error).strip().split("\n")[-1].strip()
    if problem:
        _take_off(loaded, key)
        raise AdapterError(
            f"adapter {path_or_id!r} belongs to another base model: it does not fit {loaded.name!r} ({problem})"
        )
    loaded.adapter_keys[name] = key
    loaded.adapter_fingerprints[name] = files_fingerprint([folder / CONFIG_FILE, folder / WEIGHTS_FILE])
    return notes + check_adapter_active(loaded, name, before)


def check_adapter_active(loaded: LoadedModel, name: str, base_logits: "torch.Tensor") -> list[str]:
    """Check that an attached adapter changes the logits when it is on, and changes nothing when it is off.

    Args:
        loaded: base model with the adapter attached.
        name: name of the candidate.
        base_logits: `probe_logits` before it was attached, shape (n_tokens, n_vocabulary).

    Returns:
        A message where the logits with the adapter are the base's own, as those of an untrained adapter are.

    Raises:
        AdapterError: with the adapter off, the logits are not bit for bit those of the base.
    """
    import torch

    if not torch.equal(probe_logits(loaded), base_logits):
        raise AdapterError(
            f"adapter of {name!r} changes the base model's own weights (as PiSSA, OLoRA or trained biases do), so "
            f"there is no baseline to compare with; convert it to plain LoRA"
        )
    if torch.equal(probe_logits(loaded, name), base_logits):
        return [f"The adapter of {name!r} changes nothing: its logits are the baseline's own, bit for bit."]
    return []


def probe_logits(loaded: LoadedModel, name: str = BASELINE) -> "torch.Tensor":
    """Return the logits of a subject on one short fixed text, shape (n_tokens, n_vocabulary)."""
    import torch

    token_ids = loaded.tokenizer(_PROBE_TEXT, return_tensors="pt")["input_ids"].to(loaded.base.device)
    with torch.inference_mode(), loaded.subject(name) as model:
        logits: torch.Tensor = model(input_ids=token_ids, use_cache=False).logits[0]
    return logits


def detach_adapters(loaded: LoadedModel) -> None:
    """Remove all adapters; the base is bit for bit what it was before."""
    if loaded.adapters is not None:
        loaded.adapters.unload()
    loaded.adapters = None
    loaded.adapter_keys.clear()
    loaded.adapter_fingerprints.clear()


def base_of_adapter(path_or_id: str) -> str:
    """Return the base model that an adapter names in its configuration.

    Raises:
        AdapterError: there is no such adapter, or it names no base model.
    """
    base = read_adapter_config(locate_adapter(path_or_id)).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise AdapterError(f"adapter {path_or_id!r} names no base model in its {CONFIG_FILE}; give one with --model")
    return base


def named_adapters(adapters: Sequence[str]) -> dict[str, str]:
    """Return name of the candidate -> folder or hub id, from texts NAME=PATH or PATH, whose last part is then the name.

    Raises:
        AdapterError: two adapters have one name, or one has the baseline's.
    """
    named: dict[str, str] = {}
    for adapter in adapters:
        name, separator, path = adapter.partition("=")
        if not separator:
            name, path = Path(adapter).name, adapter
        if name in named or name in ("", BASELINE):
            raise AdapterError(f"--adapter {adapter}: the name {name!r} is taken or empty; write --adapter NAME={path}")
        named[name] = path
    return named


def common_base(adapters: Mapping[str, str]) -> str:
    """Return the base model that all adapters name.

    Raises:
        AdapterError: they name different base models.
    """
    bases = {name: base_of_adapter(adapter) for name, adapter in adapters.items()}
    if len(set(bases.values())) > 1:
        named = ", ".join(f"{name} on {base}" for name, base in bases.items())
        raise AdapterError(
            f"--adapter: all adapters of a run must have one base model, but these name several: {named}; "
            f"choose one with --model"
        )
    return next(iter(bases.values()))


def locate_adapter(path_or_id: str) -> Path:
    """Return the folder of an adapter's two files; an adapter that is not a local folder is fetched from the hub.

    Its record and its model card are fetched with it, because they say what it was trained from.
    """
    folder = expanded(path_or_id)
    if not folder.is_dir():
        if is_path(path_or_id) or folder.exists():
            raise AdapterError(
                f"adapter {path_or_id!r} is not a folder; give a folder that holds {CONFIG_FILE}, or a hub id"
            )
        folder = fetch(f"adapter {path_or_id!r}", path_or_id, revision=None, patterns=_HUB_FILES)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise AdapterError(f"adapter {path_or_id!r} has no {file} in {folder}")
    return folder


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the adapter_config.json of a LoRA adapter.

    Raises:
        AdapterError: it is not a JSON object, or not of LoRA, the only kind that switches off without a trace.
    """
    config = read_json(folder / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{folder / CONFIG_FILE}: peft_type must be LORA, not {config.get('peft_type')!r}")
    return config


def check_ranks(folder: Path, path_or_id: str) -> None:
    """Check that an adapter's weights have the ranks that its configuration names, before PEFT makes room for them.

    Raises:
        AdapterError: a rank is larger than that of any of the weights, or the weights cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    config = read_adapter_config(folder)
    pattern = config.get("rank_pattern")
    named = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    ranks = [each for each in named if isinstance(each, int)]
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as tensors:
            shapes = [tensors.get_slice(key).get_shape() for key in tensors.keys() if "lora_" in key]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"adapter {path_or_id!r}: {WEIGHTS_FILE} cannot be read ({error}); it is damaged") from error
    largest = max((min(shape) for shape in shapes if shape), default=0)
    if shapes and max(ranks, default=0) > largest:
        raise AdapterError(
            f"adapter {path_or_id!r}: {CONFIG_FILE} names rank {max(ranks)}, but its weights have rank {largest} at "
            f"most; it is damaged"
        )


def _check_base(loaded: LoadedModel, path_or_id: str, folder: Path) -> list[str]:
    """Check that the adapter was made for the loaded base, by hash if fixture.json has one, else by name."""
    base = read_adapter_config(folder).get("base_model_name_or_path")
    mismatch = f"adapter {path_or_id!r} belongs to base model {base!r}, not to {loaded.name!r}"
    if (folder / FIXTURE_FILE).is_file():
        trained_on = _record_of_base(folder, path_or_id)
        if trained_on.get("quantization") == "nf4":
            trained_on.setdefault("compute_dtype", "bfloat16")  # as it was before the record named it
        if trained_on.get("fingerprint") != loaded.fingerprint:
            raise AdapterError(
                f"{mismatch}: the weights it was trained on hash to {trained_on.get('fingerprint')}, "
                f"these to {loaded.fingerprint}"
            )
        for key, name, own in (
            ("quantization", "quantization", loaded.quantization),
            ("compute_dtype", "products in", loaded.compute_dtype),
        ):
            if trained_on.get(key, own) != own:  # other weights compute otherwise anyway: one line is enough
                return [f"The adapter {path_or_id!r} was trained on {name} {trained_on[key]} and is measured on {own}."]
        return []
    if not base:
        return [f"The adapter {path_or_id!r} does not name its base model; its shapes fit this one."]
    if Path(base).name != Path(loaded.name).name:
        raise AdapterError(f"{mismatch}; if they are the same weights, write {loaded.name!r} into its {CONFIG_FILE}")
    return []


def _record_of_base(folder: Path, path_or_id: str) -> dict[str, Any]:
    """Return what fixture.json says of the base, after a check that the adapter's files are those it was written with.

    Raises:
        AdapterError: a file was changed since, or the record holds something else than a training writes.
    """
    record = read_json(folder / FIXTURE_FILE)
    base, files = record.get("base", {}), record.get("files", {})
    if not (isinstance(base, dict) and isinstance(files, dict)):
        raise AdapterError(f"{folder / FIXTURE_FILE}: base and files must be mappings; it is damaged")
    changed = [
        name for name in (CONFIG_FILE, WEIGHTS_FILE) if name in files and file_checksum(folder / name) != files[name]
    ]
    if changed:
        raise AdapterError(
            f"adapter {path_or_id!r}: {' and '.join(changed)} is not as it was trained; it is damaged, or was changed "
            f"since: bring it back, or take {FIXTURE_FILE} away to measure it as an adapter from elsewhere"
        )
    return base


def _load(loaded: LoadedModel, key: str, folder: Path) -> list[str]:
    """Attach an adapter under PEFT's name for it, and return the tensors that have no place or are missing."""
    from peft import LoraConfig, PeftModelForCausalLM

    if loaded.adapters is None:
        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = True
        loaded.adapters = PeftModelForCausalLM(loaded.base, config, adapter_name=key)
    report = loaded.adapters.load_adapter(str(folder), key, torch_device=loaded.device)
    loaded.adapters.base_model.disable_adapter_layers()
    return sorted({*report.missing_keys, *report.unexpected_keys})


def _take_off(loaded: LoadedModel, key: str) -> None:
    """Undo a call of `_load` that may have failed halfway."""
    if not loaded.adapter_keys:
        detach_adapters(loaded)
    elif loaded.adapters is not None and key in loaded.adapters.peft_config:
        loaded.adapters.delete_adapter(key)
        loaded.adapters.base_model.disable_adapter_layers()


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file that lies beside weights.

    Raises:
        AdapterError: it cannot be read, or holds something else.
    """
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read ({error}); it is damaged") from error
    if not isinstance(content, dict):
        raise AdapterError(f"{path} must hold a JSON object; it is damaged")
    return content
