"""Reports are written after the records, so that nothing that was measured is lost with them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.commands import report_files
from harness.commands.output import write_results
from harness.commands.report_files import ReportError, ReportOptions, write_reports
from harness.terminal import Terminal
from reports.comparing.together import put_together
from reports.records import ExampleScore, Metric, MetricScores, Run, Subject
from reports.rendering.content.title import NOT_COMPLETE
from reports.rendering.formats.terminal import Screen, terminal_report
from reports.run_folder import read_run, write_run

PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)


@pytest.fixture
def run() -> Run:
    """A baseline and a candidate with a dozen scores each."""
    names = ("baseline", "adapter")
    return Run(
        name="run",
        suite="alignment",
        created="2026-11-21T10:00:00+00:00",
        headline="Größe \ud800.",
        suite_fingerprint="0123456789abcdef",
        subjects=(Subject(names[0], "baseline", "base"), Subject(names[1], "candidate", "adapter")),
        measurements=tuple(
            MetricScores(
                PERPLEXITY, name, tuple(ExampleScore(f"e{n:02d}", f"g{n}", n + shift, 10) for n in range(1, 13))
            )
            for shift, name in enumerate(names)
        ),
    )


def test_a_saved_run_has_its_reports_beside_its_records(run: Run, tmp_path: Path) -> None:
    """The files are those that are named, and nothing else is left in the parent folder."""
    saved = write_results(run, tmp_path / "runs" / "first", (), Terminal())

    assert saved.files == tuple(saved.folder / f"report.{ending}" for ending in ("md", "csv", "html"))
    assert saved.page == saved.folder / "report.html"
    assert saved.files[0].read_text(encoding="utf-8").splitlines()[2].startswith("Größe")
    assert {file.name for file in saved.files} < {file.name for file in saved.folder.iterdir()}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]
    assert read_run(saved.folder).measurements == run.measurements


def test_a_page_has_as_many_examples_as_are_asked_for(run: Run, tmp_path: Path) -> None:
    """By `harness report --examples`, and the page says how many there are."""
    write_run(run, tmp_path / "run")
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "run"), "--examples", "3", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "3 of 12 examples are on this page: those that moved most." in page
    assert CliRunner().invoke(cli, ["report", str(tmp_path / "run"), "--examples", "0"]).exit_code == 2


def test_a_run_is_reported_once(run: Run, tmp_path: Path) -> None:
    """Its folder twice, by any path, or a copy of it would be a second candidate."""
    write_run(run, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    for other in (tmp_path / "run", tmp_path / "." / "copy"):
        with pytest.raises(ReportError, match=r"is the same run as .*run; give each run once"):
            write_reports([tmp_path / "run", other], ReportOptions(out=tmp_path / "out"))


def fail_to_render(*_: object, **__: object) -> str:
    """Render nothing, for a fault that nobody thought of."""
    raise ZeroDivisionError


def fail_to_write(path: Path, _: str) -> Path:
    """Write nothing, as on a full disk."""
    raise OSError(28, "No space left on device", str(path))


@pytest.mark.parametrize(
    ("step", "fault", "error"),
    [
        ("compare", fail_to_render, ZeroDivisionError),
        ("markdown_report", fail_to_render, ZeroDivisionError),
        ("write_whole", fail_to_write, ReportError),
    ],
)
def test_a_fault_in_a_report_loses_no_record(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: Callable[..., object], error: type
) -> None:
    """Whatever fails after the records were written, they are complete and can be reported again."""
    monkeypatch.setattr(report_files, step, fault)
    with pytest.raises(error):
        write_results(run, tmp_path / "run", (), Terminal())

    assert read_run(tmp_path / "run").measurements == run.measurements
    assert not (tmp_path / "run" / "report.md").exists()


def test_subjects_that_are_not_there_are_told_first_in_every_format(run: Run, tmp_path: Path) -> None:
    """Each with its reason, escaped, and that the same command measures them."""
    lines = (
        "adapter, seed 45: not measured: its process died 3 times, last on node <b>",
        "x: not measured: sft failed",
    )
    write_run(replace(run, not_measured=lines), tmp_path / "run")
    formats = ("md", "html", "json", "latex")
    reports = write_reports([tmp_path / "run"], ReportOptions(formats=formats))
    texts = {file.suffix: file.read_text() for file in reports.files}

    assert read_run(tmp_path / "run").not_measured == lines
    assert json.loads(texts[".json"])["not_measured"] == [*lines]
    for suffix in (".md", ".html", ".tex"):
        assert all(line.split(" <")[0] in texts[suffix] for line in lines), suffix
    assert "<b>" not in texts[".md"].split("## ")[0]
    assert "node &lt;b&gt;" in texts[".html"]
    opening = texts[".md"].split("\n## ")[0]
    assert opening.index(NOT_COMPLETE) < opening.index("seed 45") < opening.index("sft failed")
    shown = terminal_report(reports.report, Screen(120))
    assert shown.index(NOT_COMPLETE) < shown.index("seed 45") < shown.index("perplexity")


def test_a_report_of_two_runs_says_which_run_is_not_complete(run: Run) -> None:
    """By the name of the run."""
    other = replace(run, name="other", not_measured=("x: not measured: it died",))

    assert put_together([run, other]).not_measured == ("other: x: not measured: it died",)
