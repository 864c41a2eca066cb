"""Reports of runs in one call, as the commands put them together."""

from functools import cache

from made_up_runs import many_run, sweep_run

from reports.comparing.compare import compare
from reports.records import Run
from reports.rendering.content.report import Report
from reports.rendering.formats.page import html_report
from reports.rendering.pictures.everything import all_pictures


def report_of(run: Run) -> Report:
    """Return the run with its comparisons."""
    return Report(run, compare(run))


@cache
def swept() -> Report:
    """Return a sweep with seeds and controls, compared once in a process."""
    return report_of(sweep_run())


@cache
def twenty_candidates() -> Report:
    """Return twenty candidates on 120 pairs, compared once in a process."""
    return report_of(many_run(20, 120))


def page_of(run: Run) -> str:
    """Return the page of a run, with its pictures."""
    report = report_of(run)
    return html_report(report, all_pictures(report))
