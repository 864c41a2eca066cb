"""The adapter_config.json of a LoRA adapter: typed and checked here, so that nothing behind it meets an odd type."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from harness.config.limits import LARGEST_RANK
from harness.config.strict import InvalidValuesError, build
from harness.config.wording import shown
from harness.models.adapter_files.folder import CONFIG_FILE, AdapterError, read_json
from harness.models.adapter_files.patterns import MOST_WAYS, UnboundedPatternError, ways_of

Rank = Annotated[int, Ge(1), Le(LARGEST_RANK)]
Alpha = Annotated[float, Ge(-(10**9)), Le(10**9)]
Name = Annotated[str, MinLen(1)]
Index = Annotated[int, Ge(0), Le(10**9)]
Names = tuple[Name, ...]

_NOT_MEASURED = {
    "alora_invocation_tokens": "aLoRA, which acts only behind certain tokens",
    "layer_replication": "LoRA on repeated layers, whose base without the adapter is another model",
    "megatron_config": "LoRA on Megatron's layers",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow, which routes between several adapters",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA, which draws at random",
}
"""Key that turns on a kind of LoRA that is not measured -> its name."""
_CHANGES_THE_BASE = {
    "pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "loftq": "LoftQ", "lora_ga": "LoRA-GA", "mica": "MiCA",
}  # fmt: skip
"""Beginning of init_lora_weights -> the kind, which takes a part of the base's own weights away at the start."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """A LoRA adapter as its adapter_config.json describes it; fields have PEFT's names."""

    r: Rank = 8
    """Rank of the update of every module that `rank_pattern` does not name."""
    lora_alpha: Alpha = 8
    target_modules: Name | Names = ()
    """Names or ends of names of modules, or a regular expression; empty takes PEFT's choice for the base's family."""
    base_model_name_or_path: str = ""
    """Base model that it was trained on; empty where the file names none."""
    revision: str = ""
    """Revision of that base on the hub; empty is the main branch."""
    rank_pattern: dict[str, Rank] = field(default_factory=dict)
    alpha_pattern: dict[str, Alpha] = field(default_factory=dict)
    exclude_modules: Name | Names = ()
    layers_to_transform: Index | tuple[Index, ...] = ()
    layers_pattern: Name | Names = ()
    modules_to_save: Names = ()
    """Modules that were trained as a whole."""
    trainable_token_indices: tuple[Index, ...] | dict[str, tuple[Index, ...]] = ()
    """Tokens whose embeddings were trained; by module, or of the input embeddings."""
    target_parameters: Names = ()
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    bias: Literal["none"] = "none"
    ensure_weight_tying: bool = False
    task_type: Literal["CAUSAL_LM"] = "CAUSAL_LM"

    @property
    def base(self) -> str:
        """The base as `--model` takes it: a folder, or a hub id with its revision behind `@`; empty without any."""
        from reports.paths import expanded, is_address

        name = self.base_model_name_or_path
        if not self.revision or not name or is_address(name) or expanded(name).is_dir():
            return name
        return f"{self.base_model_name_or_path}@{self.revision}"

    def for_peft(self, *, also_saved: tuple[str, ...] = ()) -> Any:
        """Return PEFT's configuration, which draws no weights of its own and so leaves the base alone.

        Args:
            also_saved: more modules that the adapter holds as a whole.
        """
        import peft

        def plain(value: Any) -> Any:
            return list(value) if isinstance(value, tuple) else value

        tokens = self.trainable_token_indices
        named = {key: list(value) for key, value in tokens.items()} if isinstance(tokens, dict) else list(tokens)
        return peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=self.r,
            lora_alpha=self.lora_alpha,
            target_modules=plain(self.target_modules) or ([] if self.target_parameters else None),
            exclude_modules=plain(self.exclude_modules) or None,
            rank_pattern=dict(self.rank_pattern),
            alpha_pattern=dict(self.alpha_pattern),
            layers_to_transform=None if self.layers_to_transform == () else plain(self.layers_to_transform),
            layers_pattern=plain(self.layers_pattern) or None,
            modules_to_save=[*self.modules_to_save, *also_saved] or None,
            trainable_token_indices=named or None,
            target_parameters=list(self.target_parameters) or None,
            fan_in_fan_out=self.fan_in_fan_out,
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            lora_bias=self.lora_bias,
            ensure_weight_tying=self.ensure_weight_tying,
            init_lora_weights=True,
            inference_mode=True,
        )


_FIELDS = tuple(each.name for each in fields(AdapterConfig))
_NOT_NULL = ("r", "lora_alpha", "bias")
"""Keys for which null says nothing that PEFT could compute with; elsewhere it stands for a value left out."""


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Return the configuration of a LoRA adapter.

    Raises:
        AdapterError: it is not a JSON object, is of a kind that is not measured, or holds a value that PEFT could not
            compute with.
    """
    file = folder / CONFIG_FILE
    content = read_json(file)
    refusal = next(_refusals(content), "")
    if refusal:
        raise AdapterError(f"{file}: {refusal}")
    values = {
        key: value for key, value in content.items() if key in _FIELDS and (value is not None or key in _NOT_NULL)
    }
    try:
        config = build(AdapterConfig, values)
    except InvalidValuesError as error:
        raise AdapterError(f"{file}: {error.problems[0].message}") from None
    problem = next(_problems(config), "")
    if problem:
        raise AdapterError(f"{file}: {problem}")
    return config


def unknown_keys(folder: Path) -> list[str]:
    """Return the keys with a value that neither this project nor the installed PEFT knows."""
    import peft

    known = {each.name for each in fields(peft.LoraConfig)} | {"peft_version", "enable_lora", "merge_weights"}
    return sorted(key for key, value in read_json(folder / CONFIG_FILE).items() if key not in known and value)


def _refusals(content: Mapping[str, Any]) -> Iterator[str]:
    """Name the kind of an adapter that is not measured."""
    kind = content.get("peft_type")
    if kind != "LORA":
        if "lora_parameters" in content or "fine_tune_type" in content:
            yield "it is an adapter of MLX; convert it to PEFT's form"
        if kind is None:
            yield "it names no peft_type, so it is no adapter of PEFT"
        yield (
            f"peft_type must be LORA, not {shown(kind)}: other kinds are not measured; merge it into its base with "
            f"PEFT, and give the result with --candidate NAME=PATH"
        )
    for key, name in _NOT_MEASURED.items():
        if content.get(key):
            yield f"{key} is set: {name}, is not measured; convert the adapter to plain LoRA"
    start = content.get("init_lora_weights")
    for beginning, name in _CHANGES_THE_BASE.items():
        if isinstance(start, str) and start.lower().startswith(beginning):
            yield (
                f"init_lora_weights is {shown(start)}: {name} changes the base model's own weights, so there is no "
                f"baseline to compare with; convert the adapter to plain LoRA"
            )
    if content.get("bias") in ("all", "lora_only"):
        yield (
            "bias is set: trained biases change the base model's own weights, so there is no baseline to compare "
            "with; train without them, or merge and give the result with --candidate NAME=PATH"
        )
    task = content.get("task_type")
    if task is not None and task != "CAUSAL_LM":
        yield f"task_type must be CAUSAL_LM, not {shown(task)}: this adapter is of no language model"


def _problems(config: AdapterConfig) -> Iterator[str]:
    """Say what values do not go together, or cannot be computed with."""
    if isinstance(config.target_modules, str) and (config.layers_to_transform != () or config.layers_pattern):
        yield "target_modules is a pattern, so that layers_to_transform and layers_pattern must be null"
    if config.layers_pattern and config.layers_to_transform == ():
        yield "layers_pattern is given without layers_to_transform"
    if config.use_dora and config.lora_bias:
        yield "use_dora and lora_bias cannot both be true"
    patterns = [
        each
        for value in (config.target_modules, config.exclude_modules)
        for each in ((value,) if isinstance(value, str) else ())
    ]
    layers = config.layers_pattern
    patterns += [*config.rank_pattern, *config.alpha_pattern, *((layers,) if isinstance(layers, str) else layers)]
    patterns += config.modules_to_save
    n_ways = 0
    for pattern in patterns:
        try:
            n_ways += ways_of(pattern)
        except UnboundedPatternError:
            n_ways = MOST_WAYS + 1
        if n_ways > MOST_WAYS:
            yield f"the pattern {shown(pattern)} is no regular expression, or could take for ever; name modules instead"
            return
