"""The peers: lm-eval's own model for transformers, and TRL's `DPOTrainer.evaluate`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch
from outcomes import Outcome
from subjects import Subject, lora_config, lora_parameters

from suites.inputs import Request
from suites.lm_eval.loading import TaskSet
from suites.lm_eval.model import quiet

Sides = Sequence[tuple[str, Request, Request]]
"""Pair, and the requests of its chosen and rejected response."""
Run = Callable[[int], Outcome]
"""Measures every n-th item."""


def run_lm_eval(lm: Any, loaded: TaskSet, stride: int = 1) -> Outcome:
    """Runs the tasks through lm-eval's evaluator: its requests, its metrics."""
    from lm_eval.evaluator import evaluate

    samples = {name: rows[::stride] for name, rows in loaded.sampled.items()}
    with quiet():
        results = evaluate(lm, {"tasks": dict(loaded.tasks)}, samples=samples, bootstrap_iters=0, log_samples=True)
    sums = {
        f"{name}, row {sample['doc_id']}": tuple(float(response[0]) for response in sample["filtered_resps"])
        for name in loaded.tasks
        for sample in results["samples"][name]
    }
    metrics = {
        f"{name} {metric.removesuffix(',none')}": float(value)
        for name in loaded.tasks
        for metric, value in results["results"][name].items()
        if metric.endswith(",none") and "stderr" not in metric
    }
    return Outcome(sums, options=sums, metrics=metrics)


def exact_task_peer(subject: Subject, loaded: TaskSet) -> Run:
    """Returns HFLM with a softmax in float64, which numbers are compared with.

    Its own in float32 is biased: by 2e-6 to 1e-5 nats a token over 49,152 logits on a CPU, more than the engine errs.
    """
    [(_, lm)] = _hflm(subject, [1], logits_cache=True, softmax_dtype="float64")
    return partial(run_lm_eval, lm, loaded)


def exact_pair_peer(subject: Subject, pairs: Sides) -> Run:
    """Returns the same on the ids of pairs."""
    [(_, lm)] = _hflm(subject, [1], logits_cache=True, softmax_dtype="float64")
    return partial(_run_pairs, lm, pairs)


def hflm_task_peers(subject: Subject, loaded: TaskSet, batches: Sequence[int]) -> dict[str, Run]:
    """Returns HFLM at every batch size, which computes equal requests once, and one HFLM that does not."""
    lms = [
        *_hflm(subject, batches, logits_cache=True),
        *_hflm(subject, batches[len(batches) // 2 :][:1], logits_cache=False),
    ]
    return {name: partial(run_lm_eval, lm, loaded) for name, lm in lms}


def hflm_pair_peers(subject: Subject, pairs: Sides, batches: Sequence[int]) -> dict[str, Run]:
    """Returns HFLM on the same ids, through the method that computes all of its log-likelihoods."""
    return {name: partial(_run_pairs, lm, pairs) for name, lm in _hflm(subject, batches, logits_cache=True)}


def _run_pairs(lm: Any, pairs: Sides, stride: int) -> Outcome:
    part = pairs[::stride]
    requests = [(None, [*request.prompt_ids], [*request.response_ids]) for _, *both in part for request in both]
    sums = [total for total, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)]
    return Outcome({pair_id: both for (pair_id, *_), both in zip(part, _in_twos(sums), strict=True)})


def dpo_peers(model: Any, subject: Subject, adapted: Any, pairs: Sides, batches: Sequence[int]) -> dict[str, Run]:
    """Evaluates the adapter of `adapted` on a copy of the model, at every batch size, with the same ids.

    Args:
        model: A copy of the subject's model that may be changed.
        subject: Gives the tokenizer.
        adapted: The PEFT model whose adapter is taken over.
        pairs: What is evaluated.
        batches: Pairs a batch.
    """
    trainer = _dpo_trainer(model, subject, adapted)
    return {f"DPOTrainer.evaluate, batch {batch}": partial(_evaluate, trainer, pairs, batch) for batch in batches}


def reward_outcome(rows: Mapping[str, tuple[float, ...]], accuracy: float) -> Outcome:
    """Makes an outcome of rows of policy chosen, policy rejected, reference chosen, reference rejected, in nats."""
    sums = {f"reward, pair {item}": values for item, values in rows.items()}
    ratios = {
        item: (policy_chosen - reference_chosen, policy_rejected - reference_rejected)
        for item, (policy_chosen, policy_rejected, reference_chosen, reference_rejected) in sums.items()
    }
    return Outcome(sums, options=ratios, metrics={"reward accuracy": accuracy})


def _hflm(
    subject: Subject, batches: Sequence[int], logits_cache: bool, softmax_dtype: str | None = None
) -> list[tuple[str, Any]]:
    """lm-eval's model at every batch size."""
    from lm_eval.models.huggingface import HFLM

    options = {
        "pretrained": subject.model,
        "device": str(subject.model.device),
        "logits_cache": logits_cache,
        "softmax_dtype": softmax_dtype,
    }
    suffix = "" if logits_cache else ", logits cache off"
    with quiet():
        return [
            (f"HFLM, batch {batch}{suffix}", HFLM(**options, tokenizer=deepcopy(subject.tokenizer), batch_size=batch))
            for batch in batches
        ]


def _dpo_trainer(model: Any, subject: Subject, adapted: Any) -> Any:
    """Makes a trainer with a new adapter, so that its reference is the adapter off, then copies `adapted` into it."""
    from datasets import Dataset, disable_progress_bars
    from trl import DPOConfig, DPOTrainer

    disable_progress_bars()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    on_cpu = subject.model.device.type == "cpu"
    with TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=model,
            args=DPOConfig(
                output_dir=folder,
                beta=1.0,  # rewards are then log-ratios
                max_length=None,
                bf16=not on_cpu,
                use_cpu=on_cpu,
                gradient_checkpointing=False,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}]),
            processing_class=deepcopy(subject.tokenizer),
            peft_config=lora_config(),
        )
    assert trainer.ref_model is None
    assert "ref" not in trainer.model.peft_config
    with torch.no_grad():
        for name, parameter in lora_parameters(adapted):
            trainer.model.get_parameter(name).copy_(parameter)
    return trainer


def _evaluate(trainer: Any, pairs: Sides, batch: int, stride: int) -> Outcome:
    """Runs one evaluation; its items are batches, because the trainer reports only means of batches."""
    from datasets import Dataset

    part = pairs[::stride]
    trainer.eval_dataset = Dataset.from_list(
        [
            {
                "prompt_ids": chosen.prompt_ids,
                "chosen_ids": chosen.response_ids,
                "rejected_ids": rejected.response_ids,
            }
            for _, chosen, rejected in part
        ]
    )
    trainer.args.per_device_eval_batch_size = batch
    seen: dict[str, list[float]] = {}
    log, trainer.log = trainer.log, lambda *_args, **_options: seen.update(trainer._metrics["eval"])
    try:
        trainer.evaluate()
    finally:
        trainer.log = log
        trainer._metrics["eval"].clear()
    means = {key: seen[key] for key in ("logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected")}
    starts = range(0, len(part), batch)
    rows = {}
    for start, *values in zip(starts, *means.values(), strict=True):
        policy_chosen, policy_rejected, chosen_ratio, rejected_ratio = values
        names = " + ".join(pair_id for pair_id, *_ in part[start : start + batch])
        rows[names] = (policy_chosen, policy_rejected, policy_chosen - chosen_ratio, policy_rejected - rejected_ratio)
    sizes = [min(batch, len(part) - start) for start in starts]
    won = sum(share * size for share, size in zip(seen["rewards/accuracies"], sizes, strict=True))
    return reward_outcome(rows, won / len(part))


def _in_twos(values: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(values[0::2], values[1::2], strict=True))
