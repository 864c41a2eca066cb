"""What one experiment and one suite consist of: frozen dataclasses, each value with the range it may have.

`config_files.py` fills them from YAML and KEY=VALUE overrides.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from reports.records import Gate

Name = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Gt(0), Lt(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Scalar = int | float | str | bool
HalfPrecision = Literal["float16", "bfloat16"]
RowKind = Literal["pairs", "examples", "questions", "tasks"]
"""Rows that an evaluation can measure; tasks are lm-eval's."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The base model and how it is loaded; baseline and adapters share it."""

    name: Name = "embedded"
    """A folder, a hub id, or "embedded" for the model that ships with the project."""
    revision: str | None = None
    quantization: Literal["nf4", "none"] = "nf4"
    """nf4 is NF4 with double quantisation."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights that are not quantised; auto is float32 on a CPU and bfloat16 (float16 where missing) on a GPU."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What 4-bit layers compute in; auto is bfloat16 where the device multiplies it in hardware, else float32 on a CPU
    and float16 on a GPU. Without quantisation products are computed in `dtype`."""
    device: Name = "auto"
    template: Literal["auto", "model", "instruction"] = "auto"
    """auto is the model's own chat template, or the instruction template where it has none."""
    system_prompt: str | None = None
    """Put before every prompt that has no system turn of its own."""
    allow_pickled_weights: bool = False
    """Allows a `weights_only` load where the model has no safetensors."""


@dataclass(frozen=True, slots=True)
class ColumnsConfig:
    """What the columns of a dataset hold that `harness list datasets` does not know.

    Pairs need `prompt`, `chosen` and `rejected`, or `prompt` and `answers` with `scores` (or a column of answers in the
    order of their rank, the best first). Examples need `prompt` and `chosen`. Rated answers need `prompt`, `answer` and
    `label`. Questions need `prompt` alone. Texts, or conversations as lists of messages.
    """

    prompt: Name | None = None
    """None takes the turns that all answers of a row share, where these are whole conversations."""
    system: Name | None = None
    """System turn before the prompt."""
    chosen: Name | None = None
    rejected: Name | None = None
    answer: Name | None = None
    label: Name | None = None
    """Whether the answer is a good one: true or false, 1 or 0."""
    answers: Name | None = None
    """A list of answers to one prompt: texts, or mappings with a text."""
    answer_text: Name | None = None
    """Key of the text, where answers are mappings."""
    scores: Name | None = None
    """The scores of `answers`: a column with as many numbers, or a key of each answer where they are mappings."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Which pairs a list of answers makes: the best against the worst, or all of different rank."""
    score_chosen: Name | None = None
    score_rejected: Name | None = None
    """For `data.filters.min_score_gap`."""
    group: Name | None = None
    """What makes rows dependent; None is the first user turn."""
    source: Name | None = None


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """Which rows: a name that `harness list datasets` knows, or a file, and a split."""

    name: Name
    """Hub id, with a configuration after a colon ("truthfulqa/truthful_qa:generation"), or a file of rows."""
    split: str | None = None
    """None picks from what the dataset offers, and says which."""
    revision: str | None = None
    limit: Count | None = None
    """At most so many rows, a seeded sample of whole groups."""
    columns: ColumnsConfig | None = None
    """What the columns hold, for a dataset that is not in the list; wins over the list."""


@dataclass(frozen=True, slots=True)
class FiltersConfig:
    """Which training rows are left out, each rule counted in the report; equal answers and repeated rows always are."""

    min_score_gap: NotNegative | None = None
    """Pairs whose scores differ by less; pairs without scores stay."""
    max_prompt_tokens: Count | None = None
    """Rows with a longer prompt, which would otherwise be truncated to data.max_prompt_tokens."""
    max_response_tokens: Count | None = None
    """Rows with a longer response on any side, which would otherwise be truncated to data.max_tokens."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is trained on and what each role of a suite is measured on."""

    training: DatasetConfig
    roles: dict[str, DatasetConfig]
    """Role of the suite -> dataset: truthfulness, coreference, safety, preferences, prompts."""
    lm_eval_tasks: tuple[Name, ...] = ()
    """Names of lm-eval tasks, or YAML files, that fill the role lm_eval_tasks."""
    capability_tasks: tuple[Name, ...] = ()
    """The same for the role capability_tasks: what a model should not unlearn."""
    selection_fraction: Fraction = 0.1
    """Share of the training groups kept for selection rows."""
    report_fraction: Fraction = 0.3
    """Share of groups kept for the report where training and preferences come from one and the same split."""
    overlap: Literal["drop", "warn", "fail"] = "drop"
    """What to do with training rows that overlap an evaluation set."""
    filters: FiltersConfig = field(default_factory=FiltersConfig)
    max_prompt_tokens: Count = 512
    max_tokens: Count = 1024
    """Prompt and response together."""

    @property
    def tasks(self) -> dict[str, tuple[str, ...]]:
        """Role of the kind lm_eval -> its tasks."""
        return {"lm_eval_tasks": self.lm_eval_tasks, "capability_tasks": self.capability_tasks}


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The adapter."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Share = 0.05
    target_modules: Literal["all-linear"] | Annotated[tuple[Name, ...], MinLen(1)] = "all-linear"
    """all-linear is every attention and feed-forward projection, not the output head."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run."""

    method: Literal["dpo", "kto", "sft"] = "dpo"
    """dpo learns from pairs, kto from answers labelled good or bad, sft from good answers alone."""
    loss_type: Annotated[tuple[Name, ...], MinLen(1)] = ("sigmoid",)
    """Of the method dpo: passed through to TRL; several are combined with `loss_weights`."""
    loss_weights: tuple[float, ...] | None = None
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """Of the method dpo: the share of pairs whose label is taken to be wrong."""
    beta: Positive = 0.1
    learning_rate: Positive = 1e-5
    epochs: Positive = 1.0
    max_steps: Count | None = None
    """Ends training early, or runs longer, than `epochs`."""
    batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    warmup_fraction: Share = 0.0
    warmup_steps: Count | None = None
    """In place of `warmup_fraction`."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    weight_decay: NotNegative = 0.0
    max_gradient_norm: NotNegative = 1.0
    optimizer: Name = "adamw_torch"
    """As transformers names them; paged and 8-bit ones need a GPU, and are adamw_torch on a CPU, which is said."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """auto turns it on where activations of one batch would not fit beside the model."""
    eval_steps: Count | None = None
    """Measures the selection rows every so many steps; None only at the start and the end."""
    save_steps: Count | None = None
    """Keeps a checkpoint every so many steps, from which a killed training goes on; None makes it a tenth of them."""
    report_to: tuple[Literal["wandb", "tensorboard"], ...] = ()
    """Loggers that are told of every step besides training.jsonl."""


@dataclass(frozen=True, slots=True)
class SftConfig:
    """A first stage of supervised fine-tuning: its adapter is where training starts, and its reference."""

    data: DatasetConfig
    """Pairs are taken by their chosen answers."""
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(method="sft"))


@dataclass(frozen=True, slots=True)
class AnswersConfig:
    """How answers are generated, in place of what the suite says."""

    limit: Count | None = None
    """At most so many prompts."""
    max_new_tokens: Count | None = None
    temperature: NotNegative = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0


@dataclass(frozen=True, slots=True)
class ScoringConfig:
    """Bounds on the memory of scoring; None leaves them to what the device has free."""

    max_pack_tokens: Annotated[int, Ge(32)] | None = None
    """Tokens of one forward."""
    max_logit_mebibytes: Count | None = None
    """Logits at a time, in fp32, whatever vocabulary and number of requests."""


@dataclass(frozen=True, slots=True)
class PublishedConfig:
    """Figures of a write-up, shown beside ours for exactly the base model that it used."""

    base: Name
    source: str
    """Where they were published, and what is not known of them."""
    figures: dict[Name, dict[Name, float]]
    """Evaluation -> subject -> response-only cross-entropy in nats per token."""


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """What one resolved configuration describes."""

    name: Name
    data: DataConfig
    description: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sft: SftConfig | None = None
    sweep: dict[Name, Annotated[tuple[Scalar, ...], MinLen(1)]] = field(default_factory=dict)
    """Key such as training.learning_rate -> its values: every combination is a candidate."""
    seeds: Count = 1
    """Training seeds of each candidate, counted up from `seed`, which alone decides splits and samples."""
    controls: tuple[Literal["sft", "shuffled"], ...] = ()
    """Further candidates, trained for the same steps: on the chosen answers alone, and on pairs of which a random half
    has its sides swapped."""
    subjects: tuple[Literal["unquantised"], ...] = ()
    """Further subjects: the base model without quantisation."""
    merged: HalfPrecision | None = None
    """Also measures each trained adapter merged into the unquantised base, in this dtype."""
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    published: PublishedConfig | None = None
    seed: Annotated[int, Ge(0), Lt(2**32)] = 42


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """One line of a suite."""

    name: Name
    kind: Name
    """Name in the table of kinds (`harness/measuring/kinds.py`)."""
    role: Name
    """Which of the preset's roles it measures; `lm_eval_tasks` or `capability_tasks` for the kind lm_eval."""
    limit: Count | None = None
    """At most so many rows, a seeded sample of whole groups."""
    chat_template: bool = False
    """Kind lm_eval only: prompts in the model's chat template, with model.system_prompt, as lm-eval does it."""
    max_new_tokens: Count = 64
    """Kinds generations and drift only."""
    group: str = ""
    """What it is part of, such as "capability"; reports show evaluations of one group together."""


@dataclass(frozen=True, slots=True)
class SuiteConfig:
    """A named list of evaluations over roles."""

    name: Name
    evaluations: Annotated[tuple[EvaluationConfig, ...], MinLen(1)]
    description: str = ""
    gates: tuple[Gate, ...] = ()
    """What a candidate may lose, for `harness check`."""
