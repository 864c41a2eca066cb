"""What commands leave behind: run folders with their reports, and the model cards of adapters."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
from rich.console import Console

from harness.commands.report_files import ReportOptions, RunReports, write_run_reports
from harness.measuring.lineup import TrainedAdapter
from harness.models.adapter_files.folder import CARD_FILE
from harness.streams import ENCODING_ERRORS, steering_streams
from harness.terminal import Terminal
from harness.training.card import write_card
from reports.plain_text import visible_with_styles
from reports.records import Run
from reports.rendering.content.published import published_blocks
from reports.rendering.formats.markdown import markdown_blocks
from reports.rendering.formats.terminal import Colours, Screen, page_line, terminal_report
from reports.run_folder import write_run

_WIDTH_OF_A_FILE = 120
"""Columns where standard output is no terminal."""
_LINKS = frozenset({"VTE_VERSION", "KITTY_WINDOW_ID", "WT_SESSION", "WEZTERM_PANE", "KONSOLE_VERSION", "TERM_PROGRAM"})
"""Variables of terminals that show hyperlinks; TERM_PROGRAM also of Apple's, which leaves their marks out unseen."""
_TERMINALS_WITH_LINKS = frozenset({"xterm-kitty", "xterm-ghostty", "alacritty", "foot"})
"""Values of TERM of further terminals that show hyperlinks."""


def write_results(run: Run, folder: Path, trained: Sequence[TrainedAdapter], terminal: Terminal) -> RunReports:
    """Writes a run's records, then its reports, then the cards of the adapters that were trained for it.

    The records come first, so that a fault in a report loses nothing that was measured: `harness report` renders it.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    write_run(run, folder)
    try:
        with terminal.waiting("comparing subjects and writing the report"):
            reports = write_run_reports(run, folder, ReportOptions())
        for each in trained:
            write_card(
                each.fixture.folder, run=run, candidate=each.variant.name, comparisons=reports.report.comparisons
            )
    except BaseException as error:
        error.add_note(f"What was measured is in {folder}; `harness report {folder}` writes its reports.")
        raise
    return reports


def write_missing_cards(trained: Sequence[TrainedAdapter]) -> None:
    """Writes a card for every adapter that has none; the card of an earlier run stays."""
    for each in trained:
        if not (each.fixture.folder / CARD_FILE).exists():
            write_card(each.fixture.folder)


def show(reports: RunReports, *, verbose: bool = False) -> None:
    """Prints headline and table of a run, and in the last line where its page is, or else its other reports."""
    screen = reader_screen()
    if reports.layout == "published":
        text = markdown_blocks(published_blocks(reports.report.run))
    else:
        text = terminal_report(reports.report, screen, verbose=verbose)
    folders: dict[Path, list[str]] = {}
    for file in reports.files:
        if file != reports.page:
            folders.setdefault(file.parent, []).append(file.name)
    written = [f"written to {os.path.relpath(folder)}: {', '.join(names)}" for folder, names in folders.items()]
    lines = [text, *written]
    lines += [page_line(reports.page, screen)] if reports.page else []
    encoding = sys.stdout.encoding or "utf-8"
    shown = "\n".join(lines).encode(encoding, ENCODING_ERRORS).decode(encoding)  # a pipe may know no minus sign
    with steering_streams():
        click.echo(visible_with_styles(shown), color=True if screen.colours else None)


def reader_screen() -> Screen:
    """Returns what the terminal of standard output shows: colours unless NO_COLOR is set or TERM is dumb."""
    console, terminal = Console(), os.environ.get("TERM", "")
    colours = next((each for each in get_args(Colours) if each == console.color_system), None)
    knows_links = terminal in _TERMINALS_WITH_LINKS or not _LINKS.isdisjoint(os.environ)
    return Screen(
        width=shutil.get_terminal_size(fallback=(_WIDTH_OF_A_FILE, 24)).columns,
        colours=None if console.no_color else colours,
        links=sys.stdout.isatty() and terminal != "dumb" and knows_links,
    )
