"""docs/architecture.md shows the way of a row as the code goes it."""

import re
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
    way = re.search(r"^(\d+) stops:$.*", done.stdout, flags=re.MULTILINE | re.DOTALL)

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert way is not None
    assert way[0].strip() in page, f"run {script.relative_to(ROOT)} --write"
    assert 10 <= int(way[1]) <= 14
