"""Train an adapter once, name its folder by the hash of everything that determines it, and reuse it while that holds.

A fixture is a folder `workspace/fixtures/<fingerprint>` with PEFT's files, `training.jsonl`,
`trained_groups.txt` and `fixture.json`. During
training its checkpoints lie beside it in `<fingerprint>.partial`.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import Timeout

from harness.models import provenance
from harness.models.adapter_files.folder import CONFIG_FILE, FIXTURE_FILE, GROUPS_FILE, WEIGHTS_FILE
from harness.models.base import LoadedModel
from harness.models.origin import OF_TRAINING
from harness.models.provenance import package_versions
from harness.processes import by_all, by_the_first, gathered, n_together, told
from harness.training.checkpoints import has_checkpoint, writing
from harness.training.packed_step.forward import VERSION as PACKED_STEP_VERSION
from harness.training.packed_step.kept_check import read_check
from harness.training.recipe import EncodedRows, LogLine, Progress, Recipe, TrainingError, usable_recipe
from harness.training.token_table import table_of
from harness.training.trainer import Folders, UnpackableModelError, on_fitting_engine, train_adapter
from harness.workspace import Workspace
from reports.checksums import file_checksum
from reports.json_text import parse_json
from reports.locks import WITHOUT_END, hold
from reports.whole import whole_folder
from suites.engine.scoring import ScoreStore
from suites.inputs import content_id

LOG_FILE = "training.jsonl"
_FILES = (CONFIG_FILE, WEIGHTS_FILE, LOG_FILE, GROUPS_FILE)
_WITHOUT_EFFECT = ("save_steps", "report_to")
"""Settings of training that do not change the adapter."""
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


class DamagedFixtureError(Exception):
    """A fixture's files differ from what was written; the folder is renamed and the adapter trained again."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A trained adapter on disk."""

    folder: Path
    fingerprint: str
    reused: bool
    """Whether it was found rather than trained now."""
    log: tuple[LogLine, ...]
    """Lines of its training.jsonl."""
    notes: tuple[str, ...]
    """Messages for the user and for the reader of a report, the same whether it was trained or found."""
    told: str = ""
    """Message for the user alone: that it was found, or found damaged, or how a check of packs came out."""
    start: str | None = None
    """Fingerprint of the earlier stage's fixture that it continues from."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where adapters are trained and kept, and who is told of it."""

    workspace: Path
    """Folder of fixtures and logs."""
    say: Callable[[str], None]
    """Called with a message when a call waits for another process or continues from a checkpoint."""
    progress: Progress | None = None
    """Called with every log line."""
    cache: ScoreStore | None = None
    """Store of scores, for those of the reference."""


def build_or_reuse(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, place: Workplace, *, start: Fixture | None = None
) -> Fixture:
    """Return the fixture that these inputs determine: found in the workspace, or trained now.

    Training writes to a sibling folder, which is renamed when the adapter is complete. An interrupted training
    continues from its newest checkpoint. A second process that needs the same adapter waits for the first.

    Processes that are joined call this together. The first one alone holds the lock, decides and writes.

    Args:
        loaded: base model without adapters.
        rows: encoded training and selection rows.
        recipe: recipe of the run.
        place: where it is kept, and who is told.
        start: fixture of an earlier stage, whose weights training starts from.

    Raises:
        WorkspaceError: the workspace is not writable.
        TrainingError: the recipe cannot be trained.
    """
    by_the_first(Workspace(place.workspace).prepare)
    build = partial(_build_or_reuse, loaded, rows, place=place, start=start)
    return on_fitting_engine(build, recipe, place.say)


def _build_or_reuse(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, *, place: Workplace, start: Fixture | None
) -> Fixture:
    """Return the fixture of a recipe as it stands; see `build_or_reuse`.

    Raises:
        UnpackableModelError: the packed engine does not agree with TRL on this model.
    """
    workspace = Workspace(place.workspace)
    recipe, replaced = usable_recipe(recipe, loaded)
    inputs = fixture_inputs(loaded, rows, recipe, start)
    of_all = gathered(inputs)
    by_all(lambda: _check_alike(of_all))
    fingerprint = content_id(inputs)
    folder = workspace.fixtures / fingerprint
    check = file_of_check(workspace.fixtures, inputs)
    _refuse_unpackable(recipe, check)
    with ExitStack() as lock, ExitStack() as building:
        log, line = by_the_first(lambda: _found(folder, place.say, lock))
        fixture = partial(Fixture, folder, fingerprint, notes=replaced, start=inputs["start"])
        if log is not None:
            return fixture(reused=True, log=log, told=line)
        folders = Folders(
            adapter=_partial(folder) / "adapter",
            checkpoints=_partial(folder) / "checkpoints",
            start=None if start is None else start.folder,
            logs=workspace.logs / fingerprint,
            check=check,
        )
        by_the_first(lambda: building.enter_context(_building(folder, folders)))
        log = train_adapter(loaded, rows, recipe, folders, place.say, place.progress, cache=place.cache)
        record = inputs | {
            "fingerprint": fingerprint,
            "base": inputs["base"] | {"name": loaded.name},
            # Of this training, whoever reuses it; no part of the key.
            **{key: log[-1][key] for key in OF_TRAINING if key in log[-1]},
        }

        def complete() -> None:
            with writing(folders.adapter, folders.checkpoints):
                _write_record(folders.adapter, log, record, rows.groups)
            building.close()

        by_the_first(complete)
    return fixture(reused=False, log=log, told=line or str(log[-1].get("packed_step_check", "")))


def _check_alike(inputs: Sequence[dict[str, Any]]) -> None:
    """Check that all processes would train the same adapter.

    Args:
        inputs: what determines it, of each process.

    Raises:
        TrainingError: names what differs.
    """
    for index, own in enumerate(inputs):
        odd = sorted(key for key, value in own.items() if value != inputs[0][key])
        if odd:
            raise TrainingError(
                f"process {index + 1} of {len(inputs)} would train another adapter than the first: {', '.join(odd)} "
                f"differ; give all the same model, data and versions, on devices of one kind"
            )


def _found(folder: Path, say: Callable[[str], None], stack: ExitStack) -> tuple[tuple[LogLine, ...] | None, str]:
    """Lock a fixture until the stack ends; return its log, None without one, and a message for the user.

    Args:
        folder: where it is if it is complete; a damaged one is renamed.
        say: called with a message when another process has the lock.
        stack: takes the lock.
    """
    stack.enter_context(_locked(folder.with_name(f".{folder.name}.lock"), say))
    if not folder.exists():
        return None, ""
    try:
        log = _read(folder, folder.name)
    except DamagedFixtureError as error:
        damage = (
            f"The adapter in {folder} is damaged ({error}) and is trained again; "
            f"the damaged files are in {_set_aside(folder)}."
        )
        return None, damage
    shutil.rmtree(_partial(folder), ignore_errors=True)  # of a process that was killed as it finished
    return log, f"The trained adapter {folder.name} is reused: nothing that determines it has changed."


def planned_fixture(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, fixtures: Path, *, start: Fixture | None = None
) -> Fixture:
    """Return the fixture that these inputs determine without training it; `reused` says whether it is there already.

    Args:
        loaded: base model without adapters.
        rows: encoded training and selection rows.
        recipe: recipe of the run.
        fixtures: the workspace's folder of fixtures.
        start: planned fixture of an earlier stage.

    Raises:
        TrainingError: the recipe asks for packs, and it is known that they do not agree with TRL on this model.
    """
    planned = partial(_planned_fixture, loaded, rows, fixtures=fixtures, start=start)
    return on_fitting_engine(planned, recipe, lambda _line: None)


def _planned_fixture(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, *, fixtures: Path, start: Fixture | None
) -> Fixture:
    """Return the fixture of a recipe as it stands; see `planned_fixture`.

    Raises:
        UnpackableModelError: an earlier training found that the packed engine does not agree with TRL on this model.
    """
    recipe, replaced = usable_recipe(recipe, loaded)
    inputs = fixture_inputs(loaded, rows, recipe, start)
    _refuse_unpackable(recipe, file_of_check(fixtures, inputs))
    fingerprint = content_id(inputs)
    folder, log = fixtures / fingerprint, None
    with suppress(DamagedFixtureError):
        log = _read(folder, fingerprint)
    return Fixture(folder, fingerprint, reused=log is not None, log=log or (), notes=replaced, start=inputs["start"])


def find_fixture(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, fixtures: Path, *, start: Fixture | None = None
) -> Fixture | None:
    """Return the fixture that `build_or_reuse` would return if it is there already, whichever engine fitted; else None.

    Args:
        loaded: base model without adapters.
        rows: encoded training and selection rows.
        recipe: recipe of the run.
        fixtures: the workspace's folder of fixtures.
        start: fixture of an earlier stage.
    """
    recipes = [recipe]
    if recipe.training.engine == "auto":
        recipes.append(replace(recipe, training=replace(recipe.training, engine="trl")))
    for fitting in recipes:
        planned = planned_fixture(loaded, rows, fitting, fixtures, start=start)
        if planned.reused:
            return planned
    return None


def put_fixture(fixtures: Path, fingerprint: str, files: Mapping[str, bytes]) -> Path:
    """Write the files of a fixture that another process trained, unless it is there, and return its folder.

    Args:
        fixtures: folder of fixtures.
        fingerprint: name of its folder.
        files: name -> content.

    Raises:
        UnwritableError: it cannot be written.
    """
    folder = fixtures / fingerprint
    fixtures.mkdir(parents=True, exist_ok=True)
    with hold(folder.with_name(f".{fingerprint}.lock"), seconds=WITHOUT_END):
        if folder.exists():
            try:
                _read(folder, fingerprint)
            except DamagedFixtureError:
                _set_aside(folder)
            else:
                return folder
        with writing(_partial(folder), _partial(folder)), whole_folder(folder) as temporary:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
    return folder


def note_on_earlier_fixtures(fixtures: Path) -> str:
    """A line that tells why adapters in a folder of fixtures are not reused after an upgrade; empty without any."""
    n_earlier = 0
    for file in fixtures.glob(f"*/{FIXTURE_FILE}"):
        with suppress(OSError, ValueError, AttributeError):  # a damaged record is reported when its adapter is needed
            n_earlier += parse_json(file.read_bytes()).get("key_version") != provenance.KEY_VERSION
    if not n_earlier:
        return ""
    adapters = "1 adapter was" if n_earlier == 1 else f"{n_earlier} adapters were"
    return (
        f"{adapters} trained here by another version of this program, which computed them otherwise: they are not "
        f"reused, and {fixtures} keeps them until you remove them."
    )


def fixture_inputs(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, start: Fixture | None = None
) -> dict[str, Any]:
    """Return everything that determines an adapter as JSON values, with token ids as hashes."""
    settings = {key: value for key, value in asdict(recipe).items() if key != "n_ranks"}
    settings["training"] = {key: value for key, value in settings["training"].items() if key not in _WITHOUT_EFFECT}
    inputs = {
        "base": {
            "fingerprint": loaded.fingerprint,
            "quantization": loaded.quantization,
            "dtype": loaded.dtype,
            "compute_dtype": loaded.compute_dtype,
            **provenance.computed_on(loaded),
            "template": content_id(loaded.tokenizer.chat_template),
        },
        "start": None if start is None else start.fingerprint,
        "rows": {
            name: {"n": len(each), "content": table_of(each).content}
            for name, each in (("training", rows.training), ("selection", rows.selection))
        },
        "recipe": settings,
        "packed_step": PACKED_STEP_VERSION if recipe.training.engine == "packed" else None,
        "versions": package_versions(_PACKAGES),
        "ranks": n_together(recipe.n_ranks),
        "key_version": provenance.KEY_VERSION,
    }
    plain: dict[str, Any] = json.loads(json.dumps(inputs))
    return plain


def file_of_check(fixtures: Path, inputs: dict[str, Any]) -> Path:
    """Return the file of whether packs agree with TRL on a base with an adapter of this shape, whatever its rows."""
    of_model = {key: inputs[key] for key in ("base", "packed_step", "versions", "key_version")}
    of_model |= {"lora": inputs["recipe"]["lora"], "is_started": inputs["start"] is not None}
    return fixtures / f".{content_id(of_model)}.packs.json"


def _refuse_unpackable(recipe: Recipe, file: Path) -> None:
    """Check that no earlier training found that packs do not agree with TRL.

    Raises:
        UnpackableModelError: one did.
    """
    known = told(read_check(file)) if recipe.training.engine == "packed" else None
    if known is not None and not known.passed:
        raise UnpackableModelError(str(known))


def _write_record(folder: Path, log: Sequence[LogLine], record: dict[str, Any], groups: Iterable[str]) -> None:
    """Write training.jsonl, the groups trained on, and then fixture.json, which holds the hashes of all files."""
    (folder / GROUPS_FILE).write_text("".join(f"{group}\n" for group in sorted(groups)), encoding="utf-8")
    (folder / LOG_FILE).write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    files = {name: file_checksum(folder / name) for name in _FILES}
    text = json.dumps(record | {"files": files}, indent=2) + "\n"
    (folder / FIXTURE_FILE).write_text(text, encoding="utf-8")


def _read(folder: Path, fingerprint: str) -> tuple[LogLine, ...]:
    """Return the log of a complete fixture.

    Raises:
        DamagedFixtureError: a file is missing or differs from what was written.
    """
    try:
        record = parse_json((folder / FIXTURE_FILE).read_bytes())
        changed = [name for name in _FILES if file_checksum(folder / name) != record["files"][name]]
        log = [parse_json(line) for line in (folder / LOG_FILE).read_bytes().splitlines()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFixtureError(str(error).strip() or type(error).__name__) from error
    if changed or record["fingerprint"] != fingerprint:
        raise DamagedFixtureError(f"not as it was written: {', '.join(changed or [FIXTURE_FILE])}")
    return tuple(log)


def _set_aside(folder: Path) -> Path:
    """Rename a damaged fixture, replacing one that was renamed before, and return the new folder."""
    aside = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _partial(folder: Path) -> Path:
    """Return the folder in which a fixture is trained."""
    return folder.with_name(f"{folder.name}.partial")


@contextmanager
def _building(folder: Path, folders: Folders) -> Iterator[None]:
    """Make the folders to train in; rename the adapter's to `folder` on success, keep the checkpoints on failure.

    The caller holds the lock, so files that are there already were left by an interrupted process.
    """
    folders.checkpoints.mkdir(parents=True, exist_ok=True)
    try:
        with whole_folder(folder, folders.adapter):
            yield
        shutil.rmtree(folders.checkpoints)
    finally:
        if not has_checkpoint(folders.checkpoints):
            shutil.rmtree(_partial(folder), ignore_errors=True)


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(path))
        except Timeout:
            say(f"Another process is training this adapter; waiting for it ({path}).")
            stack.enter_context(hold(path, seconds=WITHOUT_END))
        yield
