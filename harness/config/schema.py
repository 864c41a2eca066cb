"""The configuration of an experiment and of a suite: frozen dataclasses, each value with its allowed range.

`load.py` fills them from YAML and KEY=VALUE overrides.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate

from harness.config.limits import (
    LARGEST_COUNT,
    LARGEST_NUMBER,
    LARGEST_RANK,
    MOST_EPOCHS,
    MOST_STEPS,
    MOST_THREADS,
    MOST_VARIANTS,
)
from reports.paths import is_folder_name
from reports.records import Gate

Name = Annotated[str, MinLen(1)]
FolderName = Annotated[str, Predicate(is_folder_name)]
"""A name that the folder of a run is called by."""
Count = Annotated[int, Ge(1), Le(LARGEST_COUNT)]
Steps = Annotated[int, Ge(1), Le(MOST_STEPS)]
Positive = Annotated[float, Gt(0), Le(LARGEST_NUMBER)]
NotNegative = Annotated[float, Ge(0), Le(LARGEST_NUMBER)]
Number = Annotated[float, Ge(-LARGEST_NUMBER), Le(LARGEST_NUMBER)]
Fraction = Annotated[float, Gt(0), Lt(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Scalar = int | float | str | bool
HalfPrecision = Literal["float16", "bfloat16"]
RowKind = Literal["pairs", "examples", "questions", "tasks"]
"""Rows that an evaluation can measure; tasks are lm-eval's."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The base model and how it is loaded, the same for the baseline and all adapters."""

    name: Name = "embedded"
    """A folder, a hub id, or "embedded" for the model that ships with the project."""
    revision: str | None = None
    quantization: Literal["nf4", "none"] = "nf4"
    """nf4 is NF4 with double quantisation."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights that are not quantised; auto is float32 on a CPU and bfloat16 on a GPU (float16 where the GPU
    has no bfloat16)."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type that 4-bit layers compute in; auto is bfloat16 where the hardware multiplies it, else float32 on a CPU and
    float16 on a GPU. Without quantisation products are computed in `dtype`."""
    device: Name = "auto"
    """auto is a GPU where there is one, and all visible GPUs in turn where one does not hold the base; else the CPU."""
    threads: Annotated[int, Ge(1), Le(MOST_THREADS)] | None = None
    """Number of threads on a CPU; None takes one for each core that is idle at the start. Another number changes the
    last digits of a training. HARNESS_THREADS and OMP_NUM_THREADS override it."""
    template: Literal["auto", "model", "instruction"] = "auto"
    """auto is the model's own chat template, or the instruction template where it has none."""
    chat_template: Name | None = None
    """A file with a chat template in Jinja, or a folder whose tokenizer has one, in place of the model's own; or the
    name of one of the model's own, where it has several."""
    chat_template_kwargs: dict[Name, Scalar] = field(default_factory=dict)
    """What the template reads beside the messages, such as enable_thinking: false."""
    chat_template_date: Name = "2024-07-26"
    """The date that a template is told where it asks for today's, so that prompts are the same on any day."""
    system_prompt: str | None = None
    """System turn for prompts that have none of their own."""
    allow_pickled_weights: bool = False
    """Allows a `weights_only` load where the model has no safetensors."""


@dataclass(frozen=True, slots=True)
class ColumnsConfig:
    """Names of the columns of a dataset that is not in `harness list datasets`.

    Pairs need `prompt`, `chosen` and `rejected`, or `prompt` and `answers` with `scores` (or a column of answers in the
    order of their rank, the best first). Examples need `prompt` and `chosen`. Rated answers need `prompt`, `answer` and
    `label`. Questions need `prompt` alone. Texts, or conversations as lists of messages.
    """

    prompt: Name | None = None
    """Column of the prompt. None takes the turns that all answers of a row share, for answers that are whole
    conversations."""
    input: Name | None = None
    """Column of a text that follows the prompt after a blank line, as Alpaca's input follows its instruction."""
    system: Name | None = None
    """Column of the system turn before the prompt."""
    tools: Name | None = None
    """Column of the functions that the model may call: a list of JSON schemas, or that list as text."""
    chosen: Name | None = None
    rejected: Name | None = None
    answer: Name | None = None
    label: Name | None = None
    """Column that says whether the answer is good: true or false, 1 or 0."""
    answers: Name | None = None
    """Column with a list of answers to one prompt: texts, or mappings with a text."""
    answer_text: Name | None = None
    """Key of the text, where answers are mappings."""
    scores: Name | None = None
    """Scores of `answers`: a column with one number for each answer, or a key of answers that are mappings."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Which pairs a list of answers makes: the best against the worst, or all of different rank."""
    score_chosen: Name | None = None
    score_rejected: Name | None = None
    """For `data.filters.min_score_gap`."""
    group: Name | None = None
    """Column that makes rows dependent where it is equal; None takes the first user turn."""
    source: Name | None = None


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """A dataset of `harness list datasets`, or a file of rows, and the split to take."""

    name: Name
    """Hub id, with a configuration after a colon ("truthfulqa/truthful_qa:generation"), or a file of rows."""
    split: str | None = None
    """None takes the split that fits the purpose, and a note names it."""
    revision: str | None = None
    limit: Count | None = None
    """Largest number of rows: a seeded sample of whole groups."""
    columns: ColumnsConfig | None = None
    """Columns of a dataset that is not in the list, or in place of those in the list."""


@dataclass(frozen=True, slots=True)
class FiltersConfig:
    """Rules that leave training rows out, each counted in the report; equal answers and repeated rows are always left
    out.
    """

    min_score_gap: NotNegative | None = None
    """Leaves out pairs whose scores differ by less; pairs without scores stay."""
    max_prompt_tokens: Count | None = None
    """Leaves out rows with a longer prompt, which would otherwise be truncated to data.max_prompt_tokens."""
    max_response_tokens: Count | None = None
    """Leaves out rows with a longer response, which would otherwise be truncated to data.max_tokens."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The training dataset, and the dataset of each role that a suite measures."""

    training: DatasetConfig
    roles: dict[str, DatasetConfig]
    """Role of the suite -> dataset: truthfulness, coreference, safety, preferences, prompts."""
    lm_eval_tasks: tuple[Name, ...] = ()
    """Names of lm-eval tasks, or YAML files, that fill the role lm_eval_tasks."""
    capability_tasks: tuple[Name, ...] = ()
    """Names of lm-eval tasks, or YAML files, that fill the role capability_tasks: what a model should not unlearn."""
    selection_fraction: Fraction = 0.1
    """Share of the training groups kept for selection rows."""
    selection_limit: Count | None = 500
    """Largest number of selection rows, by whole groups; the groups beyond it are trained on. None keeps them all."""
    report_fraction: Fraction = 0.3
    """Share of groups kept for the report where the same rows are trained on and measured."""
    overlap: Literal["drop", "warn", "fail"] = "drop"
    """Whether training rows that overlap an evaluation set are dropped, only reported, or an error."""
    filters: FiltersConfig = field(default_factory=FiltersConfig)
    max_prompt_tokens: Count = 512
    max_tokens: Count = 1024
    """Largest number of tokens of prompt and response together."""

    @property
    def tasks(self) -> dict[str, tuple[str, ...]]:
        """Role that holds lm-eval tasks -> its tasks."""
        return {"lm_eval_tasks": self.lm_eval_tasks, "capability_tasks": self.capability_tasks}


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Settings of the LoRA adapter."""

    rank: Annotated[int, Ge(1), Le(LARGEST_RANK)] = 16
    alpha: Count = 32
    dropout: Share = 0.05
    target_modules: Literal["all-linear"] | Annotated[tuple[Name, ...], MinLen(1)] = "all-linear"
    """all-linear is every attention and feed-forward projection, not the output head."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Settings of one training run."""

    method: Literal["dpo", "kto", "sft"] = "dpo"
    """dpo learns from pairs, kto from answers labelled good or bad, sft from good answers alone."""
    loss_type: Annotated[tuple[Name, ...], MinLen(1)] = ("sigmoid",)
    """Losses of the method dpo by TRL's names; several are combined with `loss_weights`."""
    loss_weights: tuple[Number, ...] | None = None
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """Share of pairs whose label is assumed to be wrong (method dpo)."""
    beta: Positive = 0.1
    router_aux_loss_coef: NotNegative | None = None
    """Weight of the loss that keeps the experts of a mixture equally busy, which is added to that of the method; None
    takes the model's own. Models without experts have none."""
    learning_rate: Positive = 1e-5
    epochs: Annotated[float, Gt(0), Le(MOST_EPOCHS)] = 1.0
    max_steps: Steps | None = None
    """Number of steps, in place of `epochs`."""
    batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    warmup_fraction: Share = 0.0
    warmup_steps: Steps | None = None
    """Number of warm-up steps, in place of `warmup_fraction`."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    weight_decay: NotNegative = 0.0
    max_gradient_norm: NotNegative = 1.0
    optimizer: Name = "adamw_torch"
    """Optimizer by its name in transformers. Paged and 8-bit ones need a GPU: on a CPU adamw_torch takes their place,
    with a note."""
    engine: Literal["auto", "packed", "trl"] = "auto"
    """packed computes a batch in packs that hold a shared prompt once and no padding, trl as TRL does. auto takes packs
    where they agree with TRL on the first rows."""
    max_tokens_at_once: Annotated[int, Ge(64), Le(LARGEST_COUNT)] | None = None
    """Tokens that the packed engine holds the activations of; what is beyond them is computed again in the backward
    pass. None chooses by the memory that is free at the start."""
    reference: Literal["once", "every_step"] = "once"
    """once scores the training rows under the reference before the first step and keeps the scores; every_step computes
    them in each step, as is done in any case where products are not computed in float32."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """auto turns it on where the activations of a batch would not fit into memory beside the model."""
    eval_steps: Steps | None = None
    """Steps between two measurements of the selection rows; None measures at the start and the end alone."""
    save_steps: Steps | None = None
    """Steps between two checkpoints, from which a killed training goes on; None is a tenth of all steps."""
    report_to: tuple[Literal["wandb", "tensorboard"], ...] = ()
    """Loggers that get every step, in addition to training.jsonl."""


@dataclass(frozen=True, slots=True)
class SftConfig:
    """A first stage of supervised fine-tuning; its adapter is the start and the reference of preference training."""

    data: DatasetConfig
    """Dataset of good answers; of pairs the chosen ones."""
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(method="sft"))


@dataclass(frozen=True, slots=True)
class AnswersConfig:
    """Settings of generated answers, in place of the suite's."""

    limit: Count | None = None
    """Largest number of prompts."""
    max_new_tokens: Count | None = None
    temperature: NotNegative = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0


@dataclass(frozen=True, slots=True)
class ScoringConfig:
    """Bounds on the memory of scoring; None chooses by the memory that the device has free."""

    max_pack_tokens: Annotated[int, Ge(32), Le(LARGEST_COUNT)] | None = None
    """Largest number of tokens in one forward pass."""
    max_logit_mebibytes: Count | None = None
    """Largest size of the logits held at a time, in fp32."""


@dataclass(frozen=True, slots=True)
class PublishedConfig:
    """Published figures, shown beside a run of exactly the same base model."""

    base: Name
    source: str
    """Where the figures were published, and what is unknown about them."""
    figures: dict[Name, dict[Name, Number]]
    """Evaluation -> subject -> response-only cross-entropy in nats per token."""


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """One experiment: base model, data, training, seeds."""

    name: FolderName
    data: DataConfig
    description: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sft: SftConfig | None = None
    sweep: dict[Name, Annotated[tuple[Scalar, ...], MinLen(1)]] = field(default_factory=dict)
    """Key such as training.learning_rate -> its values; every combination is a candidate."""
    seeds: Annotated[int, Ge(1), Le(MOST_VARIANTS)] = 1
    """Number of training seeds of each candidate, counted up from `seed`. Splits and samples depend on `seed` alone."""
    controls: tuple[Literal["sft", "shuffled"], ...] = ()
    """More candidates, trained for the same number of steps: on the chosen answers alone (sft), or on pairs of which a
    random half has its sides swapped (shuffled)."""
    sweep_controls: bool = True
    """Whether every combination of the sweep has controls of its own. False trains them once, with the experiment's own
    values of what is swept, and compares every candidate with them."""
    subjects: tuple[Literal["unquantised"], ...] = ()
    """More subjects: the base model without quantisation."""
    merged: HalfPrecision | None = None
    """Type of the weights of each adapter merged into the unquantised base, measured too; None merges nothing."""
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    published: PublishedConfig | None = None
    seed: Annotated[int, Ge(0), Lt(2**32)] = 42


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """One line of a suite."""

    name: FolderName
    kind: Name
    """Name in the table of kinds (`harness/measuring/kinds.py`)."""
    role: Name
    """Role of the experiment that is measured; `lm_eval_tasks` or `capability_tasks` for the kind lm_eval."""
    limit: Count | None = None
    """Largest number of rows: a seeded sample of whole groups."""
    chat_template: bool = False
    """Whether lm-eval puts prompts into the model's chat template, with model.system_prompt (kind lm_eval)."""
    max_new_tokens: Count = 64
    """Largest number of tokens of an answer (kinds generations and drift)."""
    group: str = ""
    """Group of evaluations that reports show together, such as "capability"."""


@dataclass(frozen=True, slots=True)
class SuiteConfig:
    """A named list of evaluations over roles."""

    name: FolderName
    evaluations: Annotated[tuple[EvaluationConfig, ...], MinLen(1)]
    description: str = ""
    gates: tuple[Gate, ...] = ()
    """The losses that `harness check` allows."""
