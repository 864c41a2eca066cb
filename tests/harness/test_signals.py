"""Signals of schedulers and closed terminals."""

import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from harness.signals import Stop, signals_interrupt

COMMAND = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # as in a terminal: these tests may run under nohup, or behind `&`
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from harness.signals import hold_signals\n"
    "held = hold_signals()\n"
    "BEFORE\n"
    "import click\nimport harness.cli\n"
    "@click.command('wait')\n"
    "def wait():\n"
    "    try:\n"
    "        print('ready', flush=True)\n"
    "        time.sleep(30)\n"
    "    except BaseException as error:\n"
    "        WITHIN\n"
    "    finally:\n"
    "        print('cleared', flush=True)\n"
    "    AFTER\n"
    "harness.cli.cli.add_command(wait)\n"
    "sys.argv = ['harness', 'wait']\n"
    "harness.cli.main(held)\n"
)


def _start(*, before: str = "pass", within: str = "raise", after: str = "pass") -> subprocess.Popen[str]:
    """A command that waits for a signal.

    Args:
        before: Statements before the command line is imported.
        within: Those where the command is interrupted.
        after: Those behind, if it goes on.
    """
    code = COMMAND.replace("BEFORE", before).replace("WITHIN", within).replace("AFTER", after)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def _started(**statements: str) -> subprocess.Popen[str]:
    job = _start(**statements)
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    return job


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_like_ctrl_c(name: str) -> None:
    """One line that names the signal, what a command clears is cleared, exit code 130."""
    job = _started()
    job.send_signal(getattr(signal, name))
    out, err = job.communicate(timeout=20)

    by = "" if name == "SIGINT" else f" by {name}"
    assert out == "cleared\n"
    assert err.strip() == f"interrupted{by}"
    assert job.returncode == 130


@pytest.mark.parametrize("again", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_second_signal_at_once_interrupts_no_clearing_up(again: str) -> None:
    """As schedulers send two, and a terminal one to each process of a group: one line, exit code 130."""
    job = _started(within=f"signal.raise_signal(signal.{again}); print('not cut off'); raise")
    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=20)
    assert out == "not cut off\ncleared\n"
    assert (err.strip(), job.returncode) == ("interrupted by SIGTERM", 130)


@pytest.mark.parametrize(
    "error",
    [
        "raise ValueError('Error building schema: KeyboardInterrupt')",  # as pydantic wraps it
        "raise click.UsageError('an import failed')",
        "raise OSError(5, 'Input/output error')",  # as a bar on a closed terminal
    ],
)
def test_an_error_that_a_signal_causes_in_a_library_is_no_failure(error: str) -> None:
    """What a library raises in place of the interruption is neither a traceback nor a mistake of the user."""
    job = _started(within=error)
    job.send_signal(signal.SIGTERM)
    assert job.communicate(timeout=20)[1].strip() == "interrupted by SIGTERM"
    assert job.returncode == 130


def test_a_signal_during_the_imports_is_held_back() -> None:
    """It ends the command before its first line, and interrupts no import."""
    job = _start(before="signal.raise_signal(signal.SIGTERM); print('held', flush=True)")
    out, err = job.communicate(timeout=20)
    assert (out, err.strip(), job.returncode) == ("held\n", "interrupted by SIGTERM", 130)


def test_a_closed_terminal_changes_no_exit_code() -> None:
    """SIGHUP comes when nobody reads standard output and error any more."""
    job = _started(within="print('lost' * 9999, file=sys.stderr); print('lost', end=''); raise")
    assert job.stdout is not None
    assert job.stderr is not None
    job.stdout.close()
    job.stderr.close()
    job.send_signal(signal.SIGHUP)
    assert job.wait(timeout=20) == 130


def test_what_a_library_swallows_is_raised_again() -> None:
    """A signal that comes in a callback or in an import ends the command all the same."""
    soon = "import harness.signals; harness.signals.ONCE_SECONDS = 0.05"
    job = _started(before=soon, within="print('swallowed', flush=True)", after="time.sleep(30)")
    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=20)
    assert out == "swallowed\ncleared\n"
    assert (err.strip(), job.returncode) == ("interrupted by SIGTERM", 130)


def test_clearing_up_takes_as_long_as_it_takes() -> None:
    """No later signal interrupts what runs while the first interruption is on its way."""
    seconds = [0.0]
    stop = Stop(clock=lambda: seconds[0])
    try:
        stop.interrupt(signal.SIGTERM, None)
    except KeyboardInterrupt:
        seconds[0] = 60.0
        stop.interrupt(signal.SIGHUP, None)
        try:
            Path("/no/such/folder").rmdir()
        except OSError:
            stop.interrupt(signal.SIGHUP, None)
    with pytest.raises(KeyboardInterrupt):
        stop.interrupt(signal.SIGHUP, None)
    assert stop.by is signal.SIGTERM


def test_what_is_ignored_stays_ignored() -> None:
    """SIGHUP under nohup ends nothing, and all is as before at the end."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_takes_no_signals() -> None:
    """Python allows it to none but the main thread; a notebook's command then runs without."""
    seen: list[object] = []

    def enter() -> None:
        with signals_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
