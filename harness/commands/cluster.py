"""What the options of a cluster ask for: where the parts of a job are computed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from harness.measuring.preparation import Options
    from harness.measuring.units.filling import EngineMaker

MakerOf: TypeAlias = "Callable[[Options], EngineMaker | None]"
"""What the command line said, as it is prepared from -> what makes the engine; None computes in this process."""
_VALUES = ("address", "gpus_per_unit", "workers", "gpus_per_adapter")


@contextmanager
def on_cluster(options: dict[str, Any], *, dry_run: bool = False, only: bool = False) -> Iterator[MakerOf]:
    """Takes the options of a cluster out of those of a command, and connects to it within the block.

    What they say of the experiment itself is added: the processes that train an adapter together.

    The cluster is asked first, so that one that is not there, or too small, is told before anything is loaded.

    Args:
        options: Values of a command's options.
        dry_run: Whether `--dry-run` was given, which computes in this process.
        only: Whether `--only` was, which does so too.

    Raises:
        click.UsageError: An option has no effect.
        UserError: There is no such cluster, or it does not have what a part of the job needs.
    """
    place, values = options.pop("place", None), {name: options.pop(name, None) for name in _VALUES}
    if place is None:
        given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]
        if given:
            raise click.UsageError(f"{given[0]} has no effect without --on ray; add that, or leave it out")
        yield lambda _: None
        return
    if dry_run or only:
        raise click.UsageError(f"{'--dry-run' if dry_run else '--only'} computes in this process: leave out --on")
    if not options.get("use_cache", True):
        raise click.UsageError("--on ray keeps what is computed in the score cache alone: leave out --no-cache")
    from harness.measuring.cluster.connecting import connected
    from harness.measuring.cluster.request import Needs, Request, check_fits, check_gpus
    from harness.measuring.cluster.warming import warm

    request = Request(**values)
    check_gpus(request.gpus_per_unit)
    if request.gpus_per_adapter is not None:
        options["n_ranks"] = request.gpus_per_adapter
    with connected(request) as cluster:
        check_fits(cluster.nodes(), Needs(1, request.gpus_per_unit or 0), request)
        loading = warm(cluster, request, os.environ)

        def maker(prepared_from: "Options") -> "EngineMaker":
            from harness.measuring.cluster.starting import OnCluster

            return OnCluster(cluster, request, prepared_from, loading)

        yield maker
