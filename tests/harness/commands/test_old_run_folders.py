"""Run folders of earlier checkouts: `harness report` renders them in every format."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import default_like_run, sweep_run

from harness.commands.report_files import FORMATS, REPORTS, ReportOptions, write_reports
from reports.records import Run
from reports.run_folder import read_run, write_run

NEWER: dict[str, tuple[str, ...]] = {
    "subjects": ("reference_basis", "beta", "beta_basis", "knows_rows"),
    "counts": ("suite_group", "dataset_name", "split", "conditions"),
    "selection": ("n_won", "n_compared", "decided_by", "tied_with"),
}
"""Records of run.json -> fields that earlier checkouts did not write."""


def age(folder: Path) -> None:
    """Takes everything out of a run folder that earlier checkouts did not write."""
    file = folder / "run.json"
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for key in ("fingerprint_without_beta", "gates", "has_examples", "checksums"):
        document.pop(key, None)
    for key, fields in NEWER.items():
        for record in document[key]:
            for name in fields:
                record.pop(name, None)
    document |= {"config": {}, "provenance": {}}
    file.write_text(json.dumps(document), encoding="utf-8")
    (folder / "examples.jsonl").unlink(missing_ok=True)


@pytest.mark.parametrize("make", [default_like_run, pytest.param(sweep_run, marks=pytest.mark.slow)])
def test_every_format_of_an_old_folder_is_written(make: Any, tmp_path: Path) -> None:
    """Names fall back on those of evaluations, facts that are not on record are left out, and no number is another."""
    run: Run = make()
    write_run(run, tmp_path / "run")
    age(tmp_path / "run")

    written = write_reports([tmp_path / "run"], ReportOptions(formats=FORMATS))

    names = {file.name for file in written.files}
    assert {file for file, _ in REPORTS.values()} <= names
    assert all(file.stat().st_size for file in written.files)
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "Preferred answers, reward accuracy" in report
    assert "Truthful answers, perplexity" in report
    assert " None" not in report
    assert read_run(tmp_path / "run").subject(run.baseline.name).beta is None
    shown = next(row for row in written.report.comparisons if row.primary and row.against == "definition")
    assert shown.difference is not None
    assert math.isfinite(shown.difference)
