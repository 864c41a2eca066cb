"""docs/families.md shows what every family is scored by, and each is scored right."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "scripts" / "families.py"
ROW = re.compile(r"^\| (.+?) \| (\w+) \| (\S+) \|$", re.MULTILINE)


def rows_of(text: str) -> dict[str, tuple[str, float]]:
    """Family -> path and largest difference in nats."""
    return {family: (path, float(nats)) for family, path, nats in ROW.findall(text) if re.match(r"\d", nats)}


@pytest.mark.slow
def test_every_family_is_scored_right_and_by_the_path_that_the_page_names() -> None:
    """At least forty, by the product's own loader, within 1e-4 nats of one forward a request."""
    done = subprocess.run([sys.executable, SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = rows_of(done.stdout)

    assert len(measured) >= 40
    assert all(nats <= 1e-4 for _, nats in measured.values())
    page = rows_of((ROOT / "docs" / "families.md").read_text(encoding="utf-8"))
    paths = {family: path for family, (path, _) in measured.items()}
    assert {family: path for family, (path, _) in page.items()} == paths, "run docs/scripts/families.py --write"


def test_the_page_lists_the_families_that_are_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and no others, in their order."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from tiny_models import FAMILIES

    page = rows_of((ROOT / "docs" / "families.md").read_text(encoding="utf-8"))

    assert [*page] == [*FAMILIES]
    assert all(nats <= 1e-4 for _, nats in page.values())
