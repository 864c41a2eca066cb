"""Build a trained adapter once, under the hash of everything that determines it; reuse it while nothing changes.

A fixture is a folder `workspace/fixtures/<fingerprint>` with PEFT's files, `training.jsonl` and `fixture.json`. While
it is trained its checkpoints lie in `<fingerprint>.partial` beside it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.models.adapters import CONFIG_FILE, FIXTURE_FILE, WEIGHTS_FILE
from harness.models.base import LoadedModel
from harness.models.provenance import file_fingerprint, package_versions
from harness.training.checkpoints import writing
from harness.training.recipe import Progress, RatedRequest, Row, TrainingRow, kind_of, requests_of
from harness.training.trainer import Folders, Recipe, TrainingRows, train_adapter, usable_recipe
from harness.workspace import Workspace
from suites.inputs import content_id

ROWS_FILE = "training.jsonl"
_FILES = (CONFIG_FILE, WEIGHTS_FILE, ROWS_FILE)
_WITHOUT_EFFECT = ("save_steps", "report_to")
"""Settings of training that no adapter depends on."""
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


class DamagedFixtureError(Exception):
    """A fixture folder is not what was written; it is set aside and built anew."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A trained adapter on disk."""

    folder: Path
    fingerprint: str
    reused: bool
    training_rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Lines worth telling."""
    start: str | None = None
    """Fingerprint of the fixture that it was started from."""


def build_or_reuse(
    loaded: LoadedModel,
    rows: TrainingRows,
    recipe: Recipe,
    workspace: Path,
    say: Callable[[str], None],
    progress: Progress | None = None,
    *,
    start: Fixture | None = None,
) -> Fixture:
    """Find the adapter that these inputs determine, or train it.

    Training happens in a sibling folder; the adapter gets its name when it is complete. What a call that was cut off
    has kept is gone on from. A second process that wants the same adapter waits for the first.

    Args:
        loaded: the base, without adapters.
        rows: encoded training and selection rows.
        recipe: adapter, run and seed.
        workspace: folder for fixtures and logs.
        say: told a line when it has to wait, or goes on from a checkpoint.
        progress: told of every row of training.
        start: the adapter of a stage before, whose weights it starts from.

    Raises:
        WorkspaceError: the workspace cannot be written.
        TrainingError: the recipe cannot be trained.
    """
    place = Workspace(workspace)
    place.prepare()
    recipe, replaced = usable_recipe(recipe, loaded.device)
    inputs = fixture_inputs(loaded, rows, recipe, start)
    fingerprint = content_id(inputs)
    folder = place.fixtures / fingerprint
    with _locked(folder.with_name(f".{fingerprint}.lock"), say):
        notes = list(replaced)
        if folder.exists():
            try:
                kept = _read(folder, fingerprint)
            except DamagedFixtureError as error:
                notes.append(
                    f"The adapter in {folder} was damaged ({error}) and is built anew; see {_set_aside(folder)}."
                )
            else:
                notes.append(f"The trained adapter {fingerprint} is reused: nothing that determines it has changed.")
                shutil.rmtree(_partial(folder), ignore_errors=True)  # of a process that was killed as it finished
                return Fixture(
                    folder, fingerprint, reused=True, training_rows=kept, notes=tuple(notes), start=inputs["start"]
                )
        with _building(folder, None if start is None else start.folder, place.logs / fingerprint) as folders:
            trained = train_adapter(loaded, rows, recipe, folders, say, progress)
            record = inputs | {"fingerprint": fingerprint, "base": inputs["base"] | {"name": loaded.name}}
            with writing(folders.adapter, folders.checkpoints):
                _write_record(folders.adapter, trained, record)
    return Fixture(folder, fingerprint, reused=False, training_rows=trained, notes=tuple(notes), start=inputs["start"])


def fixture_inputs(
    loaded: LoadedModel, rows: TrainingRows, recipe: Recipe, start: Fixture | None = None
) -> dict[str, Any]:
    """Everything that determines an adapter, long lists as hashes, as JSON can hold it."""
    settings = asdict(recipe)
    settings["training"] = {key: value for key, value in settings["training"].items() if key not in _WITHOUT_EFFECT}
    inputs = {
        "base": {
            "fingerprint": loaded.fingerprint,
            "quantization": loaded.quantization,
            "dtype": loaded.dtype,
            "compute_dtype": loaded.compute_dtype,
            "device": loaded.device,
            "template": content_id(loaded.tokenizer.chat_template),
        },
        "start": None if start is None else start.fingerprint,
        "rows": {
            name: {"n": len(each), "content": _content(each)}
            for name, each in (("training", rows.training), ("selection", rows.selection))
        },
        "recipe": settings,
        "versions": package_versions(_PACKAGES),
    }
    plain: dict[str, Any] = json.loads(json.dumps(inputs))
    return plain


def _content(rows: Sequence[TrainingRow]) -> str:
    """Hash of the token ids of all rows, and of what is known of them."""
    tokens = [(request.prompt_ids, request.response_ids) for request in requests_of(rows)]
    return content_id(
        [kind_of(row) for row in rows], tokens, [row.is_good for row in rows if isinstance(row, RatedRequest)]
    )


def _write_record(folder: Path, rows: Sequence[Row], record: dict[str, Any]) -> None:
    """The files beside PEFT's; the record, with the hashes of all, is the last one."""
    (folder / ROWS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {name: file_fingerprint(folder / name) for name in _FILES}
    text = json.dumps(record | {"files": files}, indent=2) + "\n"
    (folder / FIXTURE_FILE).write_text(text, encoding="utf-8")


def _read(folder: Path, fingerprint: str) -> tuple[Row, ...]:
    """The training rows of a complete fixture.

    Raises:
        DamagedFixtureError: a file is missing or is not the one that was written.
    """
    try:
        record = json.loads((folder / FIXTURE_FILE).read_text(encoding="utf-8"))
        changed = [name for name in _FILES if file_fingerprint(folder / name) != record["files"][name]]
        rows = [json.loads(line) for line in (folder / ROWS_FILE).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFixtureError(str(error).strip() or type(error).__name__) from error
    if changed or record["fingerprint"] != fingerprint:
        raise DamagedFixtureError(f"not as it was written: {', '.join(changed or [FIXTURE_FILE])}")
    return tuple(rows)


def _set_aside(folder: Path) -> Path:
    """Rename a damaged fixture, in place of one that was set aside before."""
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _partial(folder: Path) -> Path:
    """Where the adapter of a fixture is built."""
    return folder.with_name(f"{folder.name}.partial")


@contextmanager
def _building(folder: Path, start: Path | None, logs: Path) -> Iterator[Folders]:
    """Folders to train in; the adapter's becomes `folder` when the block ends well, checkpoints stay when not.

    The caller holds the lock, so what lies there already is what a process that was cut off left.
    """
    folders = Folders(_partial(folder) / "adapter", _partial(folder) / "checkpoints", start, logs)
    shutil.rmtree(folders.adapter, ignore_errors=True)
    folders.adapter.mkdir(parents=True)
    folders.checkpoints.mkdir(exist_ok=True)
    try:
        yield folders
        folders.adapter.rename(folder)
        shutil.rmtree(folders.checkpoints)
    finally:
        shutil.rmtree(folders.adapter, ignore_errors=True)
        if not any(folders.checkpoints.glob("*")):
            shutil.rmtree(_partial(folder), ignore_errors=True)


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process trains this adapter; waiting for it ({path}).")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
