"""Standard output and error: every text arrives, and none steers a terminal."""

import io
import subprocess
import sys
from errno import ENOSPC
from pathlib import Path

import click
import pytest

from harness.streams import PlainStream, plain_streams

HOSTILE = "\x1b]52;c;aGk=\x07 \x9b2J \u2192 \ud83d"
PRINTS = (
    "import sys\nfrom harness.streams import plain_streams, steering_streams\n"
    f"text = {HOSTILE!r}\n"
    "import click\n"
    "with plain_streams():\n    print(text)\n    click.echo(text)\n    click.echo(text, err=True)\n"
    "    with steering_streams():\n        print('\\x1b[1mbar', file=sys.stderr)\n"
    "print('after')\n"
)


@pytest.mark.parametrize(
    ("encoding", "arrow"), [("utf-8", "\u2192"), ("cp1252", "->"), ("latin-1", "->"), ("ascii", "->")]
)
def test_any_text_reaches_any_stream_and_steers_none(encoding: str, arrow: str) -> None:
    """Control characters are shown on both streams, and no encoding ends a command."""
    done = subprocess.run(
        [sys.executable, "-c", PRINTS], env={"PYTHONIOENCODING": encoding}, capture_output=True, check=True
    )
    shown = rf"\x1b]52;c;aGk=\x07 \x9b2J {arrow} \ud83d"
    assert done.stdout.decode(encoding) == f"{shown}\n{shown}\nafter\n"
    assert done.stderr.decode(encoding) == f"{shown}\n\x1b[1mbar\n"


def test_a_name_with_escape_sequences_is_shown_in_lists_and_errors(tmp_path: Path, harness) -> None:
    """The folder of a run, and a suite that does not exist."""
    (tmp_path / "runs" / "x\x1b]0;title\x07\ny").mkdir(parents=True)
    listed = harness("list", "runs", "--workspace", tmp_path)
    assert r"x\x1b]0;title\x07\ny" in listed.out
    refused = harness("train", "--suite", "a\x1b[2Jb", "--workspace", tmp_path / "w")
    assert refused.exit_code == 2
    assert "\x1b" not in listed.out + refused.err


def test_a_reader_that_left_costs_lines_and_no_job() -> None:
    """Standard error that is closed, as that of a terminal after SIGHUP, ends nothing."""
    code = (
        "import os, sys\nfrom harness.streams import plain_streams\nos.close(2)\n"
        "with plain_streams():\n    print('lost' * 9999, file=sys.stderr, flush=True)\n    print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout == b"done\n"


class _FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        """Fails as the file system does."""
        raise OSError(ENOSPC, "No space left on device")


def test_a_result_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, harness) -> None:
    """Standard output on a full disk is no traceback, and no success either."""
    full = PlainStream(_FullDisk())
    monkeypatch.setattr("harness.cli.cli.main", lambda **_: print("a result", file=full, flush=True))
    outcome = harness("list", "presets")
    assert outcome.exit_code == 2
    assert outcome.err == "error: standard output cannot be written: No space left on device\n"


def test_a_standard_output_that_is_closed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has None in its place."""
    monkeypatch.setattr(sys, "stdout", None)
    with plain_streams():
        click.echo("lost")
    assert sys.stdout is None
