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
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BufferedReader
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from reports.checksums import checksum, file_checksum, stream_checksum
from reports.errors import UserError, first_line
from reports.example_texts import ExampleTexts, Found, Wanted
from reports.free_records import odd_part
from reports.json_text import JsonError, parse_json
from reports.plain_text import one_line
from reports.records import ExampleText, Generation, MetricScores, Run, without_nan
from reports.score_file import DamagedScoresError, read_scores, write_scores
from reports.scores import ExampleScores, Positions
from reports.whole import temporary_sibling, whole_folder

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Record = TypeVar("Record")

SCHEMA_VERSION = 1
_OTHER_CHECKSUM = "it is not as it was written; bring it back, or measure again (scores in the cache are kept)"
_ROW_FILES = ("scores.parquet", "generations.jsonl", "examples.jsonl", "training.jsonl")
_SHOWN_CHARACTERS = 80
_LINE = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False)


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
    run = _run_of(document, folder / "run.json")
    for name in _ROW_FILES:
        if name != "examples.jsonl" or document["has_examples"]:
            _check_file(folder / name, document["checksums"].get(name))
    run = replace(
        run,
        measurements=_read_scores(folder / "scores.parquet", run.measurements, sizes),
        generations=tuple(_read_records(Generation, folder / "generations.jsonl")),
        examples=_read_texts(folder / "examples.jsonl") if document["has_examples"] else (),
        training=tuple(_read_rows(folder / "training.jsonl")),
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
        run = _run_of(_read_document(folder), folder / "run.json")
    except RunFolderError as error:
        return RunSummary(folder.name, problem=str(error))
    return RunSummary(folder.name, run.suite, run.created, tuple(s.name for s in run.subjects), run.headline)


def _write_records(run: Run, folder: Path) -> None:
    measurements = [without_nan(measurement) for measurement in run.measurements]
    bare = tuple(replace(measurement, scores=ExampleScores.of(())) for measurement in measurements)
    document = asdict(replace(run, measurements=bare, generations=(), examples=(), training=()))
    for rows in ("generations", "examples", "training"):
        del document[rows]
    document["has_examples"] = True
    for row, measurement in zip(document["measurements"], measurements, strict=True):
        del row["scores"]
        row["n_scores"] = len(measurement.scores)
    document["schema_version"] = SCHEMA_VERSION
    write_scores(folder / "scores.parquet", measurements)
    _write_rows(folder / "generations.jsonl", map(asdict, run.generations))
    _write_rows(folder / "examples.jsonl", map(asdict, run.examples))
    _write_rows(folder / "training.jsonl", run.training)
    checksums = {name: file_checksum(folder / name) for name in _ROW_FILES}
    document["checksums"] = checksums | {"run.json": _document_checksum(document)}
    text = json.dumps(_plain(document), ensure_ascii=False, sort_keys=True, allow_nan=False, indent=2)
    _write_text(folder / "run.json", text + "\n")


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as stream:
        stream.writelines(_encoded(_LINE.encode(_plain(row)) + "\n") for row in rows)


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(_encoded(text))


def _encoded(text: str) -> bytes:
    r"""Return JSON text as bytes; a lone surrogate becomes \udXXX, which reads back as the same character."""
    return text.encode("utf-8", errors="backslashreplace")


def _document_checksum(document: Mapping[str, Any]) -> str:
    """Return the checksum of what run.json says, however its lines are broken, and without its checksums."""
    content = {key: value for key, value in document.items() if key != "checksums"}
    return checksum(_encoded(json.dumps(_plain(content), ensure_ascii=False, sort_keys=True, allow_nan=False)))


def _plain(value: Any) -> Any:
    """Convert to JSON's own types; a value that is not finite becomes None, with its name under `<key>_missing`."""
    if isinstance(value, str | bool):  # the quickest to tell, and texts are nearly all that there is
        return value
    if isinstance(value, Mapping):
        reasons = {f"{key}_missing": str(float(item)) for key, item in value.items() if _is_not_finite(item)}
        return {str(key): _plain(item) for key, item in value.items()} | reasons
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Integral):  # NumPy's numbers are registered with these two, and JSON knows neither
        return int(value)
    if isinstance(value, Real):
        return None if _is_not_finite(value) else float(value)
    return str(value) if isinstance(value, PurePath) else value


def _is_not_finite(value: object) -> bool:
    if isinstance(value, str):
        return False
    return isinstance(value, Real) and not isinstance(value, Integral) and not math.isfinite(value)


def _read_document(folder: Path) -> dict[str, Any]:
    """Read run.json as a dictionary of this release's schema."""
    if not folder.is_dir():
        raise RunNotFoundError(f"there is no run folder {folder}")
    path = folder / "run.json"
    with _opened(path) as stream:
        document = _parsed(stream.read(), path)
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
    return {
        "has_examples": False,
        **document,
        "measurements": [{**m, "scores": ExampleScores.of(())} for m in measurements],
    }


def _run_of(document: Mapping[str, Any], path: Path) -> Run:
    from pydantic import TypeAdapter

    return _validated(TypeAdapter(Run), document, path)


def _read_scores(path: Path, measurements: Sequence[MetricScores], sizes: Sequence[int]) -> tuple[MetricScores, ...]:
    try:
        with _opened(path) as stream:
            return read_scores(stream, measurements, sizes)
    except DamagedScoresError as error:
        raise RunFileError(f"{path} {error}") from error


def _read_texts(path: Path) -> ExampleTexts:
    """Return the texts in a file, all of which are checked now and read again when they are wanted."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(ExampleText)
    starts, hashes = array("q"), array("q")
    for index, (number, start, line) in enumerate(_lines(path)):
        text = _validated(adapter, _parsed(line, path, f", line {number}"), path, f"{index}.")
        starts.append(start)
        hashes.append(hash((text.evaluation, text.example_id)))
    path = path.absolute()  # whatever the working folder is by then
    find = partial(_find_texts, path, np.asarray(starts), np.asarray(hashes))
    return ExampleTexts(partial(_read_records, ExampleText, path), find)


def _find_texts(path: Path, starts: Positions, hashes: Positions, wanted: Wanted) -> Found:
    """Read the lines of the wanted examples alone, by where lines start and by the hashes of what they are about."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(ExampleText)
    keys = {(evaluation, example_id) for evaluation, ids in wanted.items() for example_id in ids}
    found = {}
    with _opened(path) as stream:
        for start in starts[np.isin(hashes, np.fromiter(map(hash, keys), np.int64, len(keys)))].tolist():
            stream.seek(start)
            text = _validated(adapter, _parsed(stream.readline(), path), path)
            if (key := (text.evaluation, text.example_id)) in keys:
                found[key] = text
    return found


def _read_records(kind: type[Record], path: Path) -> Iterator[Record]:
    """Yield the lines of a file as records."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(kind)
    for index, row in enumerate(_read_rows(path)):
        yield _validated(adapter, row, path, f"{index}.")


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, _, line in _lines(path):
        yield _parsed(line, path, f", line {number}")


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, first byte and content of each line that is not empty."""
    start = 0
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if content := line.removesuffix(b"\n"):
                yield number, start, content
            start += len(line)


def _check_file(path: Path, expected: str | None) -> None:
    """Check that a file is there and has this checksum; None where the run is older than checksums."""
    with _opened(path) as stream:
        if expected is not None and stream_checksum(stream) != expected:
            raise RunFileError(f"{path} is damaged: {_OTHER_CHECKSUM}")


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with path.open("rb") as stream:
            yield stream
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


def _validated(adapter: "TypeAdapter[Record]", value: object, path: Path, place: str = "") -> Record:
    """Validate a value as a record; `place` is where it stands in the file, for the message."""
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = one_line(place + ".".join(str(part) for part in first["loc"]))[:_SHOWN_CHARACTERS] or "the whole"
        problem = "is missing" if first["type"] == "missing" else "is not what a run holds there"
        raise RunFileError(f"{path} is damaged: {where} {problem}") from error
