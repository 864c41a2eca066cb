"""What commands leave behind: run folders with their reports, and the model cards of adapters."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from harness.commands.report_files import ReportOptions, RunReports, write_run_reports
from harness.measuring.lineup import TrainedAdapter
from harness.models.adapters import CARD_FILE
from harness.terminal import Terminal
from harness.training.card import write_card
from reports.records import Run
from reports.run_folder import write_run


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
            write_card(each.fixture.folder, run=run, candidate=each.variant.name, comparisons=reports.comparisons)
    except BaseException as error:
        error.add_note(f"What was measured is in {folder}; `harness report {folder}` writes its reports.")
        raise
    return reports


def write_missing_cards(trained: Sequence[TrainedAdapter]) -> None:
    """Writes a card for every adapter that has none; the card of an earlier run stays."""
    for each in trained:
        if not (each.fixture.folder / CARD_FILE).exists():
            write_card(each.fixture.folder)


def show(reports: RunReports) -> None:
    """Prints the table of a run, and where its reports are."""
    click.echo(reports.table)
    click.echo(f"report: {', '.join(os.path.relpath(file) for file in reports.files)}")
