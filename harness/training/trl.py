"""TRL's trainers over our token ids, every setting in words of its own, their state kept in our checkpoints."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config.schema import LoraConfig, TrainingConfig
from harness.models.adapters import read_adapter_config
from harness.models.base import LoadedModel
from harness.training.checkpoints import write_checkpoint
from harness.training.recipe import (
    RatedRequest,
    Recipe,
    Row,
    TrainingError,
    TrainingRow,
    peak_memory_bytes,
    requests_of,
)
from harness.training.recorder import Recorder
from suites.engine.plan import free_bytes
from suites.inputs import Request

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import Trainer, TrainingArguments

LOSS_TYPES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
"""Of TRL's DPOTrainer."""
SMOOTHED_LOSS_TYPES = ("exo_pair", "robust", "aot", "aot_unpaired")
"""Those that take label smoothing."""
_ADAMW_FOR_GPUS = ("paged_adamw_32bit", "paged_adamw_8bit", "adamw_8bit", "adamw_bnb_8bit", "adamw_torch_8bit")
POLICY, REFERENCE = "default", "ref"
"""PEFT's names of the trained adapter and of the frozen copy of what it started from, which TRL expects."""
RECORDER_FILE = "recorder.json"
_UNLABELLED = -100


def usable_recipe(recipe: Recipe, device: str) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe as it is run on a device, and a line about what was replaced.

    bitsandbytes 0.50 computes the forms of AdamW that save GPU memory on a CPU as well, 1.5 to 7 times slower: the
    paged one does not page there and equals torch's to rounding, the one of 8 bits is coarser for nothing.
    """
    optimizer = recipe.training.optimizer
    if device != "cpu" or optimizer not in _ADAMW_FOR_GPUS:
        return recipe, ()
    note = f"training.optimizer {optimizer} saves GPU memory; on this CPU the adapter is trained with adamw_torch."
    return replace(recipe, training=replace(recipe.training, optimizer="adamw_torch")), (note,)


def activation_bytes(n_layers: int, n_sequences: int, n_tokens: int, hidden_size: int, bytes_per_value: int) -> int:
    """Memory that one batch's activations take for the backward pass without gradient checkpointing.

    17 values a layer, token and hidden unit, the attention matrix not kept (s b h x 34 bytes in 16 bits, section 4.1 of
    https://arxiv.org/abs/2205.05198).
    """
    return 17 * bytes_per_value * n_layers * n_sequences * n_tokens * hidden_size


@dataclass(frozen=True, slots=True)
class TrainerInputs:
    """What a trainer is made of."""

    loaded: LoadedModel
    rows: Sequence[TrainingRow]
    recipe: Recipe
    is_started: bool
    """Whether the adapter comes from a stage before (`load_start`)."""


def make_trainer(inputs: TrainerInputs, folder: Path) -> "Trainer":
    """TRL's trainer of the recipe's method, its adapter on the base.

    Args:
        inputs: what it trains.
        folder: for its loggers; nothing else is written there.

    Raises:
        TrainingError: PEFT, TRL or transformers refuse a setting, such as target modules that the model does not have.
    """
    import peft
    import torch
    from transformers import PrinterCallback

    loaded, recipe = inputs.loaded, inputs.recipe
    adapter = _lora(loaded, recipe.lora)
    try:
        # For TRL the reference of a new adapter is the model without it, that of one which is there a frozen copy.
        trainer: Trainer = _trainer_class(recipe.training.method)(
            model=peft.get_peft_model(loaded.base, adapter) if inputs.is_started else loaded.base,
            peft_config=None if inputs.is_started else adapter,
            args=_arguments(inputs, folder),
            train_dataset=_dataset(inputs),
            processing_class=loaded.tokenizer,
        )
        trainer.create_optimizer()
    except (ValueError, NotImplementedError, ImportError) as error:
        raise TrainingError(f"lora, training: {str(error).strip().splitlines()[0]}") from error
    trainer.remove_callback(PrinterCallback)
    trainer.model.peft_config[POLICY].base_model_name_or_path = loaded.name
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            # TRL casts an adapter on 4-bit weights to bfloat16, which loses updates under 1/256 of a weight.
            weight.data = weight.data.to(torch.float32)
    return trainer


def check_start(start: Path, lora: LoraConfig) -> None:
    """Refuse to go on from an adapter of another shape.

    Raises:
        TrainingError: rank or alpha differ.
    """
    config = read_adapter_config(start)
    shape = (config.get("r"), config.get("lora_alpha"))
    if shape != (lora.rank, lora.alpha):
        raise TrainingError(
            f"lora: rank {lora.rank} and alpha {lora.alpha} are not those of the adapter that training starts from "
            f"({shape[0]} and {shape[1]}); both stages share one adapter"
        )


def load_start(model: "PeftModel", start: Path, device: str) -> None:
    """Give the adapter, and its frozen copy where there is one, the weights of a stage before.

    Raises:
        TrainingError: they are those of an adapter of another shape.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    for name in model.peft_config:
        try:
            report = model.load_adapter(str(start), name, is_trainable=name == POLICY, torch_device=device)
            unfit = [*report.missing_keys, *report.unexpected_keys]
        except RuntimeError as error:
            unfit = [str(error).strip().splitlines()[-1].strip()]
        if unfit:
            raise TrainingError(
                f"lora.target_modules: they are not those of the adapter that training starts from ({unfit[0]}); both "
                f"stages share one adapter"
            )
    for module in model.modules():
        if isinstance(module, LoraLayer) and REFERENCE in module.lora_dropout:
            module.lora_dropout[REFERENCE] = torch.nn.Identity()  # a reference is without noise


def attach_recorder(trainer: "Trainer", recorder: Recorder, checkpoints: Path) -> None:
    """Have the trainer tell the recorder of every step, and keep both their states in checkpoints."""
    from transformers import TrainerCallback

    class RecorderCallback(TrainerCallback):  # type: ignore[misc]
        """Hands on begin, every step and end."""

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
            recorder.begin(state.max_steps)

        def on_log(self, _args: Any, state: Any, control: Any, logs: Row, **_: object) -> None:
            if "loss" in logs:  # the closing log has none
                recorder.record_step(state.global_step, logs)
                control.should_save = recorder.is_due(state.global_step)

        def on_train_end(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
            recorder.finish(state.global_step)

    def keep() -> None:
        step = trainer.state.global_step
        recorder.check_weights(step)
        write_checkpoint(checkpoints, step, fill)

    def fill(folder: Path) -> None:
        import torch

        # The parts of the trainer's own checkpoint; as a whole it is not complete at once, and holds pickled settings.
        save_adapter(trainer.model, folder)
        trainer._save_optimizer_and_scheduler(str(folder))  # noqa: SLF001 - there is no public way
        trainer._save_scaler(str(folder))  # noqa: SLF001
        trainer._save_rng_state(str(folder))  # noqa: SLF001
        trainer.state.save_to_json(str(folder / "trainer_state.json"))
        state = {"n_threads": torch.get_num_threads(), "reference": recorder.reference, "rows": recorder.rows}
        (folder / RECORDER_FILE).write_text(json.dumps(state), encoding="utf-8")

    trainer.keep_checkpoint = keep
    trainer.add_callback(RecorderCallback())


def restore(trainer: "Trainer", recorder: Recorder, checkpoint: Path) -> None:
    """Give the recorder, and what a trainer does not restore itself, the state of a checkpoint."""
    import torch

    state = json.loads((checkpoint / RECORDER_FILE).read_text(encoding="utf-8"))
    recorder.restore(state["rows"], state["reference"])
    trainer._total_train_tokens = recorder.n_tokens  # noqa: SLF001 - TRL counts from 0 again
    torch.set_num_threads(state["n_threads"])  # sums over more or fewer threads end on other last bits


def save_adapter(model: "PeftModel", folder: Path) -> None:
    """PEFT's files of the trained adapter, without the frozen copy that may lie beside it."""
    model.save_pretrained(str(folder), selected_adapters=[POLICY], save_embedding_layers=False)


def _trainer_class(method: str) -> Callable[..., Any]:
    """TRL's trainer of a method, changed to take token ids as they are and to keep checkpoints in our way."""
    import trl

    base = {"dpo": trl.DPOTrainer, "kto": trl.KTOTrainer, "sft": trl.SFTTrainer}[method]

    class EncodedTrainer(base):  # type: ignore[misc, valid-type]
        """Trains on what our encoder made, so that training and evaluation share it; and tells nobody."""

        keep_checkpoint: Callable[[], None]

        def _prepare_dataset(self, dataset: "Dataset", *_: object) -> "Dataset":
            return dataset

        def _send_telemetry(self) -> None:
            """Nothing leaves this machine that the configuration does not name."""

        def _save_checkpoint(self, *_: object) -> None:
            self.keep_checkpoint()

        def log(self, logs: Row, start_time: float | None = None) -> None:
            """Also shows the loggers how much memory it took."""
            if "loss" in logs:
                logs["peak_memory_bytes"] = peak_memory_bytes(self.args.device.type)
            super().log(logs, start_time)

    return EncodedTrainer


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
    """Every setting of the run, because several of TRL's defaults differ from transformers'."""
    loaded, recipe, run = inputs.loaded, inputs.recipe, inputs.recipe.training
    config_class, options = _method_options(run)
    arguments: TrainingArguments = config_class(
        **options,
        output_dir=str(folder),
        learning_rate=run.learning_rate,
        lr_scheduler_type=run.scheduler,
        warmup_steps=run.warmup_fraction if run.warmup_steps is None else run.warmup_steps,
        num_train_epochs=run.epochs,
        max_steps=-1 if run.max_steps is None else run.max_steps,
        per_device_train_batch_size=run.batch_size,
        gradient_accumulation_steps=run.gradient_accumulation_steps,
        optim=run.optimizer,
        weight_decay=run.weight_decay,
        max_grad_norm=run.max_gradient_norm,
        gradient_checkpointing=_recomputes_activations(inputs),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_length=None,  # the encoder has truncated
        use_cpu=loaded.device == "cpu",
        bf16=False,  # the weights' own dtype is the compute dtype, in training as in measuring
        fp16=loaded.dtype == "float16" and loaded.device == "cuda",  # for its loss scaling
        logging_steps=1,
        logging_nan_inf_filter=False,  # which would show the last finite loss in place of NaN
        eval_strategy="no",
        save_strategy="no",  # the recorder says when
        report_to=list(run.report_to) or "none",
        run_name=folder.name,
        disable_tqdm=True,
    )
    if loaded.device == "cuda":
        arguments._n_gpu = 1  # noqa: SLF001 - one model on one GPU, however many there are
    return arguments


def _method_options(run: TrainingConfig) -> tuple[Callable[..., Any], dict[str, Any]]:
    """TRL's configuration class of a method, and the settings that it alone has.

    The base has no dropout, and the adapter's is the recipe's: TRL is not to switch it off.
    """
    import trl

    match run.method:
        case "dpo":
            weights = None if run.loss_weights is None else list(run.loss_weights)
            losses = {"loss_type": list(run.loss_type), "loss_weights": weights, "label_smoothing": run.label_smoothing}
            return trl.DPOConfig, losses | {"beta": run.beta, "disable_dropout": False}
        case "kto":
            fixed_order = {"train_sampling_strategy": "sequential"}  # `_rated_columns` has shuffled and paired them
            return trl.KTOConfig, fixed_order | {"loss_type": "kto", "beta": run.beta, "disable_dropout": False}
        case "sft":
            return trl.SFTConfig, {"packing": False}


def _recomputes_activations(inputs: TrainerInputs) -> bool:
    """Whether activations are computed twice instead of kept: where one batch's would fill half of what is free."""
    loaded, run = inputs.loaded, inputs.recipe.training
    if run.gradient_checkpointing != "auto":
        return run.gradient_checkpointing == "on"
    config = loaded.base.config.get_text_config()
    needed_bytes = activation_bytes(
        config.num_hidden_layers,
        run.batch_size * (2 if run.method == "dpo" else 1),
        max(request.n_inputs + 1 for request in requests_of(inputs.rows)),
        config.hidden_size,
        bytes_per_value=4 if loaded.dtype == "float32" else 2,
    )
    return needed_bytes > free_bytes(loaded.device) / 2


def _dataset(inputs: TrainerInputs) -> "Dataset":
    """Rows in the columns that the method's collator reads, token ids as they are."""
    from datasets import Dataset

    requests = requests_of(inputs.rows)
    match inputs.recipe.training.method:
        case "dpo":
            columns = {
                "prompt_ids": [list(chosen.prompt_ids) for chosen in requests[::2]],
                "chosen_ids": [list(chosen.response_ids) for chosen in requests[::2]],
                "rejected_ids": [list(rejected.response_ids) for rejected in requests[1::2]],
            }
        case "kto":
            rated = [row for row in inputs.rows if isinstance(row, RatedRequest)]
            columns = _rated_columns(rated, inputs.recipe.training.batch_size, inputs.recipe.seed)
        case "sft":
            columns = _labelled_columns(requests)
    return Dataset.from_dict(columns)


def _labelled_columns(requests: Sequence[Request]) -> dict[str, list[Any]]:
    """Columns of TRL's SFTTrainer: the response tokens alone are learnt."""
    return {
        "input_ids": [[*request.prompt_ids, *request.response_ids] for request in requests],
        "labels": [[_UNLABELLED] * len(request.prompt_ids) + [*request.response_ids] for request in requests],
    }


def _rated_columns(rows: Sequence[RatedRequest], batch_size: int, seed: int) -> dict[str, list[Any]]:
    """Columns of TRL's KTOTrainer, in an order that the seed gives, the same in every epoch.

    KTO compares every implicit reward with a reference point, the KL divergence of the policy from the reference on
    answers that do not belong to their prompts. TRL makes these of the answers of one batch, each moved on to the next
    prompt and the last one to the first, and so needs a fixed order. Good and bad answers both weigh 1, TRL's default:
    where there are more of one kind, that kind counts for more.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = [rows[index] for index in order]
    answers = [list(row.request.response_ids) for row in shuffled]
    batches = [answers[first : first + batch_size] for first in range(0, len(answers), batch_size)]
    return {
        "prompt_ids": [list(row.request.prompt_ids) for row in shuffled],
        "completion_ids": answers,
        "KL_completion_ids": [answer for batch in batches for answer in [batch[-1], *batch[:-1]]],
        "label": [row.is_good for row in shuffled],
    }
