"""Pictures beside a report: SVG for Markdown by default, and what `--figures` asks for."""

from pathlib import Path

import pytest
from made_up_runs import default_like_run
from reported import report_of

from harness.commands.figure_files import write_figures
from harness.commands.report_files import ReportOptions, write_run_reports
from reports.comparing.compare import compare
from reports.records import Run
from reports.rendering.pictures.everything import all_pictures

NAMES = ["calibration", "differences", "margins", "training"]


@pytest.fixture(scope="module")
def run() -> Run:
    """A run with four pictures."""
    return default_like_run()


def _written(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "figures").iterdir()) if (folder / "figures").exists() else []


def test_markdown_shows_the_pictures_beside_it(run: Run, tmp_path: Path) -> None:
    """Every picture that it names is a file there, and none is left out."""
    write_run_reports(run, tmp_path, ReportOptions(formats=("md",)))
    assert _written(tmp_path) == [f"{name}.svg" for name in NAMES]
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all(f"](figures/{name}.svg)" in report for name in NAMES)


@pytest.mark.parametrize(("formats", "layout"), [(("csv",), "differences"), (("md",), "published")])
def test_a_report_that_shows_no_picture_writes_none(run: Run, tmp_path: Path, formats: tuple[str, ...], layout) -> None:
    """The CSV of the differences, and published tables alone."""
    write_run_reports(run, tmp_path, ReportOptions(formats=formats, layout=layout))
    assert _written(tmp_path) == []


def test_figures_come_with_their_data(run: Run, tmp_path: Path) -> None:
    """`--figures svg` adds a CSV to each, whatever else is written."""
    write_run_reports(run, tmp_path, ReportOptions(formats=("csv",), figures="svg"))
    assert _written(tmp_path) == sorted(f"{name}.{kind}" for name in NAMES for kind in ("csv", "svg"))
    lines = (tmp_path / "figures" / "differences.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len([row for row in compare(run) if row.primary and row.difference is not None])


def test_figures_as_pdf_leave_those_of_markdown(run: Run, tmp_path: Path) -> None:
    """Markdown shows no PDF, so it has its SVG as well."""
    pytest.importorskip("cairosvg")
    write_run_reports(run, tmp_path, ReportOptions(formats=("md",), figures="pdf"))
    assert _written(tmp_path) == sorted(f"{name}.{kind}" for name in NAMES for kind in ("csv", "pdf", "svg"))
    assert ".pdf" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_run_without_pictures_has_no_folder_of_them(run: Run, tmp_path: Path) -> None:
    """Of a baseline alone there is nothing to draw."""
    alone = Run(
        name="run",
        suite=run.suite,
        created=run.created,
        headline="",
        suite_fingerprint=run.suite_fingerprint,
        subjects=(run.baseline,),
        measurements=tuple(each for each in run.measurements if each.subject == run.baseline.name),
    )
    assert write_figures(all_pictures(report_of(alone)), tmp_path, formats=("svg",), with_data=True) == []
    assert list(tmp_path.iterdir()) == []
