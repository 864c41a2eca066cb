"""Whatever stands in the files of a run folder: a run and its reports, or a line; never a traceback."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzzing import FUZZED, answering, mutated
from hypothesis import given, seed
from hypothesis import strategies as st

from reports.comparing.compare import compare
from reports.comparing.gates import check_gates
from reports.rendering.content.report import Report
from reports.rendering.formats.csv import csv_report
from reports.rendering.formats.json import json_report
from reports.rendering.formats.markdown import markdown_report
from reports.rendering.formats.page import html_report
from reports.rendering.pictures.everything import all_pictures
from reports.run_folder import list_runs, read_run, write_run

_FILES = ("scores.parquet", "generations.jsonl", "examples.jsonl", "training.jsonl", "run.json")
_BROKEN = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"[" * 100_000, b'{"a": ' * 3000, b"null", b"[]", b"9" * 5000, b"{}", b'{"a": 1e999}', b"\xff"]
    ),
)
_CHANGES = st.one_of(
    st.just(("document", b"")),
    st.tuples(st.sampled_from(_FILES), _BROKEN),
    st.tuples(st.sampled_from(["generations.jsonl", "examples.jsonl", "training.jsonl"]), st.dictionaries(
        st.sampled_from(["kind", "candidate", "step", "loss", "example_id", "texts", "prompt", "answer"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.none(), max_size=2), st.just(10**400)),
    ).map(lambda row: json.dumps(row).encode() + b"\n")),
)  # fmt: skip


@pytest.fixture(scope="module")
def whole_run(fakes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder without checksums, as one that was edited by hand may be."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    write_run(fakes.realistic_run(), folder)
    document = json.loads((folder / "run.json").read_text())
    del document["checksums"]
    (folder / "run.json").write_text(json.dumps(document))
    return folder


@pytest.mark.slow
@seed(15)
@FUZZED
@given(data=st.data(), change=_CHANGES)
def test_any_run_folder_is_reported_or_told(
    whole_run: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, change: tuple[str, bytes]
) -> None:
    """Odd values anywhere in run.json, odd rows, and files that are none."""
    runs = tmp_path_factory.mktemp("runs")
    folder = runs / "run"
    shutil.copytree(whole_run, folder)
    name, content = change
    if name == "document":
        document = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(data.draw(mutated(document))))
    elif content.startswith(b'{"') and name.endswith(".jsonl"):
        (folder / name).write_bytes((folder / name).read_bytes() + content)
    else:
        (folder / name).write_bytes(content)
    with answering():
        (summary,) = list_runs(runs)
        run = read_run(folder)
        assert summary.problem is None
        report = Report(run, compare(run))
        assert csv_report(report)
        assert json_report(report)
        assert markdown_report(report)
        assert html_report(report, all_pictures(report))
        check_gates(run.gates, report.comparisons)
