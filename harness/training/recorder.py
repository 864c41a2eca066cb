"""What a training run writes down: a row a step, statistics of the selection rows, and checks on both."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.models.base import LoadedModel
from harness.training.recipe import (
    Progress,
    Recipe,
    Row,
    TrainingError,
    TrainingRow,
    TrainingStartError,
    peak_memory_bytes,
    requests_of,
    selection_statistics,
)
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer

if TYPE_CHECKING:
    from peft import PeftModel

_KEPT = (
    "epoch", "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
    "logps/rejected", "kl", "mean_token_accuracy", "learning_rate", "grad_norm",
)  # fmt: skip
"""Of the trainer's own numbers, those that its method has."""


class Recorder:
    """Keeps the rows of one run and watches them."""

    def __init__(
        self,
        loaded: LoadedModel,
        adapter: "PeftModel",
        selection: Sequence[TrainingRow],
        recipe: Recipe,
        progress: Progress | None = None,
        *,
        say: Callable[[str], object],
        is_started: bool = False,
    ) -> None:
        """Takes the model with the adapter that is trained on it; `begin` starts the clock.

        Args:
            loaded: the base.
            adapter: the trained one is its active one.
            selection: rows of one kind, or none.
            recipe: adapter, run and seed.
            progress: told of every row, and how many selection rows are scored: a row of kind "scoring".
            say: takes a line for the user when scoring falls back to a slower path or smaller packs.
            is_started: whether the adapter comes from a stage before, so that the reference is not the base.
        """
        self.rows: list[Row] = []
        self.reference: list[float] = []
        """Log-probabilities in nats of `requests_of` the selection rows, before the first step."""
        self._adapter, self._selection, self._recipe, self._progress = adapter, selection, recipe, progress
        self._device, self._is_started = loaded.device, is_started
        self._start_tolerance = 1e-4 if (loaded.dtype, loaded.compute_dtype) == ("float32", "float32") else 0.02
        state = ScoringState(plan_for(loaded.base), say)
        self._scorer = ModelScorer(loaded.base, pad_token_id=loaded.pad_token_id, state=state)
        self._requests = requests_of(selection)
        self._weights = [weight for weight in adapter.parameters() if weight.requires_grad]

    @property
    def n_tokens(self) -> int:
        """Tokens that were trained on so far, prompts included."""
        return next((row["num_tokens"] for row in reversed(self.rows) if "num_tokens" in row), 0)

    def restore(self, rows: Sequence[Row], reference: Sequence[float]) -> None:
        """Go on from the rows of a run that was cut off; to be called before `begin`."""
        self.rows, self.reference = list(rows), list(reference)

    def begin(self, n_steps: int) -> None:
        """Score the selection rows with the reference, once, and measure them before the first step."""
        self._n_steps = n_steps
        self._save_steps = self._recipe.training.save_steps or math.ceil(n_steps / 10)
        self._started = time.perf_counter() - (self.rows[-1]["seconds"] if self.rows else 0.0)
        if not self.rows:
            with nullcontext() if self._is_started else self._adapter.disable_adapter():
                self.reference = self._score().tolist()
            self._measure_selection(step=0)

    def record_step(self, step: int, logs: Row) -> None:
        """Keep one step of the trainer, check it, and measure the selection rows where it is time to.

        Raises:
            TrainingError: the loss or a weight is no longer a number.
            TrainingStartError: the first loss is not the one that it is by definition.
        """
        row: Row = {"kind": "train", "step": step} | {key: logs[key] for key in _KEPT if key in logs}
        self._keep(row | {"num_tokens": int(logs["num_tokens"])})
        loss = float(row["loss"])
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}", step)
        expected = _first_loss(self._recipe, is_started=self._is_started)
        if step == 1 and expected is not None and abs(loss - expected) > self._start_tolerance:
            raise TrainingStartError(
                f"the first {self._recipe.training.method.upper()} loss is {loss:.5f} and must be {expected:.5f} "
                f"within {self._start_tolerance:g}: policy and reference are not the same weights at the start"
            )
        if self._recipe.training.eval_steps is not None and step % self._recipe.training.eval_steps == 0:
            self._measure_selection(step)

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is kept after this step; the last step has the adapter itself."""
        return step % self._save_steps == 0 and step < self._n_steps

    def finish(self, step: int) -> None:
        """Measure the selection rows once more where the last step did not, and sum up.

        Raises:
            TrainingError: a weight is no longer a number.
        """
        self.check_weights(step)
        if (self.rows[-1]["kind"], self.rows[-1]["step"]) != ("selection", step):
            self._measure_selection(step)
        n_trainable = sum(weight.numel() for weight in self._weights)
        self._keep({"kind": "summary", "step": step, "num_tokens": self.n_tokens, "trainable_parameters": n_trainable})

    def check_weights(self, step: int) -> None:
        """Refuse weights that are no numbers, which the loss of their step does not show yet.

        Raises:
            TrainingError: one of them is infinite or NaN.
        """
        if not all(bool(weight.isfinite().all()) for weight in self._weights):
            raise self._diverged("the adapter's weights became infinite or no numbers", step)

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
            statistics = selection_statistics(self._selection, self._score(), np.array(self.reference), beta)
            self._keep({"kind": "selection", "step": step, **statistics})

    def _score(self) -> NDArray[np.float64]:
        """Log-probabilities in nats of all requests of the selection rows."""
        step = self.rows[-1]["step"] if self.rows else 0

        def tell(n_scored: int) -> None:
            if self._progress is not None:
                told = {"kind": "scoring", "n_scored": n_scored, "n_requests": len(self._requests)}
                self._progress(step, self._n_steps, told)

        scores = self._scorer.score(self._requests, tell)
        return np.array([score.log_probability for score in scores], dtype=np.float64)

    def _keep(self, row: Row) -> None:
        row["seconds"] = round(time.perf_counter() - self._started, 3)
        row["peak_memory_bytes"] = peak_memory_bytes(self._device)
        self.rows.append(row)
        if self._progress is not None:
            self._progress(row["step"], self._n_steps, row)


def _first_loss(recipe: Recipe, *, is_started: bool) -> float | None:
    """What the loss is where policy and reference are the same weights, for the losses that are then a constant.

    The adapter's dropout moves the policy where its weights are not 0, which they are but after a stage before.
    """
    training = recipe.training
    if is_started and recipe.lora.dropout > 0:
        return None
    if training.method == "kto":
        return 0.5  # 1 - sigmoid(0)
    is_sigmoid = training.loss_type == ("sigmoid",) and training.loss_weights is None
    return math.log(2) if training.method == "dpo" and is_sigmoid else None
