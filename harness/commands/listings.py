"""Tables of suites, presets, datasets and runs, for `harness list`."""

from pathlib import Path

from tabulate import tabulate

from harness.config.load import load_experiment, load_suite, preset_names, suite_names
from harness.data.catalogue import CATALOGUE
from harness.measuring.kinds import row_kinds
from harness.workspace import Workspace
from reports.plain_text import one_line
from reports.run_folder import list_runs


def suites() -> str:
    """Table of the suites that ship with the project."""
    rows = []
    for name in suite_names():
        suite = load_suite(name, row_kinds())
        rows.append((name, ", ".join(evaluation.name for evaluation in suite.evaluations), suite.description))
    return tabulate(rows, ("suite", "evaluations", ""))


def presets() -> str:
    """Table of the presets that ship with the project."""
    rows = []
    for name in preset_names():
        config = load_experiment(name)
        rows.append((name, config.model.name, config.data.training.name, config.description))
    return tabulate(rows, ("preset", "base model", "trains on", ""))


def datasets() -> str:
    """Table of the datasets that the project knows, and of what each offers."""
    rows = [
        (
            entry.name,
            ", ".join(entry.offers),
            f"{' or '.join(entry.training_splits)} / {' or '.join(entry.measuring_splits)}",
            entry.group,
            ", ".join(entry.columns),
            entry.licence,
        )
        for entry in CATALOGUE.values()
    ]
    table = tabulate(rows, ("dataset", "offers", "trains on / measures", "group", "columns", "licence"))
    return f"{table}\n\nOther datasets and files need `columns` beside their name, unless theirs have the usual names."


def runs(workspace: Path) -> str:
    """Table of the runs in a workspace, oldest first."""
    folder = Workspace(workspace).runs
    found = list_runs(folder)
    if not found:
        return f"no runs in {folder}"
    rows = [
        [one_line(text) for text in (run.name, run.suite, run.created, ", ".join(run.subjects), run.problem or "")]
        for run in found
    ]
    return tabulate(rows, ("run", "suite", "created", "subjects", "problem"), disable_numparse=True)
