"""Check that adapters belong to a loaded base, and attach them to it without merging."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.schema import ModelConfig
from harness.models.adapter_files.config import AdapterConfig, read_adapter_config, unknown_keys
from harness.models.adapter_files.folder import (
    CONFIG_FILE,
    FIXTURE_FILE,
    WEIGHTS_FILE,
    AdapterError,
    locate_adapter,
    read_json,
)
from harness.models.adapter_files.weights import (
    PREFIX,
    VocabularyMatrix,
    check_shapes,
    check_types,
    read_shapes,
    saved_as_a_whole,
)
from harness.models.base import BASELINE, LoadedModel
from harness.models.base_files.folder import ModelError, files_fingerprint, model_folder
from harness.models.hub import HubUnreachable
from harness.models.library_errors import LIBRARY_ERRORS
from harness.models.misfits import Misfits, why_refused, why_unfit
from reports.checksums import file_checksum
from reports.paths import PathError, expanded, is_address

if TYPE_CHECKING:
    import torch

_PROBE_TEXT = "What do you think of this? It is hard to say, and it depends on what you want."


def attach_adapter(loaded: LoadedModel, name: str, path_or_id: str) -> list[str]:
    """Attach an adapter to the base; `loaded.subject(name)` then yields the model with it.

    Args:
        loaded: base model, whose active subject stays the baseline.
        name: name of the candidate in reports.
        path_or_id: folder or hub id of the adapter.

    Returns:
        Messages for the user, such as that the adapter changes nothing.

    Raises:
        AdapterError: it belongs to another base model, is damaged, is of a kind that is not measured, or changes the
            base's own weights.
    """
    if name == BASELINE or name in loaded.adapter_keys:
        raise ValueError(f"there is a subject {name!r} already")
    folder = locate_adapter(path_or_id)
    config = read_adapter_config(folder)
    notes = _check_base(loaded, path_or_id, folder, config)
    if left_aside := unknown_keys(folder):
        notes.append(
            f"{CONFIG_FILE} of {path_or_id!r} has keys that PEFT does not know and leaves aside: "
            f"{', '.join(left_aside)}."
        )
    tensors, own = _read_tensors(loaded, path_or_id, folder, config)
    if own:
        notes.append(f"The adapter {path_or_id!r} brings a whole {' and '.join(own)} of its own, as it was saved.")
    clash = _clash(loaded.base, tensors)
    if clash:
        raise AdapterError(
            f"adapter {path_or_id!r} changes {clash} in another way than an adapter of this run that is attached "
            f"already; measure them in runs of their own"
        )
    before = probe_logits(loaded)
    key = f"candidate_{len(loaded.adapter_keys)}"
    try:
        misfits = _load(loaded, key, config.for_peft(also_saved=own), tensors)
        problem = why_unfit(misfits, loaded.name) if misfits else ""
    except LIBRARY_ERRORS as error:
        problem = why_refused(error, config, loaded.name)
    if problem:
        _take_off(loaded, key)
        raise AdapterError(f"adapter {path_or_id!r} {problem}")
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
            f"adapter of {name!r} changes the base model's own weights (as trained biases do), so there is no baseline "
            f"to compare with; convert it to plain LoRA"
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
    """Remove all adapters; the base is bit for bit what it was before.

    PEFT's own way would leave what an adapter holds as a whole in the base.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for parent in [*loaded.base.modules()]:
        for name, module in [*parent.named_children()]:
            if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
                setattr(parent, name, _original(module))
    vars(loaded.base).pop("peft_config", None)
    loaded.adapters = None
    loaded.adapter_keys.clear()
    loaded.adapter_fingerprints.clear()


def base_of_adapter(path_or_id: str) -> str:
    """Return the base model that an adapter names in its configuration, with its revision, as `--model` takes it.

    Raises:
        AdapterError: there is no such adapter, it names no base model, or that base is not here.
    """
    base = read_adapter_config(locate_adapter(path_or_id)).base
    if not base:
        raise AdapterError(f"adapter {path_or_id!r} names no base model in its {CONFIG_FILE}; give one with --model")
    try:
        model_folder(ModelConfig(base))
    except (ModelError, HubUnreachable, PathError) as error:
        raise AdapterError(
            f"adapter {path_or_id!r} names the base model {base!r}, which cannot be found ({error}); give the same "
            f"weights with --model"
        ) from error
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
            place, at, revision = adapter.partition("@")
            name, path = f"{Path(place).name}{at}{revision}", adapter
        if not name.isprintable():
            raise AdapterError(f"--adapter {adapter}: its name holds control characters; write --adapter NAME=PATH")
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


def _check_base(loaded: LoadedModel, path_or_id: str, folder: Path, config: AdapterConfig) -> list[str]:
    """Check that the adapter was made for the loaded base, by hash if fixture.json has one; else say what is unsure."""
    base = config.base
    if (folder / FIXTURE_FILE).is_file():
        trained_on = _record_of_base(folder, path_or_id)
        if trained_on.get("quantization") == "nf4":
            trained_on.setdefault("compute_dtype", "bfloat16")  # as it was before the record named it
        if trained_on.get("fingerprint") != loaded.fingerprint:
            hashes = f"they hash to {trained_on.get('fingerprint')}, and these to {loaded.fingerprint}"
            if base == loaded.name:
                raise AdapterError(
                    f"adapter {path_or_id!r} was trained on other weights of {base!r} than those that are there now: "
                    f"{hashes}; the base was changed since, or is at another revision: give the weights with --model"
                )
            raise AdapterError(
                f"adapter {path_or_id!r} belongs to base model {base!r}, not to {loaded.name!r}: by the weights it was "
                f"trained on, {hashes}"
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
    if _names_base(loaded, base):
        return []
    note = (
        f"The adapter {path_or_id!r} names the base model {base} and is measured on {_measured(loaded)}, as was asked "
        f"for: only their shapes are known to be alike."
    )
    return [note]


def is_of_base(loaded: LoadedModel, path_or_id: str) -> bool:
    """Whether something says that an attached adapter was trained on the loaded base: a record's hash, or its name."""
    folder = locate_adapter(path_or_id)
    return (folder / FIXTURE_FILE).is_file() or _names_base(loaded, read_adapter_config(folder).base)


def _names_base(loaded: LoadedModel, base: str) -> bool:
    """Whether the base that an adapter names is the loaded one, at its revision or in its folder."""
    is_named = base.removesuffix("@main") == _measured(loaded).removesuffix("@main")
    return bool(base) and (is_named or _is_folder(base, loaded.name))


def _measured(loaded: LoadedModel) -> str:
    """Name of the loaded base as adapters write it, with its revision."""
    return f"{loaded.name}@{loaded.revision}" if loaded.revision else loaded.name


def _is_folder(base: str, name: str) -> bool:
    """Whether the base that an adapter names is the folder of this name."""
    return not is_address(base) and expanded(base).is_dir() and expanded(base).resolve() == Path(name)


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


def _vocabulary(base: Any) -> tuple[dict[str, "torch.Tensor"], tuple[VocabularyMatrix, ...]]:
    """Return the weights of the base's input embeddings and output head by name of their module, and their sizes."""
    named = {id(module): name for name, module in base.named_modules()}
    modules = [each for each in (base.get_input_embeddings(), base.get_output_embeddings()) if each is not None]
    weights = {named[id(each)]: _original(each).weight for each in modules}
    return weights, tuple(VocabularyMatrix(name, weight.shape[0]) for name, weight in weights.items())


def _original(module: Any) -> Any:
    """Return the base's own module under what adapters put around it."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

    while isinstance(module, BaseTunerLayer | ModulesToSaveWrapper | TrainableTokensWrapper):
        match module:
            case ModulesToSaveWrapper():
                module = module.original_module
            case TrainableTokensWrapper():
                module = module.token_adapter
            case _:
                module = module.get_base_layer()
    return module


def _read_tensors(
    loaded: LoadedModel, path_or_id: str, folder: Path, config: AdapterConfig
) -> tuple[dict[str, "torch.Tensor"], tuple[str, ...]]:
    """Return an adapter's tensors, and the names of the base's matrices that it holds in a form of its own.

    Copies of the base's own embeddings, as PEFT writes them beside some adapters, are left out.

    Raises:
        AdapterError: the tensors cannot be put on this base.
    """
    import torch
    from safetensors.torch import load_file

    shapes = read_shapes(folder, path_or_id)
    weights, vocabulary = _vocabulary(loaded.base)
    problem = check_shapes(shapes, config, vocabulary) or check_types(folder)
    if problem:
        raise AdapterError(f"adapter {path_or_id!r}: {problem}")
    tensors = _without_wrappers(load_file(folder / WEIGHTS_FILE))
    own: dict[str, torch.Tensor] = {}
    for name, module in saved_as_a_whole(shapes, config, vocabulary).items():
        saved, weight = tensors.pop(name), weights[module].cpu()
        if torch.equal(saved.to(weight.dtype), weight) or torch.equal(weight.to(saved.dtype), saved):
            continue
        if name.endswith(".base_layer.weight"):
            raise AdapterError(
                f"adapter {path_or_id!r} belongs to another base model: its LoRA lies on {module}, and the base's "
                f"weights that it was saved with ({name}) are not those of {loaded.name!r}"
            )
        own[module] = saved
    if len({id(weight) for weight in weights.values()}) < len(weights):  # tied: one matrix stands for both
        own = {module: next(iter(own.values())) for module in weights} if own else {}
    tensors |= {f"{PREFIX}{module}.weight": saved.clone() for module, saved in own.items()}
    return tensors, tuple(own)


def _without_wrappers(tensors: dict[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Return the tensors without those that PEFT writes a second time where it saves embeddings with an adapter."""
    second = {name: name.replace(".modules_to_save.", ".") for name in tensors if ".modules_to_save." in name}
    trained = {first: tensors[name] for name, first in second.items()}
    kept = {name: value for name, value in tensors.items() if name not in second and ".original_module." not in name}
    return kept | trained


def _clash(base: Any, tensors: Iterable[str]) -> str:
    """Return a module that an adapter changes in another way than one that is attached; empty where there is none.

    PEFT puts one kind of layer around a module: low-rank factors, a whole copy, or rows of embeddings.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

    ways: dict[str, str] = {}
    for name in tensors:
        module, factor, _ = name.removeprefix(PREFIX).partition(".lora_")
        whole, rows, _ = module.partition(".token_adapter")
        ways[module if factor else whole if rows else module.rpartition(".")[0]] = (
            "factors" if factor else "rows" if rows else "whole"
        )
    for name, module in base.named_modules():
        if not isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) or name not in ways:
            continue
        is_whole = isinstance(module, ModulesToSaveWrapper)
        way = "whole" if is_whole else "factors" if isinstance(module, BaseTunerLayer) else "rows"
        if ways[name] != way:
            return str(name)
    return ""


def _load(loaded: LoadedModel, key: str, config: Any, tensors: dict[str, "torch.Tensor"]) -> Misfits:
    """Attach an adapter under PEFT's name for it, and return the tensors that have no place or are missing.

    Args:
        loaded: base model.
        key: PEFT's name of the adapter.
        config: PEFT's configuration.
        tensors: the adapter's tensors by the names that PEFT writes.
    """
    from peft import PeftModelForCausalLM, set_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of tied embeddings and the direction of layers
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)  # of experts
        if loaded.adapters is None:
            loaded.adapters = PeftModelForCausalLM(loaded.base, config, adapter_name=key)
        else:
            loaded.adapters.add_adapter(key, config)
        report = set_peft_model_state_dict(loaded.adapters, tensors, adapter_name=key)
    loaded.adapters.requires_grad_(False)
    loaded.adapters.base_model.disable_adapter_layers()
    places = dict(loaded.adapters.named_parameters(remove_duplicate=False))
    filled = {id(weight) for name, weight in places.items() if name not in report.missing_keys}  # tied ones are one
    missing = [name for name in report.missing_keys if key in name.split(".") and id(places.get(name)) not in filled]
    return Misfits(sorted(set(missing)), sorted(report.unexpected_keys))


def _take_off(loaded: LoadedModel, key: str) -> None:
    """Undo a call of `_load` that may have failed halfway."""
    if not loaded.adapter_keys:
        detach_adapters(loaded)
        return
    assert loaded.adapters is not None
    if key in loaded.adapters.peft_config:
        loaded.adapters.delete_adapter(key)
    loaded.adapters.base_model.disable_adapter_layers()
