"""Runs the benchmarks, block by block: `nox -s bench`, or `nox -s bench -- quickstart engine --model gpt2`.

Numbers that should be equal and are not, reports that lack something and a size beyond its bounds end it with exit
code 1; a ratio that is not reached does not.
"""

import sys
from collections.abc import Sequence

import click
from allocator import allocator
from engine import engine
from page import page
from quickstart import quickstart
from run_folder import run_folder
from scaling import scaling
from size import size
from training import training

BLOCKS = (quickstart, engine, training, allocator, size, page, run_folder, scaling)


@click.group(help=__doc__, chain=True, invoke_without_command=True)
@click.pass_context
def bench(context: click.Context) -> list[bool] | None:
    """Runs every block unless some are named."""
    return None if context.invoked_subcommand else [bool(context.invoke(block)) for block in BLOCKS]


@bench.result_callback()
def leave(holds: Sequence[bool]) -> None:
    """Exits with code 1 where numbers of a block did not agree."""
    sys.exit(0 if all(holds) else 1)


for block in BLOCKS:
    bench.add_command(block)

if __name__ == "__main__":
    bench()
