"""The first table of README.md: what the committed adapter, which is the embedded default's, measures."""

import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
OLDER_PROCESSOR = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""Makes oneDNN and torch compute as on a processor without AVX-512."""
RULER = "bag of words"
MINUS = "\u2212"
NUMBER = re.compile(rf"[+{MINUS}]?\d[\d,]*(?:\.\d+)?")


class Row(NamedTuple):
    """A row of a table of differences, by its cells as printed."""

    base: str
    """Of the baseline, or of the ruler that the candidate is compared with."""
    candidate: str
    difference: str
    interval: str
    verdict: str

    def words(self) -> str:
        """The row without its numbers."""
        return NUMBER.sub("", " ".join(self))

    def interval_width(self) -> Decimal:
        """Of the interval, in the unit in which the difference is printed."""
        low, high = numbers_in(self.interval)
        return high - low


def numbers_in(text: str) -> list[Decimal]:
    """All numbers of a text in the order in which they stand."""
    return [Decimal(each.replace(",", "").replace(MINUS, "-")) for each in NUMBER.findall(text)]


def readme_rows() -> dict[str, Row]:
    """The rows of the README's table by their metric."""
    section = README.read_text(encoding="utf-8").split("## Read a row")[1].split("\n## ")[0]
    return rows_of(section)


def rows_of(text: str) -> dict[str, Row]:
    """Rows of the tables in a Markdown text by metric; of comparisons with rulers those with a bag of words."""
    rows: dict[str, Row] = {}
    for line in text.splitlines():
        cells = [re.split("<sup>|<br>", cell)[0].strip("* ") for cell in line.strip().strip("|").split("|")]
        if len(cells) == 8 and cells[1] == RULER:
            rows[f"{cells[0]}, against a {RULER}"] = Row(*cells[2:6], cells[7])
        elif len(cells) == 6 and " to " in cells[4]:
            rows.setdefault(cells[0], Row(*cells[1:]))
    return rows


def report_of(folder: Path, environment: dict[str, str], *command: str) -> dict[str, Row]:
    """The rows of the report that a command of `harness` writes in a process of its own, with one thread.

    More threads would wait for the cores that other tests compute on; the figures have to be the same.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith(("HARNESS_", "OMP_"))}
    own |= {"HARNESS_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    arguments = ("--suite", "alignment", "--out", str(folder / "run"), "--workspace", str(folder / "workspace"))
    harness = (sys.executable, "-m", "harness")
    done = subprocess.run([*harness, *command, *arguments], env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return rows_of((folder / "run" / "report.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("environment", [{}, OLDER_PROCESSOR], ids=["this processor", "one without AVX-512"])
def test_the_committed_adapter_measures_what_the_readme_shows(
    reference: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    """Every figure equals the README's to one unit of its last digit, and every verdict is the same."""
    shown = readme_rows()
    measured = report_of(tmp_path, environment, "eval", "--adapter", f"adapter={reference.ADAPTER}")

    assert len(shown) >= 4
    for metric, row in shown.items():
        assert measured[metric].words() == row.words(), metric
        for ours, theirs in zip(numbers_in(" ".join(measured[metric])), numbers_in(" ".join(row)), strict=True):
            exponent = theirs.as_tuple().exponent
            assert isinstance(exponent, int)
            assert abs(ours - theirs) <= Decimal(1).scaleb(exponent), f"{metric}: {ours} for {theirs}"


def test_a_training_on_another_processor_has_the_same_outcomes(tmp_path: Path) -> None:
    """Each difference lies within a tenth of its interval from the README's, and every verdict is the same."""
    trained = report_of(tmp_path, OLDER_PROCESSOR, "train-and-eval")

    for metric, row in readme_rows().items():
        (difference,), (shown,) = (numbers_in(each.difference) for each in (trained[metric], row))
        assert trained[metric].verdict == row.verdict, metric
        assert abs(difference - shown) <= row.interval_width() / 10, f"{metric}: {difference} for {shown}"
