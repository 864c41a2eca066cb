"""TRL's trainers on the project's token ids: every setting passed explicitly, checkpoints in the project's own form."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import LoraConfig, TrainingConfig
from harness.models.adapter_files.config import read_adapter_config
from harness.models.base import LoadedModel
from harness.processes import ranks
from harness.training.packed_step.budget import LOWEST_TOKENS_AT_ONCE
from harness.training.packed_step.forward import sums_dtype
from harness.training.recipe import LogLine, Recipe, TrainingError, TrainingRow, has_router
from harness.training.recorder import peak_memory_bytes
from harness.training.resumable import POLICY, ResumableMixin, mixed_into
from harness.training.router import router_weight
from harness.training.selection import ROUNDING_NATS
from harness.training.shares import rows_at_once, share_batches
from harness.training.token_table import table_of
from harness.training.trainer_columns import labelled_columns, pair_columns, rated_columns
from reports.errors import first_line, last_line
from suites.engine.causal_model import max_positions
from suites.engine.memory import free_bytes

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from torch.utils.data import DataLoader
    from transformers import TrainingArguments

LOSS_TYPES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
"""Losses of TRL's DPOTrainer."""
SMOOTHED_LOSS_TYPES = ("exo_pair", "robust", "aot", "aot_unpaired")
"""Losses that use label smoothing."""
REFERENCE = "ref"
"""PEFT's name of the frozen copy of an adapter's start, as TRL expects it."""
VALUES_A_LAYER = 17
"""Values that a layer keeps for the backward pass, per token and hidden unit, its input among them, where the attention
matrix is not stored (s b h x 34 bytes in 16 bits, section 4.1 of https://arxiv.org/abs/2205.05198)."""


@dataclass(frozen=True, slots=True)
class TrainerInputs:
    """Everything that a trainer is made from."""

    loaded: LoadedModel
    rows: Sequence[TrainingRow]
    recipe: Recipe
    is_started: bool
    """Whether the adapter continues from an earlier stage (`load_start`)."""


class HarnessTrainerMixin(ResumableMixin):
    """Changes a trainer of TRL to take token ids as they are, to report to a recorder and to write our checkpoints.

    It stands before the TRL class among the bases. Everything that TRL and transformers keep private and this project
    uses is used in this class, in its base and nowhere else; `tests/harness/training` fails where a new release renames
    any of it.
    """

    train_dataset: "Dataset"
    data_collator: Callable[[list[dict[str, Any]]], dict[str, Any]]
    beta: float

    def __init__(self, *, args: "TrainingArguments", **options: Any) -> None:
        """Keeps a model on one GPU however many there are; transformers would copy it to all of them."""
        if args.n_gpu > 1:
            args._n_gpu = 1  # noqa: SLF001 - the public property has no setter
        super().__init__(args=args, **options)

    def log(self, logs: LogLine, start_time: float | None = None) -> None:
        """Log a step with its peak memory, so that the loggers show it too, and with ties that count half."""
        if "loss" in logs:
            logs["peak_memory_bytes"] = peak_memory_bytes(self.args.device.type)
            self._count_ties()
        super().log(logs, start_time)

    def _count_ties(self) -> None:
        """Count half of the pairs as preferred in a batch of ties, as every batch is before the first update.

        TRL counts a tie as lost, and by chance where the reference was scored in other packs, which round otherwise. A
        batch whose mean margin is no more than that is one of ties.
        """
        batches = self._metrics["train"]
        if "rewards/accuracies" in batches:  # which DPO alone has
            pairs = zip(batches["rewards/accuracies"], batches["rewards/margins"], strict=True)
            ties = self.beta * ROUNDING_NATS
            batches["rewards/accuracies"] = [0.5 if abs(margin) <= ties else accuracy for accuracy, margin in pairs]

    def give_reference(self, columns: "Mapping[str, NDArray[np.float64]]") -> None:
        """Take the reference's log-probabilities from columns of the rows, in place of computing them in each step.

        TRL's own setting would hash the model and compute them in a pass of its own. Its collator rounds them to fp32,
        in which packs do not add theirs up.
        """
        import torch

        for name, values in columns.items():
            self.train_dataset = self.train_dataset.add_column(name, values)
        if self.recorder.packed_step is not None:
            own, dtype = self.data_collator, sums_dtype(self.args.device)

            def collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
                return own(rows) | {name: torch.tensor([row[name] for row in rows], dtype=dtype) for name in columns}

            self.data_collator = collated
        self.precompute_ref_logps = True

    def get_train_dataloader(self) -> "DataLoader[Any]":
        """Return the loader of this process's part of each batch."""
        loader: DataLoader[Any] = super().get_train_dataloader()
        if self.args.world_size > 1:
            share_batches(loader.batch_sampler, self.args.world_size, self.args.process_index)
        return loader

    def rows_seen(self, n_steps: int) -> "NDArray[np.int64] | None":
        """Return the places of the rows that so many steps see in all processes, ascending; None where that is all."""
        batches: Any = self.get_train_dataloader().batch_sampler
        n_seen, n_batches = n_steps * self.args.gradient_accumulation_steps, len(batches)
        whole = batches.batch_sampler.whole() if self.args.world_size > 1 else batches
        return None if n_seen >= n_batches else np.unique(np.concatenate(list(islice(whole, n_seen))))

    def without_casts(self) -> AbstractContextManager[None]:
        """Keep PEFT from casting inputs to float32 where autocast rounds a copy of LoRA's weights instead."""
        from peft.helpers import disable_input_dtype_casting

        block: AbstractContextManager[None]
        block = disable_input_dtype_casting(self.model, active=self.args.bf16 or self.args.fp16)
        return block

    def training_step(self, *arguments: Any, **options: Any) -> "torch.Tensor":
        """Take a step in the types of autocast, which the model's own forward turns on."""
        with self.without_casts():
            return super().training_step(*arguments, **options)

    def _prepare_dataset(self, dataset: "Dataset", *_: object) -> "Dataset":
        """Return the dataset as it is; TRL would render and tokenise it."""
        return dataset

    def _send_telemetry(self) -> None:
        """Send nothing; TRL would report its use to the hub."""


def make_trainer(inputs: TrainerInputs, folder: Path) -> HarnessTrainerMixin:
    """Return TRL's trainer of the recipe's method with the adapter put on the base.

    Args:
        inputs: model, rows and recipe.
        folder: where loggers write; the trainer itself writes nothing there.

    Raises:
        TrainingError: PEFT, TRL or transformers refuse a setting, such as target modules that the model lacks.
    """
    import peft
    import torch
    import trl
    from transformers import PrinterCallback

    loaded, recipe = inputs.loaded, inputs.recipe
    adapter = _lora(loaded, recipe.lora)
    trainer_class = {"dpo": trl.DPOTrainer, "kto": trl.KTOTrainer, "sft": trl.SFTTrainer}[recipe.training.method]
    try:
        with warnings.catch_warnings():
            # PEFT doubles the rank of experts' weights that are two matrices in one, and then looks for their old name.
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
            # TRL's reference is the model without the adapter if TRL adds it, and a frozen copy of it if it is there.
            trainer: HarnessTrainerMixin = mixed_into(HarnessTrainerMixin, trainer_class)(
                model=peft.get_peft_model(loaded.base, adapter) if inputs.is_started else loaded.base,
                peft_config=None if inputs.is_started else adapter,
                args=_arguments(inputs, folder),
                train_dataset=_dataset(inputs),
                processing_class=loaded.tokenizer,
            )
        trainer.create_optimizer()
    except (ValueError, NotImplementedError, ImportError) as error:
        raise TrainingError(_refused(error, recipe)) from error
    trainer.remove_callback(PrinterCallback)
    trainer.model.peft_config[POLICY].base_model_name_or_path = loaded.name
    trainer.model.peft_config[POLICY].revision = loaded.revision
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            # TRL casts an adapter on 4-bit weights to bfloat16, which loses updates under 1/256 of a weight.
            weight.data = weight.data.to(torch.float32)
    if not ranks().is_first:
        torch.manual_seed(recipe.seed + ranks().index)  # or all would drop out the same values of their rows
    return trainer


def _refused(error: Exception, recipe: Recipe) -> str:
    """Return why a library refuses a recipe, in the words of the configuration where it is known."""
    if "ParamWrapper" in str(error) and "dropout" in str(error):
        return (
            f"lora.dropout: must be 0 where the adapter lies on experts, whose weights are several matrices in one, "
            f"got {recipe.lora.dropout:g}; or name other modules as lora.target_modules"
        )
    return f"lora, training: {first_line(error)}"


def check_start(start: Path, lora: LoraConfig) -> None:
    """Check that the adapter of an earlier stage has the shape that the recipe asks for.

    Raises:
        TrainingError: rank or alpha differ.
    """
    config = read_adapter_config(start)
    shape = (config.r, config.lora_alpha)
    if shape != (lora.rank, lora.alpha):
        raise TrainingError(
            f"lora: rank {lora.rank} and alpha {lora.alpha} are not those of the adapter that training starts from "
            f"({shape[0]} and {shape[1]:g}); both stages share one adapter"
        )


def load_start(model: "PeftModel", start: Path, device: str) -> None:
    """Load the weights of an earlier stage into the adapter, and into its frozen copy where there is one.

    Raises:
        TrainingError: the earlier adapter has other target modules.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    for name in model.peft_config:
        try:
            report = model.load_adapter(str(start), name, is_trainable=name == POLICY, torch_device=device)
            unfit = [*report.missing_keys, *report.unexpected_keys]
        except RuntimeError as error:
            unfit = [last_line(error)]
        if unfit:
            raise TrainingError(
                f"lora.target_modules: they are not those of the adapter that training starts from ({unfit[0]}); both "
                f"stages share one adapter"
            )
    for module in model.modules():
        if isinstance(module, LoraLayer) and REFERENCE in module.lora_dropout:
            module.lora_dropout[REFERENCE] = torch.nn.Identity()  # a reference is without noise


def _lora(loaded: LoadedModel, lora: LoraConfig) -> Any:
    import peft
    from transformers.pytorch_utils import Conv1D

    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in loaded.base.modules()),
    )


def _arguments(inputs: TrainerInputs, folder: Path) -> "TrainingArguments":
    """Return TRL's configuration with every setting given, because several of its defaults are not transformers'."""
    loaded, recipe, run = inputs.loaded, inputs.recipe, inputs.recipe.training
    config_class, options = _method_options(run)
    arguments: TrainingArguments = config_class(
        **options,
        router_aux_loss_coef=router_weight(loaded, run),
        output_dir=str(folder),
        learning_rate=run.learning_rate,
        lr_scheduler_type=run.scheduler,
        warmup_steps=run.warmup_fraction if run.warmup_steps is None else run.warmup_steps,
        num_train_epochs=run.epochs,
        max_steps=-1 if run.max_steps is None else run.max_steps,
        per_device_train_batch_size=rows_at_once(run, ranks().n),
        ddp_find_unused_parameters=has_router(loaded),  # a batch may leave experts out, and nothing else
        gradient_accumulation_steps=run.gradient_accumulation_steps,
        optim=run.optimizer,
        weight_decay=run.weight_decay,
        max_grad_norm=run.max_gradient_norm,
        gradient_checkpointing=recomputes_activations(inputs),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_length=None,  # the encoder has truncated
        use_cpu=loaded.device == "cpu",
        bf16=loaded.dtype == "bfloat16" and loaded.device != "mps",  # autocast, of an adapter's weights alone
        fp16=loaded.dtype == "float16" and loaded.device == "cuda",  # the same, with loss scaling
        logging_steps=1,
        logging_nan_inf_filter=False,  # which would show the last finite loss in place of NaN
        eval_strategy="no",
        save_strategy="no",  # the recorder says when
        report_to=list(run.report_to) or "none",
        run_name=folder.name,
        disable_tqdm=True,
    )
    return arguments


def _method_options(run: TrainingConfig) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return TRL's configuration class of a method, and the settings that only this method has.

    TRL must not switch dropout off: the base has none (`load_model`), and the recipe sets the adapter's.
    """
    import trl

    match run.method:
        case "dpo":
            weights = None if run.loss_weights is None else list(run.loss_weights)
            losses = {"loss_type": list(run.loss_type), "loss_weights": weights, "label_smoothing": run.label_smoothing}
            return trl.DPOConfig, losses | {"beta": run.beta, "disable_dropout": False}
        case "kto":
            fixed_order = {"train_sampling_strategy": "sequential"}  # `rated_columns` has shuffled and paired them
            return trl.KTOConfig, fixed_order | {"loss_type": "kto", "beta": run.beta, "disable_dropout": False}
        case "sft":
            return trl.SFTConfig, {"packing": False}


def activation_bytes(n_layers: int, n_tokens: int, hidden_size: int, bytes_per_value: int) -> int:
    """Return the bytes that so many tokens' activations take for the backward pass without gradient checkpointing."""
    return VALUES_A_LAYER * bytes_per_value * n_layers * n_tokens * hidden_size


def bytes_per_value(loaded: LoadedModel) -> int:
    """Return the bytes of one value of a model's activations."""
    return 4 if loaded.dtype == "float32" else 2


def longest_row_tokens(inputs: TrainerInputs) -> int:
    """Return the tokens of the longest row of a padded batch: of a pair both sides, each with the prompt."""
    n_sides = 2 if inputs.recipe.training.method == "dpo" else 1
    return n_sides * table_of(inputs.rows).longest


def recomputes_activations(inputs: TrainerInputs) -> bool:
    """Return whether to checkpoint gradients: "auto" does where a batch's activations need half of the free memory.

    The packed engine holds a part of a batch at a time, so there it is what cannot be divided: the longest row.
    """
    loaded, run = inputs.loaded, inputs.recipe.training
    if run.gradient_checkpointing != "auto":
        return run.gradient_checkpointing == "on"
    n_rows = 1 if run.engine == "packed" else rows_at_once(run, ranks().n)
    return _activation_bytes(loaded, n_rows * longest_row_tokens(inputs)) > free_bytes(loaded.device, loaded.gpus) / 2


def tokens_at_once(inputs: TrainerInputs) -> int:
    """Return how many tokens the packed engine holds the activations of: the recipe's number, or half of the memory."""
    loaded, run = inputs.loaded, inputs.recipe.training
    if run.max_tokens_at_once is not None:
        return run.max_tokens_at_once
    n_bytes = _activation_bytes(loaded, 1)
    if recomputes_activations(inputs):  # each layer's input alone is kept
        n_bytes //= VALUES_A_LAYER
    return max(LOWEST_TOKENS_AT_ONCE, int(free_bytes(loaded.device, loaded.gpus) / 2) // n_bytes)


def _activation_bytes(loaded: LoadedModel, n_tokens: int) -> int:
    config = loaded.base.config.get_text_config()
    return activation_bytes(config.num_hidden_layers, n_tokens, config.hidden_size, bytes_per_value(loaded))


def _dataset(inputs: TrainerInputs) -> "Dataset":
    """Return the rows in the columns that the method's collator reads, token ids unchanged."""
    from datasets import Dataset

    rows, recipe = table_of(inputs.rows), inputs.recipe
    match recipe.training.method:
        case "dpo":
            table = pair_columns(rows)
        case "kto":
            n_positions = max_positions(inputs.loaded.base.config)
            table = rated_columns(rows, recipe.training.batch_size, recipe.seed, n_positions)
        case "sft":
            table = labelled_columns(rows)
    # Without a fingerprint of ours the library would hash a copy of all rows.
    return Dataset(table, fingerprint=rows.content)
