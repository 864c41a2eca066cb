"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.config.limits import MOST_RANKS, MOST_VARIANTS
from reports.paths import PathError, expanded

Command = Callable[..., Any]


class ExpandedPath(click.ParamType[Path]):
    """A path as a user types it, also behind `--out=` and in a variable, where no shell replaces `~`."""

    name = "path"

    def convert(self, value: Any, _parameter: click.Parameter | None, _context: click.Context | None) -> Path:
        """The path, with `~` at its start as the home folder."""
        if "\0" in str(value):
            self.fail(f"{str(value)!r} holds a NUL character, which no path can.", _parameter, _context)
        try:
            return expanded(value)
        except PathError as error:
            name = _parameter.opts[-1] if _parameter is not None else "path"
            raise PathError(f"{name}: {error}") from None


PATH = ExpandedPath()


class OnceGroup(click.Group):
    """A group whose commands take each option once, unless it may be repeated: click would take the last alone."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, after a look at its options."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            _check_once(command, click.Context(command, parent=ctx, info_name=name), list(rest))
        return name, command, rest


def _check_once(command: click.Command, context: click.Context, args: list[str]) -> None:
    """Refuses an option that is given twice.

    Raises:
        click.UsageError: one is.
    """
    try:
        _, _, order = command.make_parser(context).parse_args(args)
    except click.UsageError:
        return  # told when the command itself reads its options
    for index, option in enumerate(order):
        takes_one = isinstance(option, click.Option) and not (option.multiple or option.is_flag or option.count)
        if takes_one and option in order[:index]:
            raise click.UsageError(f"{option.opts[-1]} is given twice, and takes one value; give it once", context)


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Stacks several click options into one decorator, first on top in the help."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def hidden(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Stacks options that work but are not in the help."""

    def decorate(command: Command) -> Command:
        n_before = len(getattr(command, "__click_params__", ()))
        command = _options(*options)(command)
        for parameter in command.__click_params__[n_before:]:  # type: ignore[attr-defined]
            parameter.hidden = True
        return command

    return decorate


experiment_options = _options(
    click.option("--preset", metavar="NAME", help="An experiment that ships with the project (default: tiny)."),
    click.option("--config", "config_file", type=PATH, help="An experiment file of your own."),
    click.option(
        "-o",
        "--override",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Changes one value; may be repeated. Wins over the file.",
    ),
)
model_option = click.option(
    "--model", metavar="BASE", help="Base model (default: the one that the adapter's own configuration names)."
)
workspace_option = click.option(
    "--workspace",
    type=PATH,
    envvar="HARNESS_WORKSPACE",
    default=Path("workspace"),
    show_default=True,
    help="Folder for trained adapters and runs. [env: HARNESS_WORKSPACE]",
)
place_options = _options(
    click.option(
        "--data-root",
        type=PATH,
        envvar="HARNESS_DATA_ROOT",
        help="Folder with local copies of datasets, instead of the hub. [env: HARNESS_DATA_ROOT]",
    ),
    workspace_option,
)
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Prints the rest too: exploratory rows, and all that limits belief."
)
suite_option = _options(
    click.option(
        "--suite",
        default="alignment",
        show_default=True,
        metavar="NAME|FILE.yaml",
        help="Evaluations to measure, whose rows training leaves out.",
    ),
    click.option(
        "--allow-task-code", is_flag=True, help="Runs the code that lm-eval task files of your own name; read it first."
    ),
)
measuring_options = _options(
    suite_option,
    click.option("--tasks", metavar="A,B", help="More lm-eval tasks: names, or YAML files of your own."),
    click.option(
        "--limit", type=click.IntRange(min=1), help="Rows of each evaluation at most: a seeded sample of groups."
    ),
    click.option("--out", type=PATH, help="Run folder to write (default: in the workspace)."),
    click.option(
        "--no-cache", "use_cache", flag_value=False, default=True, help="Neither reads nor writes the score cache."
    ),
)


def only_option(example: str) -> Callable[[Command], Command]:
    """The option that does one unit of a job alone.

    Args:
        example: What a name looks like.
    """
    return click.option("--only", metavar="NAME", help=f"Does one unit alone, such as '{example}'; no report.")


cluster_options = _options(
    click.option(
        "--on", "place", type=click.Choice(["ray"]), help="Computes on Ray: on the cluster of --address, else here."
    ),
    click.option("--address", metavar="HOST:PORT", help="Ray cluster to compute on. [env: RAY_ADDRESS]"),
    click.option(
        "--gpus-per-unit", type=float, metavar="N", help="GPUs of one training or evaluation; 0.5 is a share."
    ),
    click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Trainings and evaluations at a time."),
)
"""Options that spread a job over processes; `harness.commands.cluster.on_cluster` takes their values."""
ranks_option = click.option(
    "--gpus-per-adapter",
    type=click.IntRange(1, MOST_RANKS),
    metavar="N",
    help="With --on ray: GPUs that share every step of a training; needs a workspace that all nodes see.",
)
candidate_options = _options(
    click.option(
        "--sweep",
        "sweeps",
        multiple=True,
        metavar="KEY=V1,V2",
        help="Trains a candidate for every value, such as training.learning_rate=5e-6,1e-5; may be repeated.",
    ),
    click.option(
        "--seeds",
        type=click.IntRange(1, MOST_VARIANTS),
        metavar="N",
        help="Number of training seeds of each candidate.",
    ),
    click.option(
        "--controls",
        metavar="A,B",
        help="Candidates to compare with: sft (on the chosen answers), shuffled (half of the pairs swapped).",
    ),
)
subject_options = _options(
    click.option("--subjects", metavar="+NAME", help="More subjects: +unquantised, the base without quantisation."),
    click.option(
        "--candidate",
        "models",
        multiple=True,
        metavar="NAME=PATH",
        help="A full or merged model to measure too; may be repeated.",
    ),
)
