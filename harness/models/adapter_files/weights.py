"""The tensors of an adapter by name and shape, read from the head of their file, and why they cannot be used."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.models.adapter_files.config import AdapterConfig
from harness.models.adapter_files.folder import CONFIG_FILE, WEIGHTS_FILE, AdapterError
from reports.plain_text import one_line

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor as PEFT writes it -> its shape."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of a base's modules."""
_LFS_POINTER = b"version https://git-lfs"
_WRAPPERS = {
    "_orig_mod.": "torch.compile", "_fsdp_wrapped_module.": "FSDP", "_forward_module.": "Lightning",
    "module.": "data parallel training",
}  # fmt: skip
"""Part that a wrapper writes into names -> the wrapper."""
_OF_STATE_DICT = re.compile(r"\.(lora_[AB]|lora_magnitude_vector|lora_embedding_[AB])\.(?!weight$|bias$)\w+")
"""A factor with the name of its adapter behind it, which PEFT leaves out of what it saves."""
_FLOATS = {"F16", "BF16", "F32", "F64"}
_TYPES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "F8_E4M3": "float8", "F8_E5M2": "float8", "F8_E8M0": "float8", "C64": "complex64",
}  # fmt: skip
"""Type as safetensors writes it -> its name in torch."""


@dataclass(frozen=True, slots=True)
class VocabularyMatrix:
    """A matrix of the base with a row for each token."""

    name: str
    """Name of its module, such as model.embed_tokens."""
    n_rows: int


def read_shapes(folder: Path, path_or_id: str) -> Shapes:
    """Return the shapes of an adapter's tensors.

    Raises:
        AdapterError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / WEIGHTS_FILE
    try:
        with file.open("rb") as stream:
            if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise AdapterError(
                    f"adapter {path_or_id!r}: {WEIGHTS_FILE} is a pointer of Git LFS, not the weights; run `git lfs "
                    f"pull` in its repository"
                )
        with safe_open(file, framework="numpy") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    except OSError as error:
        reason = one_line(error.strerror or str(error))
        raise AdapterError(f"adapter {path_or_id!r}: {WEIGHTS_FILE} cannot be read ({reason})") from error
    except SafetensorError as error:
        reason = one_line(str(error).strip())
        raise AdapterError(
            f"adapter {path_or_id!r}: {WEIGHTS_FILE} cannot be read ({reason}); it is damaged"
        ) from error


def check_types(folder: Path) -> str:
    """Return why the types of an adapter's tensors cannot be measured; empty where they can.

    PEFT would copy whole numbers into its matrices as if they were weights.

    Args:
        folder: of an adapter whose file can be read.
    """
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS_FILE, framework="numpy") as tensors:
        types = {key: str(tensors.get_slice(key).get_dtype()) for key in tensors.keys()}  # noqa: SIM118
    odd = next((name for name, kind in types.items() if kind not in _FLOATS), None)
    if odd is None:
        return ""
    return (
        f"{WEIGHTS_FILE} holds {odd} as {_TYPES.get(types[odd], types[odd])}, and weights must be float16, bfloat16, "
        f"float32 or float64; save the adapter again as it was trained, not quantised"
    )


def check_shapes(shapes: Shapes, config: AdapterConfig, vocabulary: tuple[VocabularyMatrix, ...]) -> str:
    """Return why an adapter's tensors cannot be put on a base, before PEFT makes room for them; empty where they can.

    Args:
        shapes: as `read_shapes` returns them.
        config: the adapter's configuration.
        vocabulary: input embeddings and output head of the base.
    """
    problems = (*_problems_of_all(shapes), *_resized(shapes, vocabulary), *_problems_of_ranks(shapes, config))
    return problems[0] if problems else ""


def saved_as_a_whole(shapes: Shapes, config: AdapterConfig, vocabulary: tuple[VocabularyMatrix, ...]) -> dict[str, str]:
    """Return the base's embeddings and output head that an adapter's file holds without having trained them.

    PEFT writes them beside the adapter where tokens were added, and where LoRA lies on them.

    Returns:
        Name of the tensor -> name of the module.
    """
    trained = {matrix.name for matrix in vocabulary for each in config.modules_to_save if _ends(matrix.name, each)}
    saved = {}
    for matrix in vocabulary:
        is_trained = matrix.name in trained or (config.ensure_weight_tying and trained)
        for name in (f"{PREFIX}{matrix.name}.weight", f"{PREFIX}{matrix.name}.base_layer.weight"):
            if name in shapes and not is_trained:
                saved[name] = matrix.name
    return saved


def _problems_of_all(shapes: Shapes) -> Iterator[str]:
    """Name what is wrong with a file whatever the base."""
    if not shapes:
        yield f"{WEIGHTS_FILE} holds no tensors; train or save it again"
        return
    if any(0 in shape for shape in shapes.values()):
        yield (
            f"{WEIGHTS_FILE} holds empty tensors, of shape (0): DeepSpeed ZeRO-3 saved it without gathering the "
            f"weights; make it again from the checkpoint with zero_to_fp32.py, or train with "
            f"stage3_gather_16bit_weights_on_model_save"
        )
    flat = [name for name, shape in shapes.items() if name.endswith(("lora_A.weight", "lora_B.weight"))]
    flat = [name for name in flat if len(shapes[name]) == 1]
    if flat:
        yield (
            f"{WEIGHTS_FILE} holds matrices as one line of numbers ({flat[0]}): FSDP saved a part of them; save the "
            f"full state of the adapter"
        )
    for part, wrapper in _WRAPPERS.items():
        wrapped = [name for name in shapes if f".{part}" in f".{name}"]
        if wrapped:
            yield (
                f"the names in {WEIGHTS_FILE} hold {part!r} ({wrapped[0]}), which {wrapper} writes; save the adapter "
                f"of the unwrapped model"
            )
    if not any("lora_" in name for name in shapes):
        yield f"{WEIGHTS_FILE} holds no LoRA weights, but tensors such as {next(iter(shapes))}"
    yield from _problems_of_names(shapes)


def _problems_of_names(shapes: Shapes) -> Iterator[str]:
    """Name other ways of saving an adapter than PEFT's own."""
    advice = "save the adapter with PEFT's save_pretrained(FOLDER)"
    named = next((name for name in shapes if _OF_STATE_DICT.search(name)), None)
    if named is not None:
        yield (
            f"{WEIGHTS_FILE} was written from torch's state_dict(), which leaves the adapter's own name in the names "
            f"of tensors ({named}), and not by save_pretrained; {advice}, or write get_peft_model_state_dict(model) "
            f"there with safetensors"
        )
    without = next((name for name in shapes if "lora_" in name and not name.startswith(PREFIX)), None)
    if without is not None:
        yield (
            f"the names in {WEIGHTS_FILE} do not begin with {PREFIX!r} ({without}), as PEFT writes them: another "
            f"program wrote it, or one that took the beginning away; {advice}"
        )


def _resized(shapes: Shapes, vocabulary: tuple[VocabularyMatrix, ...]) -> Iterator[str]:
    """Say where embeddings have another number of rows than those of the base."""
    for matrix in vocabulary:
        for ending, axis in (("weight", 0), ("base_layer.weight", 0), ("lora_embedding_A", 1), ("lora_B.weight", 0)):
            shape = shapes.get(f"{PREFIX}{matrix.name}.{ending}")
            if shape is not None and len(shape) > axis and shape[axis] != matrix.n_rows:
                yield (
                    f"it was trained with {shape[axis]} tokens, and the base model has {matrix.n_rows} "
                    f"({matrix.name}): tokens were added before training, or it is of another base; resize the base's "
                    f"embeddings to {shape[axis]} rows with the adapter's tokenizer (resize_token_embeddings), save "
                    f"both, and give that folder with --model"
                )


def _problems_of_ranks(shapes: Shapes, config: AdapterConfig) -> Iterator[str]:
    """Check that weights have the ranks that the configuration names, for which PEFT makes room first."""
    factors = [shape for name, shape in shapes.items() if "lora_" in name and len(shape) > 1]
    largest = max((min(shape) for shape in factors), default=0)
    named = max((config.r, *config.rank_pattern.values()))
    if factors and named > largest and not config.target_parameters:
        yield f"{CONFIG_FILE} names rank {named}, but its weights have rank {largest} at most; it is damaged"


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")
