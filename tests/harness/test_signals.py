"""Signals of schedulers and closed terminals."""

import signal
import subprocess
import sys
from threading import Thread

import pytest

from harness.signals import signals_interrupt

WAITS = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # as in a terminal: these tests may run under nohup, or behind `&`
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "import click\nfrom unittest.mock import patch\nimport harness.cli\n"
    "@click.command('wait')\n"
    "def wait():\n"
    "    try:\n"
    "        print('ready', flush=True)\n"
    "        time.sleep(30)\n"
    "    finally:\n"
    "        print('cleared', flush=True)\n"
    "harness.cli.cli.add_command(wait)\n"
    "sys.argv = ['harness', 'wait']\n"
    "harness.cli.main()\n"
)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_like_ctrl_c(name: str) -> None:
    """One line that names the signal, what a command clears is cleared, exit code 130."""
    job = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    job.send_signal(getattr(signal, name))
    out, err = job.communicate(timeout=20)

    by = "" if name == "SIGINT" else f" by {name}"
    assert out == "cleared\n"
    assert err.strip() == f"interrupted{by}; no run folder was written"
    assert job.returncode == 130


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
