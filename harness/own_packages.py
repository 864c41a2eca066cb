"""Finds files of others that stand in the way of this project's packages, before any of these is imported."""

import importlib.util
from pathlib import Path

_PACKAGES = ("suites", "reports")


def in_the_way() -> str | None:
    """A line that names the file which Python would import in place of one of the packages; None where there is none.

    Folders of the user's own come before installed packages: the working folder for `python -m harness`, those of
    PYTHONPATH for any command.
    """
    root = Path(__file__).resolve().parents[1]
    for name in _PACKAGES:
        specification = importlib.util.find_spec(name)
        if specification is None or specification.origin is None:
            continue
        file = Path(specification.origin)
        if file.resolve().parents[1] != root:
            return (
                f"{file} stands in the way of harness's own package {name}: rename it, or call harness from another "
                f"folder and without this one in PYTHONPATH"
            )
    return None
