"""The weight of the loss that keeps the experts of a mixture equally busy."""

from harness.config.schema import TrainingConfig
from harness.models.base import LoadedModel
from harness.training.recipe import TrainingError, has_router


def router_weight(loaded: LoadedModel, run: TrainingConfig) -> float | None:
    """Return the weight of the router's loss in training: the recipe's, or the model's own; None without experts.

    Raises:
        TrainingError: the recipe has one, and the model no experts whose router it could train.
    """
    if not has_router(loaded):
        if run.router_aux_loss_coef:
            raise TrainingError(
                f"training.router_aux_loss_coef: {run.router_aux_loss_coef:g} has no effect, because {loaded.name!r} "
                f"is no mixture of experts; leave it out"
            )
        return None
    own = getattr(loaded.base.config.get_text_config(), "router_aux_loss_coef", 0.0)
    return float(own if run.router_aux_loss_coef is None else run.router_aux_loss_coef)


def router_line(weight: float | None) -> str:
    """Return a line that says how much the router's loss counts; empty where it does not."""
    return f"The loss of the router counts {weight:g} times (training.router_aux_loss_coef)." if weight else ""
