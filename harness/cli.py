"""The command line: `harness --help`. Commands import what they need when they run, so that help answers at once."""

import os
import sys

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
from reports.errors import UserError

EXIT_CODES = """\b
Exit codes: 0 fine; 1 unexpected failure; 2 usage, configuration or data; 3 stopped by a gate; 130 interrupted."""
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
def cli() -> None:
    """Did this preference tuning help, what did it cost, and is the difference real?"""


def main() -> None:
    """Runs a command; a mistake that the user can mend is one line and exit code 2."""
    from harness.offline import forbid_requests
    from harness.signals import signals_interrupt
    from harness.streams import plain_streams
    from harness.terminal import quiet_libraries

    quiet_libraries()
    forbid_requests(os.environ)
    with plain_streams(), signals_interrupt():
        try:
            cli.main(standalone_mode=False)
        except (click.exceptions.Abort, KeyboardInterrupt) as error:
            _leave(f"{_interrupted(error)}; {' '.join(_notes(error)) or 'no run folder was written'}", 130)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except UserError as error:
            _leave("\n".join([f"error: {error}", *_notes(error)]), 2)


def _interrupted(error: BaseException) -> str:
    """What interrupted a command: Ctrl-C, or the signal that it names."""
    signals = [str(each) for each in (error, error.__context__) if isinstance(each, KeyboardInterrupt) and each.args]
    return f"interrupted by {signals[0]}" if signals else "interrupted"


def _notes(error: BaseException) -> list[str]:
    """Lines that commands added to an error; click raises its own error where a command was interrupted."""
    return [note for each in (error, error.__context__) for note in getattr(each, "__notes__", ())]


def _leave(line: str, exit_code: int) -> None:
    click.echo(line, err=True)
    sys.exit(exit_code)
