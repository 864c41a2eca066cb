"""An experiment: its configuration, its rows and its model, which training and measuring start from."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from harness.config.schema import ExperimentConfig, SuiteConfig
from harness.data.experiment_data import ExperimentData
from harness.data.splits import Item, sample_by_group
from harness.models.base import LoadedModel
from harness.terminal import Terminal
from harness.workspace import Workspace
from suites.engine.encoding import Encoder
from suites.lm_eval.loading import TaskSet


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment with its rows and its model loaded."""

    config: ExperimentConfig
    suite: SuiteConfig
    data: ExperimentData
    tasks: Mapping[str, TaskSet]
    """Name of an evaluation that measures tasks -> its tasks."""
    loaded: LoadedModel
    encoder: Encoder
    """The baseline's encoder, so that all subjects get the same token ids."""
    workspace: Workspace
    out: Path | None
    """Run folder that the user named; None makes one in the workspace."""
    terminal: Terminal
    limit: int | None
    """Largest number of rows of each evaluation, whatever the suite allows."""
    use_cache: bool
    filtered: Mapping[str, int]
    """Filter -> number of training and selection rows it left out."""
    notes: tuple[str, ...]
    places: tuple[str, ...] = ()
    """Paths that were typed, besides those of the configuration and of candidates."""
    n_ranks: int = 1
    """Processes that train each adapter together, as far as this process plans it."""

    def reserve_run(self) -> AbstractContextManager[Path]:
        """Reserves the run's folder; see `Workspace.reserve_run`."""
        return self.workspace.reserve_run(f"{self.config.name}-{self.suite.name}", self.out)

    def sample(self, rows: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
        """The rows that are left after an evaluation's own limit and the experiment's."""
        return sample_by_group(rows, smaller_limit(limit, self.limit), self.config.seed)


def smaller_limit(*limits: int | None) -> int | None:
    """The smallest of the limits that are set, None without any."""
    return min((limit for limit in limits if limit is not None), default=None)
