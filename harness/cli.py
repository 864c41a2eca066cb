"""The command line: `harness --help`. Commands import what they need when they run, so that help answers at once."""

import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from signal import SIGINT, Signals

import click

from harness.commands.cache import cache
from harness.commands.calibrate import calibrate
from harness.commands.check import check
from harness.commands.data import data
from harness.commands.doctor import doctor
from harness.commands.eval import evaluate
from harness.commands.list import list_choices
from harness.commands.lm_eval import lm_eval
from harness.commands.merge import merge
from harness.commands.options import OnceGroup
from harness.commands.prune import prune
from harness.commands.report import report
from harness.commands.show_config import show_config
from harness.commands.train import train
from harness.commands.train_and_eval import train_and_eval
from harness.processes import FollowedExit, check_launch, let_the_first_speak, speaks
from reports.errors import UserError
from reports.plain_text import one_line

EXIT_CODES = """\b
Exit codes: 0 fine; 1 unexpected failure; 2 usage, configuration or data; 3 stopped by a gate; 4 finished, not
complete; 130 interrupted."""
_RESULTS, _MISTAKE, _INTERRUPTED = (None, 0, 3, 4), 2, 130
"""Exit codes of a command that did all of its work, and of those that ended before."""
COMMANDS = (
    train_and_eval, train, evaluate, report, check, calibrate, merge, data, list_choices, doctor, prune, cache, lm_eval,
    show_config,
)  # fmt: skip


@click.group(
    cls=OnceGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    commands={str(command.name): command for command in COMMANDS},
)
@click.version_option(package_name="dpo-harness")
@click.pass_context
def cli(context: click.Context) -> None:
    """Did this preference tuning help, what did it cost, and is the difference real?"""
    check_launch(context.invoked_subcommand or "", os.environ)


def main(held: Collection[Signals] = ()) -> None:
    """Runs a command; a mistake that the user can mend is one line and exit code 2.

    Args:
        held: Signals that were held back until now (`harness.signals.hold_signals`).
    """
    from harness.allocator import keep_freed_memory
    from harness.offline import forbid_requests
    from harness.signals import signals_interrupt
    from harness.streams import plain_streams
    from harness.terminal import quiet_libraries

    keep_freed_memory()
    quiet_libraries()
    forbid_requests(os.environ)
    with plain_streams(), signals_interrupt(held) as stop:
        try:
            stop.release()
            cli.main(standalone_mode=False)
        except BaseException as error:
            if isinstance(error, SystemExit) and (stop.by is None or error.code in _RESULTS):
                if isinstance(error, FollowedExit):
                    let_the_first_speak()
                raise
            # A library may raise an error of its own where a signal interrupts it, as pydantic does in a schema.
            if stop.by is not None or isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
                stop.ignore_more()
                line = "; ".join([_interrupted(stop.by), *_notes(error)])
                _leave(partial(click.echo, line, err=True), _INTERRUPTED, error)
            if isinstance(error, click.ClickException):
                _leave(error.show, _MISTAKE, error)
            mistake = _mistake(error)
            if mistake is not None:
                lines = "\n".join([f"error: {mistake}", *_notes(error)])
                _leave(partial(click.echo, lines, err=True), _MISTAKE, error)
            raise


def _interrupted(by: Signals | None) -> str:
    """What interrupted a command: the keyboard, or the signal that is named."""
    return "interrupted" if by is None or by is SIGINT else f"interrupted by {by.name}"


def _mistake(error: BaseException) -> str | None:
    """What the user can mend: a mistake, or what the system says of a file or folder; None for other errors."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:  # as where a folder above may not be searched
        return f"{one_line(os.fsdecode(error.filename))} cannot be used ({error.strerror})"
    return None


def _notes(error: BaseException) -> list[str]:
    """Lines that commands added to an error; click raises its own error where a command was interrupted."""
    return [note for each in (error, error.__context__) for note in getattr(each, "__notes__", ())]


def _leave(say: Callable[[], None], exit_code: int, error: BaseException) -> None:
    if speaks(error, os.environ):
        with suppress(OSError):  # the terminal is closed
            say()
    elif exit_code == _MISTAKE:
        let_the_first_speak()
    sys.exit(exit_code)
