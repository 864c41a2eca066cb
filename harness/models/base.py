"""Load a base model as configured: one set of weights that all subjects of a comparison share.

loaded = load_model(ModelConfig(name="gpt2", quantization="none"))
with loaded.subject(BASELINE) as model:
    ModelScorer(model, pad_token_id=loaded.pad_token_id, state=ScoringState(plan_for(model), print)).score(requests)
"""

import gc
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.config.schema import ModelConfig
from harness.models.hub import fetch, is_path
from harness.models.precision import advice_on, choose_compute_dtype, choose_dtype, why_compute_dtype
from harness.models.templates import apply_template
from reports.errors import UserError
from reports.json_text import parse_json
from reports.paths import expanded
from reports.plain_text import one_line
from suites.bounded_templates import bound_chat_templates
from suites.engine.causal_model import max_positions

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BASELINE = "baseline"
EMBEDDED = "embedded"
DEVICES = ("auto", "cpu", "cuda", "mps")
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


class ModelError(UserError):
    """The base model cannot be loaded as configured."""


@dataclass(slots=True)
class LoadedModel:
    """A base model with its tokenizer and the adapters attached to it.

    Outside a `subject` block all adapters are off: the model is the baseline.
    """

    base: "PreTrainedModel"
    """The transformers model, with PEFT's layers inside once an adapter is attached; adapters are never merged."""
    tokenizer: "PreTrainedTokenizerFast"
    name: str
    """"embedded", an absolute folder or a hub id, as an adapter's configuration names its base."""
    device: str
    dtype: str
    """Type of the weights that are not quantised."""
    compute_dtype: str
    """Type that products with the base's weights are computed in; differs from `dtype` only in 4-bit layers."""
    quantization: str
    template: str
    """Template that renders conversations: "model", "given" (by the configuration or an adapter) or "instruction"."""
    fingerprint: str
    """Hash of the weights and their configuration."""
    max_positions: int | None
    notes: list[str] = field(default_factory=list)
    adapters: "PeftModel | None" = None
    adapter_keys: dict[str, str] = field(default_factory=dict)
    """Name of a candidate -> PEFT's name of its adapter, which allows fewer characters."""
    adapter_fingerprints: dict[str, str] = field(default_factory=dict)
    """Name of a candidate -> hash of its adapter's files."""
    _active: str = BASELINE

    @property
    def pad_token_id(self) -> int:
        """Id of the token that pads batches; an attention mask hides it from the tokens that are scored."""
        return int(self.tokenizer.pad_token_id)

    @contextmanager
    def subject(self, name: str) -> "Iterator[PreTrainedModel]":
        """Yield the model as one subject, in evaluation mode: `BASELINE`, or a name given to `attach_adapter`.

        It is the plain transformers model with the layers of the adapter switched on or off.
        """
        outer, was_training = self._active, self.base.training
        self._switch_to(name)
        self.base.eval()
        try:
            yield self.base
        finally:
            self._switch_to(outer)
            self.base.train(was_training)

    def release(self) -> None:
        """Free the memory of the weights for another model; this one can no longer be used."""
        import torch

        self.adapters = None
        del self.base
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _switch_to(self, name: str) -> None:
        if name != BASELINE and name not in self.adapter_keys:
            raise KeyError(f"no subject {name!r}; there are {[BASELINE, *self.adapter_keys]}")
        if self.adapters is not None:
            tuner = self.adapters.base_model
            if name == BASELINE:
                tuner.disable_adapter_layers()
            else:
                tuner.enable_adapter_layers()
                tuner.set_adapter(self.adapter_keys[name], inference_mode=True)
        self._active = name


def load_model(config: ModelConfig) -> LoadedModel:
    """Load base model and tokenizer as configured.

    Raises:
        ModelError: the folder, the device or the weights do not fit the configuration.
        HubUnreachable: the weights must come from the hub, and it does not answer or does not have them.
    """
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    compute_dtype = dtype if config.quantization == "none" else choose_compute_dtype(config.compute_dtype, device)
    name, folder = locate_weights(config)
    tokenizer = load_tokenizer(folder, name)
    template, template_notes = apply_template(tokenizer, config)
    notes = [*ensure_pad_token(tokenizer), *template_notes, *_precision_notes(config, device)]
    base = load_weights(config, folder, device, dtype, compute_dtype)
    if len(tokenizer) > base.get_input_embeddings().num_embeddings:
        raise ModelError(
            f"model.name {name!r}: the tokenizer has {len(tokenizer)} tokens but the weights have embeddings for only "
            f"{base.get_input_embeddings().num_embeddings}; give the tokenizer that belongs to the weights"
        )
    base.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    return LoadedModel(
        base=base,
        tokenizer=tokenizer,
        name=name,
        device=device,
        dtype=dtype,
        compute_dtype=compute_dtype,
        quantization=config.quantization,
        template=template,
        fingerprint=weights_fingerprint(folder),
        max_positions=max_positions(base.config),
        notes=notes,
    )


def choose_device(requested: str) -> str:
    """Return the requested device; "auto" is a CUDA GPU where there is one, else the CPU.

    Raises:
        ModelError: the device is not one of `DEVICES`, or not available.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if requested == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if requested not in available:
        raise ModelError(
            f"model.device: must be one of {', '.join(DEVICES)}, not {requested!r}; choose one of several GPUs with "
            f"CUDA_VISIBLE_DEVICES"
        )
    if not available[requested]:
        raise ModelError(f"model.device: torch {torch.__version__} finds no {requested!r} device; use auto or cpu")
    return requested


def stored_dtype(path_or_id: str, device: str) -> Literal["auto", "float16", "bfloat16"]:
    """Return the type in which a full model adds no rounding to its stored weights.

    On a GPU that is the half precision that its config.json names, if any. On a CPU it is "auto": float32, which holds
    every value of half precision exactly.

    Args:
        path_or_id: folder or hub id of the model.
        device: the device that it is loaded on, "auto" included; not what else this machine has.
    """
    file = expanded(path_or_id) / "config.json"
    if choose_device(device) == "cpu" or not file.is_file():
        return "auto"
    try:
        config = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}); it is damaged") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} must hold a JSON object; it is damaged")
    written = config.get("dtype", config.get("torch_dtype"))
    return written if written in ("float16", "bfloat16") else "auto"


def locate_weights(config: ModelConfig) -> tuple[str, Path]:
    """Return the model's name and its folder, fetched from the hub if the name is not a local folder."""
    if config.name == EMBEDDED:
        name, folder = EMBEDDED, Path(__file__).parents[1] / "embedded" / "base_model"
    elif expanded(config.name).is_dir():
        folder = expanded(config.name).resolve()
        name = str(folder)
    elif is_path(config.name) or Path(config.name).exists():
        raise ModelError(f"model.name: there is no folder {config.name!r}; give a folder, a hub id, or {EMBEDDED!r}")
    else:
        patterns = (*_HUB_FILES, "*.bin") if config.allow_pickled_weights else _HUB_FILES
        name, what = config.name, f"model.name {config.name!r}"
        folder = fetch(what, config.name, revision=config.revision, patterns=patterns)
    _check_files(name, folder, config.allow_pickled_weights)
    return name, folder


def weights_fingerprint(folder: Path) -> str:
    """Return the hash of a model folder's weights and config.json, whatever the folder is called."""
    return files_fingerprint([folder / "config.json", *_weight_files(folder)])


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return the hash of files by name and content, whatever their folder."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def ensure_pad_token(tokenizer: "PreTrainedTokenizerFast") -> list[str]:
    """Give the tokenizer a padding token from its own vocabulary, EOS only where there is no other.

    Embeddings are never resized for it, so that base and adapters keep the shapes they were trained with.

    Returns:
        A message for the user where the padding token is EOS.
    """
    if tokenizer.pad_token is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return []
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    candidates = [token for token in special if "pad" in token.lower()]
    candidates += [token for token in (tokenizer.unk_token,) if token not in (None, tokenizer.eos_token)]
    tokenizer.pad_token = candidates[0] if candidates else tokenizer.eos_token
    return [] if candidates else ["The tokenizer has no padding token; EOS is used, hidden by the attention mask."]


def _check_files(name: str, folder: Path, allow_pickled: bool) -> None:
    if not (folder / "config.json").is_file():
        is_adapter = (folder / "adapter_config.json").is_file()
        advice = "it is an adapter: give it with --adapter" if is_adapter else "give the folder of a model"
        raise ModelError(f"model.name {name!r}: {folder} has no config.json; {advice}")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"model.name {name!r}: {folder} also holds an adapter; move it to a folder of its own, as the baseline "
            f"has none"
        )
    files = _weight_files(folder)
    if not files:
        raise ModelError(f"model.name {name!r}: {folder} has no weights (*.safetensors); give the folder of a model")
    _check_index(name, folder, allow_pickled=allow_pickled)
    for file in sorted(folder.glob("*.json")):
        _check_json(name, file)
    if not allow_pickled and files[0].suffix != ".safetensors":
        raise ModelError(
            f"model.name {name!r}: {folder} has only pickled weights ({files[0].name}); convert them to safetensors, "
            f"or set model.allow_pickled_weights=true"
        )


def _check_json(name: str, file: Path) -> None:
    """Check that a file beside the weights is JSON that libraries can read, which meet its depth as a crash."""
    try:
        parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"model.name {name!r}: {file} cannot be read: {error}; it is damaged") from None


def _check_index(name: str, folder: Path, *, allow_pickled: bool) -> None:
    """Check that the indexes of a folder's weights name files of this folder alone, and pickles only where allowed.

    transformers opens whatever an index names, and the fingerprint of the weights is that of the folder's own files.
    """
    for index in sorted(folder.glob("*.index.json")):
        try:
            content = parse_json(index.read_bytes())
            named = set(content["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(
                f"model.name {name!r}: {index} does not say which file holds which weight; it is damaged"
            ) from None
        for file in sorted(map(str, named)):
            if Path(file).name != file or not (folder / file).is_file():
                raise ModelError(f"model.name {name!r}: {index} names {one_line(file)}, which is no file of its folder")
            if (
                not allow_pickled
                and index.name.endswith(".safetensors.index.json")
                and not file.endswith(".safetensors")
            ):
                raise ModelError(
                    f"model.name {name!r}: {index} names {one_line(file)}, which is not safetensors; convert it, or "
                    f"set model.allow_pickled_weights=true"
                )


def _weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, or its pickled weights where it has none."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def load_tokenizer(folder: Path, name: str) -> "PreTrainedTokenizerFast":
    """Load the tokenizer of a model folder.

    Raises:
        ModelError: it cannot be read, or has no fast version.
    """
    from transformers import AutoTokenizer

    bound_chat_templates()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"model.name {name!r}: its tokenizer cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"model.name {name!r}: its tokenizer has no fast version (tokenizer.json); choose a model that has one"
        )
    return tokenizer


def load_weights(config: ModelConfig, folder: Path, device: str, dtype: str, compute_dtype: str) -> "PreTrainedModel":
    """Return the model of a folder in evaluation mode; on the device "meta" without memory for its weights.

    Raises:
        ModelError: its configuration or its weights cannot be read, or the weights are not those of the configuration.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    from harness.models.quantization import keep_unpacked

    options: dict[str, Any] = {} if device == "cpu" else {"device_map": {"": device}}
    if config.quantization == "nf4":
        options["quantization_config"] = _nf4(compute_dtype)
    try:
        base, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=_model_config(folder),
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=None if config.allow_pickled_weights else True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"model.name {config.name!r} cannot be loaded: {_first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model.name {config.name!r}: its weights lack {len(missing)} tensors ({', '.join(missing[:3])}), which "
            f"would be initialised at random; give complete weights"
        )
    keep_unpacked(base)
    base.requires_grad_(False)
    return base.eval()


def _precision_notes(config: ModelConfig, device: str) -> list[str]:
    """Return messages about the type that 4-bit layers compute in, and about requested types that are slow here."""
    requested, notes = {"dtype": config.dtype}, []
    if config.quantization != "none":
        requested["compute_dtype"] = config.compute_dtype
        notes.append(why_compute_dtype(config.compute_dtype, device))
    for key, dtype in requested.items():
        if dtype not in ("auto", "float32") and device == "cpu" and (advice := advice_on(key, dtype, device)):
            notes.append(f"model.{key}: {advice}.")
    return notes


def _nf4(compute_dtype: str) -> Any:
    """Return bitsandbytes' configuration of NF4 with double quantisation."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype),
    )


def _model_config(folder: Path) -> Any:
    """Return the model's configuration with every dropout at 0, so that policy and reference are free of noise."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if "quantization_config" in config.to_dict():
        raise ValueError("its weights are already quantised; give unquantised weights and set model.quantization")
    settings = config.get_text_config()
    for name, value in settings.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(settings, name, 0.0)
    return config


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
