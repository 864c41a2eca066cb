"""The section on where a run comes from: versions, device, seeds."""

from collections.abc import Iterator, Mapping
from typing import Any

from reports.comparing.settings import flat
from reports.records import Run
from reports.rendering.content.blocks import Code, Paragraph, Section, Table

LONGEST_FACT = 200
"""Most characters of a value of provenance; of a longer one the beginning is shown, up to a whole word."""


def provenance_section(run: Run) -> Section:
    """Return versions, device and seeds; the whole configuration is in run.json."""
    facts = {"run": run.name, "suite": run.suite, "suite fingerprint": run.suite_fingerprint, "created": run.created}
    rows = tuple((key, _shown(value)) for key, value in (facts | dict(_facts(run.provenance))).items())
    where = Paragraph(("The resolved configuration is in ", Code("run.json"), "."))
    return Section("provenance", "Provenance", (Table(("What", "Value"), rows, "ll"), where), "versions, device, seeds")


def _shown(value: str) -> str:
    if len(value) <= LONGEST_FACT:
        return value
    return f"{value[:LONGEST_FACT].rpartition(' ')[0] or value[:LONGEST_FACT]}\u2026 (whole in run.json)"


def _facts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values in words, sorted at every depth; what is empty is left out."""
    for key, value in sorted(flat(values), key=lambda fact: fact[0].split(".")):
        if value not in ({}, None):
            yield key, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
