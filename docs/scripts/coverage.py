"""Prints how often the intervals cover the truth in simulation: the table of docs/statistics.md, in a few minutes.

    python docs/scripts/coverage.py

The simulations are those of the slow tests of `reports/comparing/inference.py`.
"""
# ruff: noqa: INP001, SLF001, T201

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

TESTS = Path(__file__).parents[2] / "tests" / "reports" / "comparing" / "test_inference.py"
SIMULATIONS = {
    "_gamma": "amounts, skewness 1",
    "_exponential": "amounts, skewness 2",
    "_flips": "paired outcomes, 12 % won and 12 % lost",
    "_wins": "outcomes against a definition, 85 % won",
}
"""Function of the tests -> what it draws."""
GROUPS = (30, 100, 300)


def simulations() -> ModuleType:
    """Returns the module of the tests, which belongs to no package."""
    specification = importlib.util.spec_from_file_location("test_inference", TESTS)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def coverage_table() -> str:
    """Returns a Markdown table of a row for each kind of data and number of groups."""
    tests = simulations()
    rows = []
    for function, drawn in SIMULATIONS.items():
        for n_groups in GROUPS:
            arrays = getattr(tests, function)(n_groups, np.random.default_rng(n_groups))
            outcomes = function in ("_flips", "_wins")
            two_sided, one_sided = tests._coverage(arrays, is_outcomes=outcomes, by_definition=function == "_wins")
            ignoring = tests._coverage_ignoring_groups(*(array[:500] for array in arrays))
            shares = (two_sided, one_sided, ignoring)
            rows.append(" | ".join((drawn, str(n_groups), *(f"{100 * share:.1f} %" for share in shares))))
            print(f"{drawn}, {n_groups} groups", file=sys.stderr)
    header = ("data", "groups", "95 % interval", "one-sided 95 % bound", "95 % interval that ignores groups")
    lines = (" | ".join(header), "--- | ---: | ---: | ---: | ---:", *rows)
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    print(coverage_table())
