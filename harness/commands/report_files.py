"""Reports of runs, rendered from their records without loading a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commands.figure_files import FigureFormat, write_figures
from harness.commands.judgements import with_judgements, write_answers
from reports.comparing.compare import Comparison, compare
from reports.comparing.together import put_together
from reports.errors import UserError
from reports.records import Run
from reports.rendering.content.published import ReportLayout
from reports.rendering.formats.csv import csv_report
from reports.rendering.formats.json import json_report
from reports.rendering.formats.latex import latex_report
from reports.rendering.formats.markdown import markdown_report
from reports.rendering.formats.page import html_report
from reports.run_folder import read_run
from reports.whole import write_whole

Render = Callable[[Run, Sequence[Comparison], ReportLayout, Sequence[str]], str]
REPORTS: dict[str, tuple[str, Render]] = {
    "md": ("report.md", lambda run, rows, layout, figures: markdown_report(run, rows, layout=layout, figures=figures)),
    "csv": ("report.csv", lambda run, rows, layout, _: csv_report(run, rows, layout=layout)),
    "json": ("report.json", lambda run, rows, *_: json_report(run, rows)),
    "latex": ("report.tex", lambda run, rows, layout, _: latex_report(run, rows, layout=layout)),
    "html": ("report.html", lambda run, rows, *_: html_report(run, rows)),
}
"""Format -> name of its file, and the function that renders it; Markdown shows pictures by their paths."""
ANSWERS = "answers"
"""Format of the answers alone, one file for each subject, for a judge elsewhere."""
FORMATS = (*REPORTS, ANSWERS)
WRITTEN_WITH_A_RUN = ("md", "csv", "html")
"""Formats that every run has beside its records."""


class ReportError(UserError):
    """A report of an unknown format, or one that cannot be written."""


@dataclass(frozen=True, slots=True)
class RunReports:
    """The reports of a run that were written to a folder."""

    folder: Path
    files: tuple[Path, ...]
    """The files that were written, the one to look at first."""
    run: Run
    comparisons: tuple[Comparison, ...]
    """The comparisons that the reports show."""
    layout: ReportLayout = "differences"

    @property
    def page(self) -> Path | None:
        """The page, if it was written."""
        return next((file for file in self.files if file.name == REPORTS["html"][0]), None)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of `harness report`."""

    formats: tuple[str, ...] = WRITTEN_WITH_A_RUN
    layout: ReportLayout = "differences"
    judgements: Path | None = None
    """File of judgements of the answers, by a model or by people."""
    figures: FigureFormat | None = None
    """What pictures are written as, with their data as CSV; None is SVG alone, beside Markdown, which shows it."""
    out: Path | None = None
    """Folder for the reports; None is the run's own, if there is one run."""


def write_reports(folders: Sequence[Path], options: ReportOptions) -> RunReports:
    """Render the reports of a finished run again, or one report of several runs.

    Raises:
        ReportError: A format is unknown, several runs have no folder to write to, or a report cannot be written.
        RunFolderError: A run folder is missing or damaged.
        IncomparableRunsError: The runs did not measure the same.
        JudgementError: The judgements do not belong to the run.
    """
    unknown = sorted(set(options.formats) - set(FORMATS))
    if unknown or not options.formats:
        raise ReportError(f"--format: {', '.join(unknown) or 'nothing'} is unknown; formats are: {', '.join(FORMATS)}")
    if len(folders) > 1 and options.out is None:
        raise ReportError(f"--out: {len(folders)} runs make one report; name a folder for it")
    run = put_together([read_run(each) for each in folders])
    if options.judgements is not None:
        run = with_judgements(run, options.judgements)
    return write_run_reports(run, options.out or folders[0], options)


def write_run_reports(run: Run, folder: Path, options: ReportOptions) -> RunReports:
    """Render the reports that the options name into a folder.

    Raises:
        ReportError: A report cannot be written.
        NoPdfError: Pictures were asked for as PDF, and what makes it is missing.
    """
    comparisons = compare(run)
    files: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figures = _write_figures(run, comparisons, folder, options)
        for name in dict.fromkeys(options.formats):
            if name == ANSWERS:
                files += write_answers(run, folder)
                continue
            file, render = REPORTS[name]
            files.append(write_whole(folder / file, render(run, comparisons, options.layout, figures)))
    except OSError as error:
        raise ReportError(f"cannot write to {folder}: {error.strerror}") from error
    return RunReports(folder, tuple(files), run, tuple(comparisons), options.layout)


def _write_figures(
    run: Run, comparisons: Sequence[Comparison], folder: Path, options: ReportOptions
) -> tuple[str, ...]:
    """Write the pictures, and return the paths of those that Markdown shows, from the report."""
    in_markdown = "md" in options.formats and options.layout == "differences"
    formats: list[FigureFormat] = [options.figures] if options.figures else []
    if in_markdown and "svg" not in formats:
        formats.append("svg")
    written = write_figures(run, comparisons, folder, formats=formats, with_data=options.figures is not None)
    return tuple(each.relative_to(folder).as_posix() for each in written if in_markdown and each.suffix == ".svg")
