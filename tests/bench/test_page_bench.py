"""The benchmark of the page: what its table says, and that a real browser is measured where there is one."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

FOLDER = Path(__file__).parent
TEXT = '<p>0123456789</p><script type="application/json" id="data">' + "x" * 2_000_000 + "</script>"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the benchmark."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("page")


@pytest.fixture
def run(page: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the block with visits that took what is said."""
    bench = importlib.import_module("bench")

    def run_with(*visits: tuple[float, float], count: str = "5,000 of 5,000 examples.", problems: int = 0) -> Result:
        left = iter(visits)
        monkeypatch.setattr(shutil, "which", lambda name: name if visits else None)
        monkeypatch.setattr(page, "page_of", lambda *_: TEXT)
        monkeypatch.setattr(page, "visit", lambda *_: page.Visit(*next(left), "Prompt", count, 80, problems))
        return CliRunner().invoke(bench.bench, ["page", "--repetitions", str(len(visits) or 1)])

    return run_with


def cells(result: Result) -> list[list[str]]:
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_the_medians_stand_beside_what_is_aimed_at(run: Callable[..., Result]) -> None:
    """Of three visits the middle one of each, and the size with and without the data."""
    result = run((900, 300), (1_200, 100), (950, 250))

    assert result.exit_code == 0
    assert cells(result)[:4] == [
        ["first paint", "950 ms", "1,000 ms", "reached"],
        ["sorting, by the slowest column (Prompt)", "250 ms", "200 ms", "not reached"],
        ["size without data", "0.00 MB", "1.5 MB", "reached"],
        ["size", "2.0 MB", "", ""],
    ]


@pytest.mark.parametrize("changes", [{"count": "4,999 of 4,999 examples."}, {"problems": 1}])
def test_a_page_that_lacks_examples_or_complains_ends_it(run: Callable[..., Result], changes: dict[str, Any]) -> None:
    """With exit code 1: a fast page that is wrong is none."""
    result = run((900, 100), **changes)

    assert result.exit_code == 1
    assert "nothing in the console: no" in result.stdout


def test_without_a_browser_it_says_what_to_install(run: Callable[..., Result]) -> None:
    """And ends nothing, since the other blocks need none."""
    result = run()

    assert result.exit_code == 0
    assert "apt-get install -y --no-install-recommends chromium" in result.stdout


def test_the_size_without_data_is_that_of_everything_else(page: Any) -> None:
    """Only what the scripts read is left out."""
    assert page.bytes_without_data(TEXT) == len(TEXT) - 2_000_000


@pytest.mark.slow
def test_a_real_browser_paints_and_sorts(page: Any) -> None:
    """Times are above nothing, every example is counted, and the console is empty."""
    binary = next(filter(None, map(shutil.which, page.BROWSERS)), None)
    if binary is None:
        pytest.skip("no browser: install the package chromium")

    visit = page.visit(page.page_of(2, 300), binary)

    assert visit.first_paint_ms > 0
    assert visit.sorting_ms > 0
    assert (visit.count.startswith("300 of 300 "), visit.problems) == (True, 0)
    assert 0 < visit.n_rows <= 200
