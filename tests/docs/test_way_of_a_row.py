"""docs/architecture.md shows the way of a row as the code goes it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_page_shows_the_way_that_a_row_goes() -> None:
    """What the script prints is what stands in the page; `--write` puts it there."""
    script = ROOT / "docs" / "scripts" / "way_of_a_row.py"
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    way = done.stdout[done.stdout.index("| | type |") :].strip()

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert way in page, f"run {script.relative_to(ROOT)} --write"
    assert way.count("\n| ") > 10
