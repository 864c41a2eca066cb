"""Rows for the tests of data: the real ones where they lie, and a writer of small files."""

import json
import os
from pathlib import Path

import pytest

from harness.data.row import Row


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real rows, or a skip where there is none."""
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("HARNESS_DATA_ROOT") or default)
    if not (folder / "datasets.yaml").is_file():
        pytest.skip(f"no real rows at {folder}; HARNESS_DATA_ROOT names another folder")
    return folder


@pytest.fixture
def row():
    """Makes a row of columns."""

    def make(read_from="somewhere", **columns):
        return Row(where="rows.jsonl, line 1", columns=columns, source=read_from)

    return make


@pytest.fixture
def write_rows(tmp_path):
    """Writes rows as JSON Lines below the test's folder."""

    def write(name, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
        return path

    return write
