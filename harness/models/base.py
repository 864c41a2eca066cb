"""Load a base model as configured: one set of weights that all subjects of a comparison share.

loaded = load_model(ModelConfig(name="gpt2", quantization="none"))
with loaded.subject(BASELINE) as model:
    ModelScorer(model, pad_token_id=loaded.pad_token_id, state=ScoringState(plan_for(model), print)).score(requests)
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.config.schema import ModelConfig
from harness.config.wording import shown
from harness.models.base_files.config import check_computes, load_config, unplaced
from harness.models.base_files.folder import (
    CONFIG_FILE,
    ModelError,
    ModelFolder,
    check_files,
    model_folder,
    read_config,
    weights_fingerprint,
)
from harness.models.base_files.tokenizer import load_tokenizer
from harness.models.library_errors import LIBRARY_ERRORS
from harness.models.placement import bytes_by_gpu, line_on_spread
from harness.models.precision import advice_on, choose_compute_dtype, choose_dtype, why_compute_dtype
from harness.models.templates import apply_template
from harness.processes import ranks
from reports.errors import first_line
from reports.paths import expanded
from suites.engine.causal_model import gpus_of, max_positions
from suites.engine.token_ids import refuse_unknown_tokens

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BASELINE = "baseline"
DEVICES = ("auto", "cpu", "cuda", "mps")


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
    """Kind of device: "cpu", "cuda" or "mps"."""
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
    revision: str | None = None
    """Revision of the weights on the hub; None is the main branch, or a local folder."""
    notes: list[str] = field(default_factory=list)
    adapters: "PeftModel | None" = None
    adapter_keys: dict[str, str] = field(default_factory=dict)
    """Name of a candidate -> PEFT's name of its adapter, which allows fewer characters."""
    adapter_fingerprints: dict[str, str] = field(default_factory=dict)
    """Name of a candidate -> hash of its adapter's files."""
    _active: str = BASELINE

    @property
    def n_embeddings(self) -> int:
        """Number of tokens that the model has embeddings for."""
        return int(self.base.get_input_embeddings().weight.shape[0])

    @property
    def gpus(self) -> tuple[int, ...]:
        """GPUs that the weights are spread over; empty where they are on one device."""
        return gpus_of(self.base)

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
    opened = open_folder(config)  # before the tokenizer, with which transformers reads the configuration too
    name, folder = opened.place.name, opened.place.folder
    tokenizer = load_tokenizer(folder, name)
    template, template_notes = apply_template(tokenizer, config)
    held = bytes_by_gpu(config, opened.config, dtype) if device == "cuda" else None
    base, weight_notes = load_weights(opened, device, dtype, compute_dtype, held)
    n_embeddings = base.get_input_embeddings().num_embeddings
    notes = [*ensure_pad_token(tokenizer, n_embeddings), *template_notes, *_precision_notes(config, device)]
    if len(tokenizer) > n_embeddings:
        refuse_unknown_tokens(base, tokenizer)
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
        revision=opened.place.revision,
        notes=[*notes, *weight_notes],
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
    folder = expanded(path_or_id)
    if choose_device(device) == "cpu" or not (folder / CONFIG_FILE).is_file():
        return "auto"
    config = read_config(path_or_id, folder)
    written = config.get("dtype", config.get("torch_dtype"))
    return written if written in ("float16", "bfloat16") else "auto"


def ensure_pad_token(tokenizer: "PreTrainedTokenizerFast", n_embeddings: int) -> list[str]:
    """Give the tokenizer a padding token from its own vocabulary, EOS only where there is no other.

    Embeddings are never resized for it, so that base and adapters keep the shapes they were trained with.

    Args:
        tokenizer: tokenizer of the model.
        n_embeddings: number of tokens that the model has embeddings for.

    Returns:
        A message for the user where the padding token is EOS.

    Raises:
        ModelError: there is no token to pad with.
    """
    is_known = tokenizer.pad_token_id is not None and tokenizer.pad_token_id < n_embeddings
    if is_known and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return []
    added = tokenizer.added_tokens_decoder.items()
    special = [str(token) for token_id, token in added if token.special and token_id < n_embeddings]
    candidates = [token for token in special if "pad" in token.lower()]
    candidates += [token for token in (tokenizer.unk_token,) if token not in (None, tokenizer.eos_token)]
    if not candidates and tokenizer.eos_token_id is None:
        raise ModelError(
            f"model.name: the tokenizer in {tokenizer.name_or_path} has no padding token and no EOS; name one as "
            f"pad_token or eos_token in its tokenizer_config.json"
        )
    tokenizer.pad_token = candidates[0] if candidates else tokenizer.eos_token
    return [] if candidates else ["The tokenizer has no padding token; EOS is used, hidden by the attention mask."]


@dataclass(frozen=True, slots=True)
class OpenedFolder:
    """The folder of a model after a look at everything in it but the weights' values."""

    place: ModelFolder
    config: Any
    """transformers' configuration."""
    quantization: str
    """As configured, or "stored" where the weights were quantised before."""
    allow_pickled: bool


def open_folder(config: ModelConfig) -> OpenedFolder:
    """Return the folder of a model, its files and its configuration checked.

    Raises:
        ModelError: the folder does not fit the configuration of the experiment, or its config.json not its weights.
        HubUnreachable: the weights must come from the hub, and it does not answer or does not have them.
    """
    place = model_folder(config)
    check_files(place.name, place.folder, allow_pickled=config.allow_pickled_weights)
    is_stored = _check_quantisation(config, place.name, place.folder)
    return OpenedFolder(
        place,
        load_config(place.name, place.folder),
        "stored" if is_stored else config.quantization,
        config.allow_pickled_weights,
    )


def load_weights(
    opened: OpenedFolder, device: str, dtype: str, compute_dtype: str, held: Mapping[int, int] | None = None
) -> "tuple[PreTrainedModel, list[str]]":
    """Return the model, frozen and in evaluation mode, and messages; on the device "meta" without memory for weights.

    Args:
        opened: the model's folder.
        device: "cpu", "cuda", "mps" or "meta".
        dtype: type of the weights that are not quantised.
        compute_dtype: type that 4-bit layers compute in.
        held: GPU -> bytes of weights that it may hold, where they are spread over several.

    Raises:
        ModelError: the weights cannot be read, or are not those of the configuration.
    """
    from transformers import AutoModelForCausalLM

    from harness.models.quantization import keep_unpacked, quantised_in

    name = opened.place.name
    options = _places(device, held)
    if opened.quantization == "nf4":
        options["quantization_config"] = _nf4(compute_dtype)
    try:
        base, report = AutoModelForCausalLM.from_pretrained(
            opened.place.folder,
            config=opened.config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=None if opened.allow_pickled else True,
            output_loading_info=True,
            **options,
        )
    except LIBRARY_ERRORS as error:
        raise ModelError(f"model.name {name!r} cannot be loaded: {first_line(error)}") from error
    notes = _check_all_placed(name, base, report)
    if gpus := gpus_of(base):
        notes.append(line_on_spread(len(gpus)))
    keep_unpacked(base)
    if opened.quantization == "stored":
        quantised_in(base, compute_dtype)
        notes.append(f"The weights of {name} were quantised before they were stored, and are measured as they are.")
    base.requires_grad_(False)
    if device != "meta":
        check_computes(name, base.eval())
    return base.eval(), notes


def _places(device: str, held: Mapping[int, int] | None) -> dict[str, Any]:
    """Return transformers' options of where the weights go; without any they stay on the CPU."""
    import torch

    if held is not None:
        return {"device_map": "balanced", "max_memory": dict(held)}  # without a CPU, which would compute its layers
    if device == "cuda" and ranks().n > 1:
        return {"device_map": {"": torch.cuda.current_device()}}  # bitsandbytes asks for the number of a process's GPU
    return {} if device == "cpu" else {"device_map": {"": device}}


def _check_quantisation(config: ModelConfig, name: str, folder: Path) -> bool:
    """Return whether the weights are stored in 4 bits as bitsandbytes has them, and are asked for so.

    Raises:
        ModelError: they are quantised in another way, or asked for without quantisation.
    """
    stored = read_config(name, folder).get("quantization_config")
    if stored is None:
        return False
    settings = stored if isinstance(stored, dict) else {}
    method = settings.get("quant_method")
    is_nf4 = settings.get("load_in_4bit") is True and settings.get("bnb_4bit_quant_type", "fp4") == "nf4"
    if method not in (None, "bitsandbytes") or not is_nf4:
        kind = "in another way" if method is None else f"by {shown(method)}"
        raise ModelError(
            f"model.name {name!r}: its weights are already quantised, {kind}, and only NF4 of bitsandbytes can be "
            f"measured as it is stored; give the unquantised weights, with --model where an adapter names this base"
        )
    if config.quantization == "none":
        raise ModelError(
            f"model.name {name!r}: its weights are already quantised; set model.quantization=nf4, or give the "
            f"unquantised weights, with --model where an adapter names this base"
        )
    return True


def _check_all_placed(name: str, base: "PreTrainedModel", report: Any) -> list[str]:
    """Check that every weight of the model was stored, and that no layer was stored that the model lacks."""
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise ModelError(
            f"model.name {name!r}: its weights lack {len(missing)} tensors ({', '.join(missing[:3])}), which "
            f"would be initialised at random; give complete weights"
        )
    left_out = unplaced(unexpected, base)
    if left_out:
        raise ModelError(
            f"model.name {name!r}: its weights hold {len(left_out)} tensors of layers ({', '.join(left_out[:3])}) that "
            f"the model of its {CONFIG_FILE} does not have; give the configuration that belongs to them"
        )
    if not unexpected:
        return []
    note = (
        f"{len(unexpected)} tensors in the weights of {name} have no place in a language model and are not used: "
        f"{', '.join(unexpected[:3])}."
    )
    return [note]


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
