"""Measures the report page in a real browser: `nox -s bench -- page`.

The page of many candidates on thousands of examples with texts, opened in a new Chromium each time.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from tabulate import tabulate

SUPPORT = Path(__file__).parents[1] / "support"
BROWSERS = ("chromium", "google-chrome")
FIRST_PAINT_MS, SORTING_MS, LARGEST_BYTES = 1_000, 200, 1_500_000
"""What is aimed at; the bytes are those of the page without its data."""
_DATA = re.compile(r'(<script type="application/json" id="data">).*?(</script>)', re.DOTALL)

PAINT = """new Promise((done) => new PerformanceObserver((list) =>
  list.getEntries().filter((each) => each.name === "first-contentful-paint").forEach((each) => done(each.startTime))
).observe({ type: "paint", buffered: true }))"""
UNFOLD = """new Promise((done) => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  requestAnimationFrame(() => setTimeout(done));
})"""
COLUMNS = """[...document.querySelectorAll("#examples th button")].map((each) => each.textContent)"""
SORT = """new Promise((done) => {
  const button = document.querySelectorAll("#examples th button")[%d];
  const started = performance.now();
  button.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
})"""
COUNT = """document.getElementById("examples-count").textContent"""
ROWS = """document.querySelectorAll("#examples tbody tr").length"""


@dataclass(frozen=True, slots=True)
class Visit:
    """What a browser did with the page once."""

    first_paint_ms: float
    sorting_ms: float
    """From the click on a column's head to the painted order, of the slowest column, either way round."""
    slowest_column: str
    count: str
    """What the page says of how many examples it shows."""
    n_rows: int
    """Examples in the document, of all that are counted."""
    problems: int
    """Errors and lines in the console."""


@click.command("page", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--examples", "n_examples", type=click.IntRange(10), default=5_000, show_default=True)
@click.option("--candidates", "n_candidates", type=click.IntRange(1), default=20, show_default=True)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
def page(n_examples: int, n_candidates: int, repetitions: int) -> bool:
    """Returns the table and whether each visit showed all examples without a complaint in the console."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        click.echo("### The page\n\nNot measured: no browser (apt-get install -y --no-install-recommends chromium).\n")
        return True
    text = page_of(n_candidates, n_examples)
    visits = []
    for number in range(repetitions):
        visits.append(visit(text, binary))
        click.echo(f"page, {number + 1}: first paint after {visits[-1].first_paint_ms:.0f} ms", err=True)
    holds = all(each.count.startswith(f"{n_examples:,} of {n_examples:,} ") and not each.problems for each in visits)
    click.echo(
        f"### The page of {n_candidates} candidates and {n_examples:,} examples\n\n"
        f"In Chromium, the median of {repetitions}.\n\n{_table(text, visits)}\n\n"
        f"All examples there, nothing in the console: {'yes' if holds else 'no'}.\n"
    )
    return holds


def page_of(n_candidates: int, n_examples: int) -> str:
    """Returns the page of a made-up run."""
    sys.path.insert(0, str(SUPPORT))
    from made_up_runs import many_run

    from reports.comparing.compare import compare
    from reports.rendering.content.report import Report
    from reports.rendering.formats.page import html_report
    from reports.rendering.pictures.everything import all_pictures

    run = many_run(n_candidates, n_examples)
    report = Report(run, compare(run))
    return html_report(report, all_pictures(report))


def visit(text: str, binary: str) -> Visit:
    """Opens the page in a browser of its own, and sorts the examples by each column, both ways."""
    sys.path.insert(0, str(SUPPORT))
    from chromium import Chromium

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "report.html"
        file.write_text(text, encoding="utf-8")
        browser = Chromium(binary, Path(folder) / "profile")
        try:
            browser.open(file, 1_400)
            paint = browser.evaluate(PAINT)
            browser.evaluate(UNFOLD)
            times = [
                (browser.evaluate(SORT % place), column)
                for place, column in enumerate(browser.evaluate(COLUMNS))
                for _ in ("one way", "the other")
            ]
            found = browser.evaluate(COUNT), browser.evaluate(ROWS), len(browser.problems)
        finally:
            browser.close()
    return Visit(paint, *max(times), *found)


def bytes_without_data(text: str) -> int:
    """Returns the size of a page less the records, texts and pictures' data that it holds for its scripts."""
    return len(_DATA.sub(r"\1\2", text).encode())


def _table(text: str, visits: Sequence[Visit]) -> str:
    paint = median(each.first_paint_ms for each in visits)
    slowest = sorted(visits, key=lambda each: each.sorting_ms)[len(visits) // 2]
    bare = bytes_without_data(text)
    rows = [
        ("first paint", f"{paint:.0f} ms", f"{FIRST_PAINT_MS:,} ms", paint <= FIRST_PAINT_MS),
        (
            f"sorting, by the slowest column ({slowest.slowest_column})",
            f"{slowest.sorting_ms:.0f} ms",
            f"{SORTING_MS} ms",
            slowest.sorting_ms <= SORTING_MS,
        ),
        ("size without data", f"{bare / 1e6:.2f} MB", f"{LARGEST_BYTES / 1e6:.1f} MB", bare <= LARGEST_BYTES),
        ("size", f"{len(text.encode()) / 1e6:.1f} MB", "", None),
        ("examples in the document at a time", f"{max(each.n_rows for each in visits):,}", "", None),
    ]
    verdicts = {True: "reached", False: "not reached", None: ""}
    shown = [(*row[:3], verdicts[row[3]]) for row in rows]
    return tabulate(shown, ("what", "measured", "aim", ""), tablefmt="pipe", disable_numparse=True)
