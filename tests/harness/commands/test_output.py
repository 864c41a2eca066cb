"""What commands print: headline, table, and last the page; colours and links where a terminal has them."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.commands.output import reader_screen
from reports.records import ExampleScore, Metric, MetricScores, Run, Subject
from reports.run_folder import write_run

PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
EXPLORATORY = Metric("truthfulness", "bits_per_byte", "bits per byte", higher_is_better=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder without reports."""
    names = ("baseline", "adapter")
    run = Run(
        name="run",
        suite="alignment",
        created="2026-11-21T10:00:00+00:00",
        headline="Made up.",
        suite_fingerprint="0123456789abcdef",
        subjects=(Subject(names[0], "baseline", "base"), Subject(names[1], "candidate", "adapter", names[0])),
        measurements=tuple(
            MetricScores(
                metric, name, tuple(ExampleScore(f"e{n:02d}", f"g{n}", n + shift / n, 10) for n in range(1, 13))
            )
            for metric in (PERPLEXITY, EXPLORATORY)
            for shift, name in enumerate(names)
        ),
    )
    path = tmp_path_factory.mktemp("runs") / "run"
    write_run(run, path)
    return path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing says anything about colours or links."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM", "TERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_last_line_is_the_page(folder: Path) -> None:
    """It is written without being asked for, beside Markdown and CSV, which the line before it names."""
    done = CliRunner().invoke(cli, ["report", str(folder)], catch_exceptions=False)
    lines = done.output.splitlines()
    assert lines[-1] == str(folder / "report.html")
    assert lines[-2] == f"written to {os.path.relpath(folder)}: report.md, report.csv"
    assert (folder / "report.html").exists()
    assert "\x1b" not in done.output


def test_verbose_prints_the_rest_above_the_table(folder: Path, tmp_path: Path) -> None:
    """Exploratory rows are printed on request; without a page the last line names what was written."""
    options = ["report", str(folder), "--format", "csv", "--out", str(tmp_path)]
    short, long = (CliRunner().invoke(cli, [*options, *more]).output for more in ([], ["-v"]))
    assert "bits per byte" not in short
    assert long.index("bits per byte") < long.index("adapter against baseline")
    assert short.splitlines()[-1] == f"written to {os.path.relpath(tmp_path)}: report.csv"


def test_the_published_layout_prints_its_own_table(folder: Path, tmp_path: Path) -> None:
    """Cross-entropies in columns, and no headline."""
    options = ["report", str(folder), "--format", "csv", "--layout", "published", "--out", str(tmp_path)]
    output = CliRunner().invoke(cli, options).output
    assert "Nats per response token" in output
    assert "against baseline" not in output


def test_an_output_without_the_marks_gets_question_marks(folder: Path, tmp_path: Path) -> None:
    """A pipe on Windows is no reason to fail after everything was written."""
    options = ["report", str(folder), "--format", "csv", "--out", str(tmp_path)]
    done = CliRunner(charset="cp1252").invoke(cli, options, catch_exceptions=False)
    assert done.exit_code == 0
    assert "adapter against baseline" in done.output


@pytest.mark.parametrize("command", ["report", "eval", "train-and-eval"])
def test_every_command_that_prints_a_table_has_verbose(command: str) -> None:
    """Short and long."""
    assert "-v, --verbose" in CliRunner().invoke(cli, [command, "--help"]).output


@pytest.mark.parametrize(
    ("variables", "has_colours"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1", "TERM": "xterm-256color"}, True),
        ({"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
    ],
)
def test_colours_obey_the_environment(
    environment: pytest.MonkeyPatch, variables: dict[str, str], *, has_colours: bool
) -> None:
    """A file has none unless they are forced, NO_COLOR and a dumb terminal have none at all; a file has no links."""
    for name, value in variables.items():
        environment.setenv(name, value)
    screen = reader_screen()
    assert (screen.colours is not None) == has_colours
    assert not screen.links


@pytest.mark.parametrize(
    ("variables", "has_links"),
    [
        ({"TERM": "xterm-256color", "VTE_VERSION": "7600"}, True),
        ({"TERM": "foot"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "dumb", "VTE_VERSION": "7600"}, False),
    ],
)
def test_links_are_for_terminals_that_show_them(
    environment: pytest.MonkeyPatch, variables: dict[str, str], *, has_links: bool
) -> None:
    """Others print the path alone."""
    for name in ("KITTY_WINDOW_ID", "WT_SESSION", "WEZTERM_PANE", "KONSOLE_VERSION", "TERM_PROGRAM", "VTE_VERSION"):
        environment.delenv(name, raising=False)
    for name, value in variables.items():
        environment.setenv(name, value)
    environment.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert reader_screen().links == has_links
