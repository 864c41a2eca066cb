"""Reports of runs: rendered when a run is finished, or anew from its records; no model is loaded for them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commands.judgements import with_verdicts, write_answers
from reports.comparing.compare import Comparison, compare
from reports.comparing.together import put_together
from reports.errors import UserError
from reports.records import Run
from reports.rendering.content.published import published_table
from reports.rendering.formats.json import json_report
from reports.rendering.formats.latex import latex_report
from reports.rendering.formats.page import html_report
from reports.rendering.formats.markdown import Layout, csv_report, markdown_report, terminal_table
from reports.run_folder import read_run
from reports.whole import write_whole

Render = Callable[[Run, Sequence[Comparison], Layout], str]
REPORTS: dict[str, tuple[str, Render]] = {
    "md": ("report.md", lambda run, rows, layout: markdown_report(run, rows, layout=layout)),
    "csv": ("report.csv", lambda run, rows, layout: csv_report(run, rows, layout=layout)),
    "json": ("report.json", lambda run, rows, _: json_report(run, rows)),
    "latex": ("report.tex", lambda run, rows, layout: latex_report(run, rows, layout=layout)),
    "html": ("report.html", lambda run, rows, _: html_report(run, rows)),
}
"""Format -> file in the run folder, and what renders it."""
ANSWERS = "answers"
"""Format of the answers alone, one file a subject, for a judge elsewhere."""
FORMATS = (*REPORTS, ANSWERS)
WRITTEN_WITH_A_RUN = ("md", "csv")


class ReportError(UserError):
    """Reports that do not exist or cannot be written."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Reports that are on disk."""

    folder: Path
    table: str
    """For the terminal."""
    files: tuple[Path, ...]
    """What was written, first the one to look at."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the command line says of reports."""

    formats: tuple[str, ...] = WRITTEN_WITH_A_RUN
    layout: Layout = "differences"
    verdicts: Path | None = None
    """Verdicts of a judge, or of people, on the answers."""
    out: Path | None = None
    """Folder to write to; None is the run's own, where there is one run."""


def write_reports(folders: Sequence[Path], options: ReportOptions) -> Finished:
    """Renders reports of a finished run anew, or one report of several.

    Raises:
        ReportError: an unknown format, several runs without a folder to write to, or a report that cannot be written.
        RunFolderError: no run there, or a damaged one.
        IncomparableRunsError: runs that did not measure the same.
        VerdictError: verdicts that do not fit the run.
    """
    unknown = sorted(set(options.formats) - set(FORMATS))
    if unknown or not options.formats:
        raise ReportError(f"--format: {', '.join(unknown) or 'nothing'} is unknown; formats are: {', '.join(FORMATS)}")
    if len(folders) > 1 and options.out is None:
        raise ReportError(f"--out: {len(folders)} runs make one report; name a folder for it")
    folder = options.out or folders[0]
    run = put_together([read_run(each) for each in folders])
    if options.verdicts is not None:
        run = with_verdicts(run, options.verdicts)
    comparisons = compare(run)
    files: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in dict.fromkeys(options.formats):
            if name == ANSWERS:
                files += write_answers(run, folder)
                continue
            file, render = REPORTS[name]
            files.append(write_whole(folder / file, render(run, comparisons, options.layout)))
    except OSError as error:
        raise ReportError(f"cannot write to {folder}: {error.strerror}") from error
    return Finished(folder, _shown(run, comparisons, options.layout), tuple(files))


def _shown(run: Run, comparisons: Sequence[Comparison], layout: Layout) -> str:
    return "\n".join(published_table(run)) if layout == "published" else terminal_table_of(run, comparisons)


def terminal_table_of(run: Run, comparisons: Sequence[Comparison]) -> str:
    """The table of differences, as wide as the terminal; 120 columns where there is none."""
    return terminal_table(run, comparisons, width=shutil.get_terminal_size(fallback=(120, 24)).columns)
