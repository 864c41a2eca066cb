"""Records in; statistics, tables and verdicts out, without torch.

For notebooks: `read_run(folder)`, then `run.to_pandas()` or `compare(run)`. Importing this package loads nothing heavy.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.comparing.compare import Comparison
    from reports.records import Run

__all__ = ["compare", "read_run"]


def read_run(folder: str | Path) -> "Run":
    """Read a run folder.

    Raises:
        RunFolderError: The folder is missing or damaged, or another release wrote it.
    """
    from reports.run_folder import read_run as read

    return read(Path(folder))


def compare(run: "Run") -> "list[Comparison]":
    """Return every paired difference of a run: candidates minus baseline, rulers and other candidates.

    Raises:
        UnpairedExamplesError: The subjects of a metric were measured on different examples.
    """
    from reports.comparing.compare import compare as compare_run

    return compare_run(run)
