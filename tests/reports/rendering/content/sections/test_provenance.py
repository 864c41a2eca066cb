"""The section on provenance."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from reports.rendering.content.blocks import Table
from reports.rendering.content.sections.provenance import LONGEST_FACT, provenance_section


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * LONGEST_FACT, "x" * LONGEST_FACT),
        ("passed | " + "word " * 50, "passed | " + "word " * 37 + "word\u2026 (whole in run.json)"),
        ("x" * 300, "x" * LONGEST_FACT + "\u2026 (whole in run.json)"),
    ],
)
def test_a_long_value_says_that_it_was_cut(value: str, shown: str, fakes: SimpleNamespace) -> None:
    """After a whole word, and where all of it is."""
    table = provenance_section(replace(fakes.realistic_run(), provenance={"checks": value})).blocks[0]
    assert isinstance(table, Table)
    assert dict(table.rows)["checks"] == shown
