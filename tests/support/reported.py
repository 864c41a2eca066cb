"""Reports of runs in one call, as the commands put them together."""

from reports.comparing.compare import compare
from reports.records import Run
from reports.rendering.content.report import Report
from reports.rendering.formats.page import html_report
from reports.rendering.pictures.everything import all_pictures


def report_of(run: Run) -> Report:
    """Return the run with its comparisons."""
    return Report(run, compare(run))


def page_of(run: Run) -> str:
    """Return the page of a run, with its pictures."""
    report = report_of(run)
    return html_report(report, all_pictures(report))
