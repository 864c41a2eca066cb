"""Record a training run: a log line per step, statistics of the selection rows, and checks on both."""

import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.allocator import allocator_record
from harness.models.base import LoadedModel
from harness.processes import by_the_first
from harness.training.coverage import coverage_of
from harness.training.packed_step.budget import Budget
from harness.training.recipe import (
    LogLine,
    Progress,
    Recipe,
    TrainingError,
    TrainingRow,
    TrainingStartError,
    requests_of,
)
from harness.training.router import router_weight
from harness.training.selection import ROUNDING_NATS, selection_statistics
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer, ScoreStore
from suites.inputs import Request

if TYPE_CHECKING:
    from peft import PeftModel

_LOGGED = (
    "epoch", "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
    "logps/rejected", "kl", "mean_token_accuracy", "aux_loss", "learning_rate", "grad_norm",
)  # fmt: skip
"""Numbers of the trainer that are copied into the log where its method has them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the policy is compared with, and where its scores are kept."""

    is_started: bool = False
    """Whether the adapter continues from an earlier stage, so that the reference is not the base."""
    cache: ScoreStore | None = None
    context: str = ""
    """Everything but token ids that determines a score of the reference."""


class Recorder:
    """Writes the log of one training run, and stops the run where its numbers are wrong."""

    def __init__(
        self,
        loaded: LoadedModel,
        adapter: "PeftModel",
        selection: Sequence[TrainingRow],
        recipe: Recipe,
        progress: Progress | None = None,
        *,
        say: Callable[[str], object],
        reference: Reference | None = None,
    ) -> None:
        """Takes the base and the adapter that is trained on it; `begin` starts the clock.

        Args:
            loaded: base model.
            adapter: the base with the trained adapter active.
            selection: selection rows of one kind, or none.
            recipe: recipe of the run.
            progress: called with every log line, and with others while rows are scored (see `Progress`).
            say: called with a message when scoring falls back to a slower path or to smaller packs.
            reference: what the policy is compared with; None is the base, whose scores are not kept.
        """
        reference = reference or Reference()
        self.log: list[LogLine] = []
        """Lines of training.jsonl so far."""
        self.reference: list[float] = []
        """Log-probabilities in nats of the selection rows' requests under the reference."""
        self._n_steps = 0
        self._adapter, self._selection, self._recipe, self._progress = adapter, selection, recipe, progress
        self._device, self._is_started = loaded.device, reference.is_started
        exactly = max(1e-4, 2 * recipe.training.beta * ROUNDING_NATS)
        is_exact = (loaded.dtype, loaded.compute_dtype) == ("float32", "float32")
        self._start_tolerance = exactly if is_exact else 0.02
        self.covered = coverage_of(adapter)
        """Modules that the adapter puts weights on."""
        self.router_weight = router_weight(loaded, recipe.training)
        """Weight of the router's loss in the trainer's; None without experts."""
        self._state = ScoringState(plan_for(loaded.base), say)
        self._scorer = ModelScorer(loaded.base, pad_token_id=loaded.pad_token_id, state=self._state)
        self._reference_scorer = ModelScorer(
            loaded.base,
            pad_token_id=loaded.pad_token_id,
            state=self._state,
            cache=reference.cache,
            context=reference.context,
        )
        self.packed_step: tuple[Budget, str] | None = None
        """Tokens at once of the packed engine and what its check found; None for TRL's padded batches."""
        self.scoring: Callable[[], AbstractContextManager[None]] = nullcontext
        """Makes the block in which the model computes as it does when it is measured."""
        self._requests = requests_of(selection)
        self._weights = [weight for weight in adapter.parameters() if weight.requires_grad]

    @property
    def n_tokens(self) -> int:
        """Number of tokens trained on so far, prompts included."""
        return next((line["num_tokens"] for line in reversed(self.log) if "num_tokens" in line), 0)

    def restore(self, log: Sequence[LogLine], reference: Sequence[float]) -> None:
        """Continue the log of an interrupted run; call it before `begin`."""
        self.log, self.reference = list(log), list(reference)

    def begin(self, n_steps: int) -> None:
        """Start the clock; in a new run, score the selection rows with the reference and measure them at step 0."""
        self._n_steps = n_steps
        self._save_steps = self._recipe.training.save_steps or math.ceil(n_steps / 10)
        self._started = time.perf_counter() - (self.log[-1]["seconds"] if self.log else 0.0)
        if not self.log:
            self.reference = by_the_first(lambda: self.reference_scores(self._requests))  # which has the cache
            self._measure_selection(step=0)

    def score_selection_by_reference(self) -> None:
        """Score the selection rows with the reference, as `begin` does, so that they are in the cache."""
        self.reference_scores(self._requests)

    def reference_scores(self, requests: Sequence[Request], n_before: int = 0, n_all: int | None = None) -> list[float]:
        """Return log-probabilities in nats of responses under the reference; call it before the first step.

        The reference is the base, or the adapter as an earlier stage left it.

        Args:
            requests: requests to score now.
            n_before: how many of all were scored before, for the progress that is shown.
            n_all: how many there are in all; None where these are all.
        """
        # The adapter is on again when the block of packs goes on: while it is off, its weights look frozen.
        with self.scoring(), nullcontext() if self._is_started else self._adapter.disable_adapter():
            scores = self._scores_of(requests, self._reference_scorer, n_before, n_all)
        self._state.forget_packs()
        return scores.tolist()  # type: ignore[no-any-return]

    def record_step(self, step: int, logs: LogLine) -> None:
        """Log one step of the trainer, check it, and measure the selection rows every `eval_steps`.

        Raises:
            TrainingError: the loss or a weight is no longer finite.
            TrainingStartError: the first loss is not what it must be where policy and reference are the same.
        """
        line: LogLine = {"kind": "train", "step": step} | {key: logs[key] for key in _LOGGED if key in logs}
        self._append(line | {"num_tokens": int(logs["num_tokens"])})
        loss = float(line["loss"])
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}", step)
        expected = _first_loss(self._recipe, is_started=self._is_started)
        of_method = loss - (self.router_weight or 0.0) * float(line.get("aux_loss", 0.0))
        if step == 1 and expected is not None and abs(of_method - expected) > self._start_tolerance:
            raise TrainingStartError(
                f"the first {self._recipe.training.method.upper()} loss is {of_method:.5f} and must be {expected:.5f} "
                f"within {self._start_tolerance:g}: policy and reference are not the same weights at the start"
            )
        if self._recipe.training.eval_steps is not None and step % self._recipe.training.eval_steps == 0:
            self._measure_selection(step)

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is written after this step; the last step writes the adapter instead."""
        return step % self._save_steps == 0 and step < self._n_steps

    def finish(self, step: int) -> None:
        """Measure the selection rows unless the last step did, and append the summary.

        Raises:
            TrainingError: a weight is no longer finite.
        """
        import torch

        self.check_weights(step)
        if (self.log[-1]["kind"], self.log[-1]["step"]) != ("selection", step):
            self._measure_selection(step)
        n_trainable = sum(weight.numel() for weight in self._weights)
        summary = {"kind": "summary", "step": step, "num_tokens": self.n_tokens, "trainable_parameters": n_trainable}
        of_model: LogLine = {"modules": self.covered.adapted, "untouched_modules": self.covered.untouched}
        if self.router_weight is not None:
            of_model |= {"router_aux_loss_coef": self.router_weight}
        if self.packed_step is not None:
            budget, check = self.packed_step
            of_model |= {"max_tokens_at_once": budget.max_tokens, "packed_step_check": check}
        self._append(summary | of_model | {"n_threads": torch.get_num_threads(), "allocator": allocator_record()})

    def check_weights(self, step: int) -> None:
        """Check that all weights are finite; the loss of the step that broke them does not show it yet.

        Raises:
            TrainingError: a weight is infinite or NaN.
        """
        if not all(bool(weight.isfinite().all()) for weight in self._weights):
            raise self._diverged("the adapter's weights became infinite or NaN", step)

    def _diverged(self, what: str, step: int) -> TrainingError:
        recipe = self._recipe.training
        return TrainingError(
            f"training.learning_rate: {what} at step {step} of {self._n_steps}; lower it from "
            f"{recipe.learning_rate:g}, or raise training.warmup_fraction"
        )

    def _measure_selection(self, step: int) -> None:
        if self._requests:
            self.check_weights(step)
            beta = self._recipe.training.beta
            with self.scoring():
                policy = self._scores_of(self._requests, self._scorer)
            statistics = selection_statistics(self._selection, policy, np.array(self.reference), beta)
            self._append({"kind": "selection", "step": step, **statistics})

    def _scores_of(
        self, requests: Sequence[Request], scorer: ModelScorer, n_before: int = 0, n_all: int | None = None
    ) -> NDArray[np.float64]:
        """Return log-probabilities in nats of responses, shape (n_requests,)."""
        step = self.log[-1]["step"] if self.log else 0

        def show(n_scored: int) -> None:
            if self._progress is not None:
                kind = "reference" if scorer is self._reference_scorer else "scoring"
                line = {"kind": kind, "n_scored": n_before + n_scored, "n_requests": n_all or len(requests)}
                self._progress(step, self._n_steps, line)

        scores = scorer.score(requests, show)
        return np.array([score.log_probability for score in scores], dtype=np.float64)

    def _append(self, line: LogLine) -> None:
        line["seconds"] = round(time.perf_counter() - self._started, 3)
        line["peak_memory_bytes"] = peak_memory_bytes(self._device)
        self.log.append(line)
        if self._progress is not None:
            self._progress(line["step"], self._n_steps, line)


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory so far in bytes: torch's on all GPUs together, the whole process's on a CPU."""
    import torch

    if device == "cuda":
        return sum(torch.cuda.max_memory_allocated(gpu) for gpu in range(torch.cuda.device_count()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def _first_loss(recipe: Recipe, *, is_started: bool) -> float | None:
    """Return the loss where policy and reference are the same weights, or None where it is not a known constant.

    It is unknown for an adapter that continues from an earlier stage with dropout, which moves the policy alone. A new
    adapter adds 0, so dropout does not change it.
    """
    training = recipe.training
    if is_started and recipe.lora.dropout > 0:
        return None
    if training.method == "kto":
        return 0.5  # 1 - sigmoid(0)
    is_sigmoid = training.loss_type == ("sigmoid",) and training.loss_weights is None
    return math.log(2) if training.method == "dpo" and is_sigmoid else None
