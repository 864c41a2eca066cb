"""The run folder: everything a report needs, written completely or not at all.

run.json            everything but the rows below; sorted keys, never NaN
scores.parquet      one row an example, metric and subject
generations.jsonl   one answer a line
examples.jsonl      the texts of one example a line; missing in older folders
training.jsonl      one training row a line
report.md ...       reports, rendered from the files above

A field of a record that has a default may be missing in run.json, so that older folders can be read. `SCHEMA_VERSION`
is raised when older folders can no longer be read that way.

`checksums` in run.json holds the SHA-256 of the five files (of run.json, what it says without them), so that a changed
bit is an error and never another number. A folder of before has none and is read as it is; so is one whose run.json was
changed by hand and `checksums` taken out.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any

from reports.checksums import checksum, file_checksum
from reports.errors import UserError, first_line
from reports.free_records import odd_part
from reports.json_text import JsonError, parse_json
from reports.plain_text import one_line
from reports.records import ExampleScore, ExampleText, Generation, MetricScores, Run, without_nan
from reports.whole import temporary_sibling, whole_folder

SCHEMA_VERSION = 1
_OTHER_CHECKSUM = "it is not as it was written; bring it back, or measure again (scores in the cache are kept)"
_ROW_FILES = ("scores.parquet", "generations.jsonl", "examples.jsonl", "training.jsonl")
_SHOWN_CHARACTERS = 80
SCORE_COLUMNS = ("evaluation", "metric", "subject", "example_id", "group", "total", "count")


class RunFolderError(UserError):
    """A run folder cannot be read or written; the subclasses name the reason."""


class RunExistsError(RunFolderError):
    """The run folder exists already; a run is never overwritten."""


class RunNotWritableError(RunFolderError):
    """The run folder cannot be written."""


class RunNotFoundError(RunFolderError):
    """The run folder does not exist."""


class RunFileError(RunFolderError):
    """A file of a run folder is missing or damaged."""


class SchemaVersionError(RunFolderError):
    """The folder was written by a release with another schema."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A line of `harness list runs`; a folder that cannot be read has only `name` and `problem`."""

    name: str
    """Name of the folder."""
    suite: str = ""
    created: str = ""
    subjects: tuple[str, ...] = ()
    headline: str = ""
    problem: str | None = None
    """Error in one line, if the folder cannot be read."""


def check_run_folder(folder: Path) -> None:
    """Check that a run can be written to `folder`, before hours are spent on measuring it.

    Raises:
        RunExistsError: The folder exists.
        RunNotWritableError: Its parent cannot be created or written.
    """
    probe = temporary_sibling(folder)
    try:
        exists = folder.exists()
        folder.parent.mkdir(parents=True, exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise RunNotWritableError(f"cannot write the run folder {folder}: {error}") from error
    if exists:
        raise RunExistsError(f"the run folder {folder} exists; choose another name or remove it")


def write_run(run: Run, folder: Path) -> None:
    """Write a run into a new folder atomically.

    Args:
        run: A metric with NaN among its scores is written with its reason alone (`without_nan`).
        folder: Must not exist; its parents are created.

    Raises:
        RunExistsError: The folder exists.
        RunNotWritableError: It cannot be written (permissions, a full disk).
    """
    check_run_folder(folder)
    try:
        with whole_folder(folder) as temporary:
            _write_records(run, temporary)
    except OSError as error:
        raise RunNotWritableError(f"cannot write the run folder {folder}: {error}") from error


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunNotFoundError: The folder does not exist.
        RunFileError: A file is missing or damaged; the message names it.
        SchemaVersionError: The folder was written by a release with another schema.
    """
    document = _read_document(folder)
    sizes = [measurement.pop("n_scores") for measurement in document["measurements"]]
    run: Run = _validated(Run, document, folder / "run.json")
    names = [name for name in _ROW_FILES if name != "examples.jsonl" or document["has_examples"]]
    contents = {name: _read_checked(folder / name, document["checksums"].get(name)) for name in names}
    run = replace(
        run,
        measurements=_read_scores(contents["scores.parquet"], folder / "scores.parquet", run.measurements, sizes),
        generations=_read_records(tuple[Generation, ...], contents, folder / "generations.jsonl"),
        examples=_read_records(tuple[ExampleText, ...], contents, folder / "examples.jsonl"),
        training=tuple(_read_rows(contents["training.jsonl"], folder / "training.jsonl")),
    )
    if odd := odd_part(run):
        raise RunFileError(f"{folder} is damaged: {odd}")
    return run


def list_runs(folder: Path) -> list[RunSummary]:
    """Return summaries of the run folders in `folder`, oldest first; those that cannot be read come last."""
    if not folder.is_dir():
        return []
    runs = [_summary(path) for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(runs, key=lambda run: (run.problem is not None, run.created, run.name))


def _summary(folder: Path) -> RunSummary:
    try:
        run: Run = _validated(Run, _read_document(folder), folder / "run.json")
    except RunFolderError as error:
        return RunSummary(folder.name, problem=str(error))
    return RunSummary(folder.name, run.suite, run.created, tuple(s.name for s in run.subjects), run.headline)


def _write_records(run: Run, folder: Path) -> None:
    measurements = [without_nan(measurement) for measurement in run.measurements]
    bare = tuple(replace(measurement, scores=()) for measurement in measurements)
    document = asdict(replace(run, measurements=bare, generations=(), examples=(), training=()))
    for rows in ("generations", "examples", "training"):
        del document[rows]
    document["has_examples"] = True
    for row, measurement in zip(document["measurements"], measurements, strict=True):
        del row["scores"]
        row["n_scores"] = len(measurement.scores)
    document["schema_version"] = SCHEMA_VERSION
    _write_scores(folder / "scores.parquet", measurements)
    _write_rows(folder / "generations.jsonl", map(asdict, run.generations))
    _write_rows(folder / "examples.jsonl", map(asdict, run.examples))
    _write_rows(folder / "training.jsonl", run.training)
    checksums = {name: file_checksum(folder / name) for name in _ROW_FILES}
    document["checksums"] = checksums | {"run.json": _document_checksum(document)}
    _write_text(folder / "run.json", _json(document, indent=2) + "\n")


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _write_text(path, "".join(_json(row) + "\n" for row in rows))


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(_encoded(text))


def _encoded(text: str) -> bytes:
    r"""Return JSON text as bytes; a lone surrogate becomes \udXXX, which reads back as the same character."""
    return text.encode("utf-8", errors="backslashreplace")


def _document_checksum(document: Mapping[str, Any]) -> str:
    """Return the checksum of what run.json says, however its lines are broken, and without its checksums."""
    content = {key: value for key, value in document.items() if key != "checksums"}
    return checksum(_encoded(json.dumps(_plain(content), ensure_ascii=False, sort_keys=True, allow_nan=False)))


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    """Convert to JSON's own types; a value that is not finite becomes None, with its name under `<key>_missing`."""
    if isinstance(value, Mapping):
        reasons = {f"{key}_missing": str(float(item)) for key, item in value.items() if _is_not_finite(item)}
        return {str(key): _plain(item) for key, item in value.items()} | reasons
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # NumPy's numbers are registered with these two, and JSON knows neither
        return int(value)
    if isinstance(value, Real):
        return None if _is_not_finite(value) else float(value)
    return str(value) if isinstance(value, PurePath) else value


def _is_not_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, Integral) and not math.isfinite(value)


def _write_scores(path: Path, measurements: Iterable[MetricScores]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.dictionary(pa.int32(), pa.string())
    types = (names, names, names, pa.string(), pa.string(), pa.float64(), pa.float64())
    schema = pa.schema(list(zip(SCORE_COLUMNS, types, strict=True)))
    rows = [(m, score) for m in measurements for score in m.scores]
    columns: list[list[str] | list[float]] = [
        [m.metric.evaluation for m, _ in rows],
        [m.metric.name for m, _ in rows],
        [m.subject for m, _ in rows],
        [score.example_id for _, score in rows],
        [score.group for _, score in rows],
        [float(score.total) for _, score in rows],
        [float(score.count) for _, score in rows],
    ]
    arrays = [pa.array(column, type=kind) for column, kind in zip(columns, types, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


def _read_scores(
    content: bytes, path: Path, measurements: Iterable[MetricScores], sizes: list[int]
) -> tuple[MetricScores, ...]:
    """Return the measurements with their scores; the file has `sizes` rows of each measurement, in their order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
        columns = [table.column(name).to_pylist() for name in SCORE_COLUMNS]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise RunFileError(f"{path} is damaged: {first_line(error)}") from error
    if sum(sizes) != table.num_rows:
        raise RunFileError(f"{path} has {table.num_rows} rows; run.json counts {sum(sizes)}")
    rows = zip(*columns, strict=True)
    return tuple(
        replace(m, scores=tuple(_scores_of(m, islice(rows, n), path))) for m, n in zip(measurements, sizes, strict=True)
    )


def _scores_of(measurement: MetricScores, rows: Iterable[tuple[Any, ...]], path: Path) -> Iterator[ExampleScore]:
    expected = (measurement.metric.evaluation, measurement.metric.name, measurement.subject)
    for *names, example_id, group, total, count in rows:
        if tuple(names) != expected:
            raise RunFileError(f"{path} is damaged: rows of {names} where run.json has {list(expected)}")
        if not (isinstance(example_id, str) and isinstance(group, str)):
            raise RunFileError(f"{path} is damaged: a row without the id or the group of its example")
        if not (isinstance(total, float) and isinstance(count, float)):
            raise RunFileError(f"{path} is damaged: example {example_id} has no total or no count")
        yield ExampleScore(example_id, group, total, count)


def _read_document(folder: Path) -> dict[str, Any]:
    """Read run.json as a dictionary of this release's schema."""
    if not folder.is_dir():
        raise RunNotFoundError(f"there is no run folder {folder}")
    path = folder / "run.json"
    document = _parsed(_read(path), path)
    version = document.pop("schema_version", None)
    if type(version) is not int or version != SCHEMA_VERSION:  # true equals 1 in Python
        found = one_line(json.dumps(version))[:_SHOWN_CHARACTERS]
        raise SchemaVersionError(
            f"{path} has schema version {found}, this release reads {SCHEMA_VERSION}; "
            "report it with the release that wrote it"
        )
    checksums = document.setdefault("checksums", {})
    if not isinstance(checksums, dict):
        raise RunFileError(f"{path} is damaged: checksums is no mapping")
    if checksums and checksums.get("run.json") != _document_checksum(document | {"schema_version": version}):
        raise RunFileError(f"{path} is damaged: {_OTHER_CHECKSUM}")
    measurements = document.get("measurements")
    if not isinstance(measurements, list) or not all(
        isinstance(m, dict) and type(m.get("n_scores")) is int and m["n_scores"] >= 0 for m in measurements
    ):
        raise RunFileError(f"{path} is damaged: measurements is not a list of records with n_scores")
    return {"has_examples": False, **document, "measurements": [{**m, "scores": ()} for m in measurements]}


def _read_records(kind: Any, contents: Mapping[str, bytes], path: Path) -> Any:
    """Read the lines of a file as a tuple of records; none where an older run has no such file."""
    return _validated(kind, list(_read_rows(contents.get(path.name, b""), path)), path)


def _read_rows(content: bytes, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line:
            yield _parsed(line, path, f", line {number}")


def _read_checked(path: Path, expected: str | None) -> bytes:
    """Read a file that must have this checksum; None where the run is older than checksums."""
    content = _read(path)
    if expected is not None and checksum(content) != expected:
        raise RunFileError(f"{path} is damaged: {_OTHER_CHECKSUM}")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunFileError(f"{path} is missing") from error
    except OSError as error:
        raise RunFileError(f"{path} cannot be read: {first_line(error)}") from error


def _parsed(content: bytes, path: Path, where: str = "") -> dict[str, Any]:
    try:
        value = parse_json(content)
    except JsonError as error:
        raise RunFileError(f"{path}{where} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RunFileError(f"{path}{where} is damaged: expected an object, got {type(value).__name__}")
    return value


def _validated(kind: Any, value: object, path: Path) -> Any:
    """Validate a value as the record type `kind`, or a tuple of them."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = one_line(".".join(str(part) for part in first["loc"]))[:_SHOWN_CHARACTERS] or "the whole"
        problem = "is missing" if first["type"] == "missing" else "is not what a run holds there"
        raise RunFileError(f"{path} is damaged: {where} {problem}") from error
