"""`harness report`."""

from pathlib import Path
from typing import Any

import click

from harness.commands.options import PATH, verbose_option


@click.command("report", short_help="Writes reports again, or one report of several runs.")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--format",
    "formats",
    default="md,csv,html",
    show_default=True,
    metavar="A,B",
    help="Of md, csv, json, latex, html, answers.",
)
@click.option(
    "--layout",
    type=click.Choice(["differences", "published"]),
    default="differences",
    show_default=True,
    help="published: rows are sets, columns are subjects, cells are cross-entropies (md, csv, latex).",
)
@click.option(
    "--verdicts",
    "judgements",
    type=PATH,
    help="Judgements of the answers, by a model or by people: JSONL or CSV.",
)
@click.option(
    "--figures",
    type=click.Choice(["svg", "pdf"]),
    help="Write each picture and its data: figures/NAME.svg or .pdf, and figures/NAME.csv.",
)
@click.option(
    "--examples",
    type=click.IntRange(1),
    metavar="N",
    help="Examples on the page, those that moved most (default: 5,000, if they fit into 20 MB).",
)
@click.option("--out", type=PATH, help="Folder to write to (default: the run's own).")
@verbose_option
def report(runs: tuple[Path, ...], formats: str, verbose: bool, **options: Any) -> None:
    """Writes the reports of a run again, or one report of several runs of a suite, and prints its table."""
    from harness.commands.output import show
    from harness.commands.report_files import ReportOptions, write_reports

    names = tuple(name.strip() for name in formats.split(",") if name.strip())
    show(write_reports(runs, ReportOptions(formats=names, **options)), verbose=verbose)
