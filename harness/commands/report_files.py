"""Reports of runs, rendered from their records without loading a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commands.figure_files import FigureFormat, write_figures
from harness.commands.judgements import with_judgements, write_answers
from reports.comparing.compare import compare
from reports.comparing.together import put_together
from reports.errors import UserError
from reports.records import Run
from reports.rendering.content.published import ReportLayout
from reports.rendering.content.report import Report
from reports.rendering.formats.csv import csv_report
from reports.rendering.formats.json import json_report
from reports.rendering.formats.latex import latex_report
from reports.rendering.formats.markdown import markdown_report
from reports.rendering.formats.page import html_report
from reports.rendering.pictures.everything import all_pictures
from reports.rendering.pictures.picture import Picture
from reports.run_folder import read_run
from reports.whole import write_whole

Render = Callable[[Report, "ReportOptions", Sequence[Picture], Sequence[str]], str]
REPORTS: dict[str, tuple[str, Render]] = {
    "md": (
        "report.md",
        lambda report, options, _, figures: markdown_report(report, layout=options.layout, figures=figures),
    ),
    "csv": ("report.csv", lambda report, options, *_: csv_report(report, layout=options.layout)),
    "json": ("report.json", lambda report, *_: json_report(report)),
    "latex": ("report.tex", lambda report, options, *_: latex_report(report, layout=options.layout)),
    "html": ("report.html", lambda report, options, pictures, _: html_report(report, pictures, options.examples)),
}
"""Format -> name of its file, and the function that renders it; the page holds pictures, Markdown has their paths."""
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
    report: Report
    """What the reports show."""
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
    examples: int | None = None
    """Most examples of a set on the page, however large it gets; None is 5,000, of which it has as many as fit."""
    out: Path | None = None
    """Folder for the reports; None is the run's own, if there is one run."""


def write_reports(folders: Sequence[Path], options: ReportOptions) -> RunReports:
    """Render the reports of a finished run again, or one report of several runs.

    Raises:
        ReportError: A format is unknown, a run is given twice, several runs have no folder to write to, or a report
            cannot be written.
        RunFolderError: A run folder is missing or damaged.
        IncomparableRunsError: The runs did not measure the same.
        JudgementError: The judgements do not belong to the run.
    """
    unknown = sorted(set(options.formats) - set(FORMATS))
    if unknown or not options.formats:
        raise ReportError(f"--format: {', '.join(unknown) or 'nothing'} is unknown; formats are: {', '.join(FORMATS)}")
    if len(folders) > 1 and options.out is None:
        raise ReportError(f"--out: {len(folders)} runs make one report; name a folder for it")
    runs = [read_run(each) for each in folders]
    _check_different(folders, runs)
    run = put_together(runs)
    if options.judgements is not None:
        run = with_judgements(run, options.judgements)
    return write_run_reports(run, options.out or folders[0], options)


def _check_different(folders: Sequence[Path], runs: Sequence[Run]) -> None:
    """Check that no run is given twice, a copy of its folder included: it would count as a second candidate.

    Raises:
        ReportError: One is.
    """
    for index, run in enumerate(runs):
        if run in runs[:index]:
            raise ReportError(f"{folders[index]} is the same run as {folders[runs.index(run)]}; give each run once")


def write_run_reports(run: Run, folder: Path, options: ReportOptions) -> RunReports:
    """Render the reports that the options name into a folder.

    Raises:
        ReportError: A report cannot be written.
        NoPdfError: Pictures were asked for as PDF, and what makes it is missing.
    """
    report = Report(run, compare(run))
    in_files = _figure_formats(options)
    files: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = all_pictures(report) if in_files or "html" in options.formats else ()
        written = write_figures(pictures, folder, formats=in_files, with_data=options.figures is not None)
        figures = _shown_in_markdown(written, folder, options)
        for name in dict.fromkeys(options.formats):
            if name == ANSWERS:
                files += write_answers(run, folder)
                continue
            file, render = REPORTS[name]
            files.append(write_whole(folder / file, render(report, options, pictures, figures)))
    except OSError as error:
        raise ReportError(f"cannot write to {folder}: {error.strerror}") from error
    return RunReports(folder, tuple(files), report, options.layout)


def _figure_formats(options: ReportOptions) -> list[FigureFormat]:
    """Return what pictures are written as: what is asked for, and what Markdown shows."""
    formats: list[FigureFormat] = [options.figures] if options.figures else []
    return [*formats, "svg"] if _has_pictures_in_markdown(options) and "svg" not in formats else formats


def _shown_in_markdown(written: Sequence[Path], folder: Path, options: ReportOptions) -> tuple[str, ...]:
    """Return the paths of the pictures that Markdown shows, from the report."""
    shown = [file for file in written if file.suffix == ".svg"] if _has_pictures_in_markdown(options) else []
    return tuple(file.relative_to(folder).as_posix() for file in shown)


def _has_pictures_in_markdown(options: ReportOptions) -> bool:
    return "md" in options.formats and options.layout == "differences"
