"""Start a job on a cluster: check that it fits and that all nodes are alike, then make the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.measuring.cluster.connecting import Cluster
from harness.measuring.cluster.engine import RayEngine
from harness.measuring.cluster.handshake import accounts, check_accounts, check_seen, mark_of
from harness.measuring.cluster.request import Request, check_fits, check_ranks_fit, needs_of, room_line
from harness.measuring.experiment import Experiment
from harness.measuring.preparation import Options
from harness.measuring.units.stores import parcel_of
from harness.measuring.units.unit import Job, Tell

LOADING_SECONDS = 60.0
"""Time that processes have to load libraries before units are submitted all the same."""


@dataclass(frozen=True, slots=True)
class OnCluster:
    """Makes the engine of a job, as `fill_on` asks for it."""

    cluster: Cluster
    request: Request
    options: Options
    """What the command line said; every process prepares the experiment from it."""
    loading: Sequence[Any] = ()
    """What `warm` returned: while those processes are busy, Ray would start others beside them, which load again."""

    def __call__(self, experiment: Experiment, inputs: Mapping[str, str], tell: Tell) -> RayEngine:
        """Makes the engine.

        Args:
            experiment: What the driver read.
            inputs: The same as hashes.
            tell: Takes events.

        Raises:
            DoesNotFitError: No node has what a unit needs.
            ForeignNodeError: A node has other versions.
            UnsharedWorkspaceError: Processes of one training would not meet in the workspace.
        """
        import torch

        n_threads, loaded = torch.get_num_threads(), experiment.loaded
        needs = needs_of(self.request, loaded.device, n_threads, max(1, len(loaded.gpus)))
        nodes = self.cluster.nodes()
        check_fits(nodes, needs, self.request)
        check_ranks_fit(nodes, needs.of_rank, self.request, len(loaded.gpus))
        experiment.terminal.say(room_line(nodes, needs, self.request))
        mark = mark_of(experiment.workspace.folder)
        if not self.cluster.is_local:
            told = accounts(self.cluster, mark)
            check_accounts(told)
            if self.options.n_ranks > 1:
                check_seen(told)
        adapters = tuple(parcel_of(str(folder)) for _, folder in self.options.adapters)
        job = Job(self.options, n_threads, inputs, mark.name, adapters)
        if self.loading:
            self.cluster.ray.wait([*self.loading], num_returns=len(self.loading), timeout=LOADING_SECONDS)
        return RayEngine(self.cluster, job, needs, self.request.workers, tell)
