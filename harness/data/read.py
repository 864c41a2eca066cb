"""Raw rows of one split of a dataset: from files, from the package, from a data root, or from the hub."""

import importlib.resources
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.config.limits import problem_of_row
from harness.config.schema import DatasetConfig
from harness.data.files import format_of, read_file, stem_of
from harness.data.locate import RowSource, locate, locate_folder, splits_of_folder
from harness.data.row import DataError, Row
from harness.models.hub import is_offline, is_path, require_hub
from reports.errors import first_line
from reports.json_text import JsonError, has_halves, unique_keys
from reports.paths import check_no_address, expanded

Item = TypeVar("Item")
Made = TypeVar("Made")

EMBEDDED_PREFIX = "embedded/"
"""What the names of the datasets in the package begin with."""
FILE_SPLIT = "train"
"""The split of a file that is a dataset by itself."""
_HUB_PARQUET = "refs/convert/parquet"
"""The revision at which the hub keeps its own conversion of a dataset that is a script."""
_ONCE: ContextVar[dict[Hashable, Any] | None] = ContextVar("_ONCE", default=None)
"""What was read within the current block of `each_split_once`; None outside of one."""


@dataclass(frozen=True, slots=True)
class Dataset(Generic[Item]):
    """The rows of one split, raw or made into pairs, rated answers, examples or questions."""

    rows: tuple[Item, ...]
    origin: str
    """Dataset and split, and the files or the revision on the hub they were read from."""
    n_read: int
    """Raw rows in the split."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows that are not in `rows`."""
    notes: tuple[str, ...] = ()
    """Lines for the user about choices that the configuration left open."""
    name: str = ""
    """The dataset as the configuration names it."""
    split: str = ""
    splits: tuple[str, ...] = ()
    """All splits that the dataset has where it was found."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset, found and not read."""

    dataset: DatasetConfig
    source: RowSource
    name: str
    part: str
    """Part of the dataset that its rows come from."""


def is_file(name: str) -> bool:
    """Whether a dataset's name is that of a file or folder on this disk."""
    return is_path(name) or format_of(Path(name)) is not None or Path(name).is_file()


def as_dataset(path_or_name: str) -> str:
    """A path that a user typed as the name of its dataset: what is on this disk is not looked for on the hub."""
    return f"./{path_or_name}" if not is_file(path_or_name) and Path(path_or_name).is_dir() else path_or_name


def name_of_rows(name: str) -> str:
    """The name without its reading: "PKU-Alignment/PKU-SafeRLHF#better" reads the rows of the name before the #."""
    return name if is_file(name) else name.partition("#")[0]


def load_rows(
    dataset: DatasetConfig,
    preferred_splits: Sequence[str],
    data_root: Path | None,
    *,
    folder_configurations: bool = False,
) -> Dataset[Row]:
    """Reads the split that the configuration names, or else the first preferred one that the dataset has.

    A name that ends like a data file, or that can only be a path, is a file on this disk with the one split train, or a
    folder of files named by split. Names that begin with `embedded/` are read from the package. Others are read from
    the data root where one is given, and then never from the hub; without a data root they are read from the hub or its
    cache.

    Args:
        dataset: Name, and perhaps split and revision.
        preferred_splits: Splits to take where none is named, best first; an only split is taken whatever its name.
        data_root: Folder of local data, or None.
        folder_configurations: The hub keeps this dataset's configurations as folders without listing them.

    Raises:
        DataError: The dataset, the split or a file is missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    return read_split(find_split(dataset, preferred_splits, data_root, folder_configurations=folder_configurations))


def find_split(
    dataset: DatasetConfig,
    preferred_splits: Sequence[str],
    data_root: Path | None,
    *,
    folder_configurations: bool = False,
) -> Split:
    """Finds the split that `load_rows` reads, and reads no row yet.

    Raises:
        DataError: The dataset or the split is missing.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    check_no_address(dataset.name)
    name, _, configuration = name_of_rows(dataset.name).partition(":")
    if is_file(dataset.name):
        path = expanded(dataset.name)
        source, part = _local(path), stem_of(path)
    else:
        source = _named(dataset, name, configuration, data_root, folder_configurations=folder_configurations)
        part = configuration or name.rpartition("/")[2]
    return Split(dataset, source, _pick(dataset, preferred_splits, source), part)


def read_split(split: Split) -> Dataset[Row]:
    """Reads the rows of a split.

    Raises:
        DataError: A file is missing or broken.
    """
    dataset, source, name = split.dataset, split.source, split.name
    rows, repaired = [], list[str]()
    for where, columns in _bounded(source, name, dataset):
        sound = _sound(columns, where)
        if sound is not columns:
            repaired.append(where)
        rows.append(Row(where=where, columns=sound, source=split.part))
    if not any(row.columns for row in rows):
        raise DataError(f"{_file_or_split(source, name, dataset)} holds {'only empty rows' if rows else 'no rows'}")
    origin = f"{dataset.name}, split {name}{_provenance(source, name, dataset.revision)}"
    notes = (_repair_note(dataset.name, repaired),) if repaired else ()
    return Dataset(tuple(rows), origin, len(rows), notes=notes, name=dataset.name, split=name, splits=source.splits)


@contextmanager
def each_split_once() -> Iterator[None]:
    """Within the block a split that serves several roles is read once; blocks may stand in each other."""
    if _ONCE.get() is not None:
        yield
        return
    token = _ONCE.set({})
    try:
        yield
    finally:
        _ONCE.reset(token)


def once(key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` returns, or what it returned before for this key within a block of `each_split_once`."""
    kept = _ONCE.get()
    if kept is None:
        return make()
    if key not in kept:
        kept[key] = make()
    made: Made = kept[key]
    return made


def embedded_folder() -> Path:
    """The folder of the data that ships with the project."""
    return Path(str(importlib.resources.files("harness") / "embedded" / "data"))


def _local(path: Path) -> RowSource:
    """A file, or a folder of files."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    files = splits_of_folder(path) if path.is_dir() else {FILE_SPLIT: (path,)}
    if not files:
        raise DataError(f"{path}: holds no file of rows, such as train.jsonl or test.parquet")
    return RowSource(str(path), files, path if path.is_dir() else path.parent)


def _named(
    dataset: DatasetConfig, name: str, configuration: str, data_root: Path | None, *, folder_configurations: bool
) -> RowSource:
    """A dataset that has a name: in the package, under the data root, or on the hub."""
    if data_root is not None or name.startswith(EMBEDDED_PREFIX):
        root = embedded_folder() if data_root is None or name.startswith(EMBEDDED_PREFIX) else data_root
        return locate(root, name, configuration, dataset.revision, folder_configurations=folder_configurations)
    if is_offline():
        from huggingface_hub import constants

        # `datasets` alone would find only what it has prepared itself, not what was downloaded.
        cache = Path(constants.HF_HUB_CACHE)
        place = f"the hub's cache {cache}"
        downloaded = locate_folder(cache, name, configuration, dataset.revision, place=place)
        if downloaded is not None:
            return downloaded
    return _from_hub(dataset, name, configuration, folder_configurations=folder_configurations)


def _from_hub(dataset: DatasetConfig, name: str, configuration: str, *, folder_configurations: bool) -> RowSource:
    """All splits of a dataset on the hub, or, offline, of one that `datasets` has prepared before."""
    require_hub(f"dataset {dataset.name} (no --data-root is given)")
    import datasets
    from datasets.exceptions import DatasetsError

    where = {"data_dir": configuration} if folder_configurations else {"name": configuration}
    options = {key: value for key, value in where.items() if value}
    try:
        tables: Mapping[str, Any] = datasets.load_dataset(name, revision=dataset.revision, **options)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        mode = "the hub's cache (HF_HUB_OFFLINE is set)" if is_offline() else "the hub"
        # A RuntimeError says that the dataset is a script, which is not run.
        advice = f"revision: {_HUB_PARQUET} may have its rows, and " if isinstance(error, RuntimeError) else ""
        raise DataError(
            f"dataset {dataset.name} cannot be read from {mode}: {first_line(error)}; "
            f"{advice}--data-root DIR names a folder of local copies"
        ) from None
    return RowSource("cache of the hub" if is_offline() else "hub", tables=tables)


def _pick(dataset: DatasetConfig, preferred: Sequence[str], source: RowSource) -> str:
    """The split to read."""
    splits = source.splits
    listed = ", ".join(splits)
    if dataset.split is not None:
        if dataset.split in splits:
            return dataset.split
        raise DataError(f"{dataset.name}: no split {dataset.split} in {source.place}; its splits are: {listed}")
    for split in preferred:
        if split in splits:
            return split
    if len(splits) == 1:
        return splits[0]
    raise DataError(
        f"{dataset.name}: none of the splits {', '.join(preferred)} in {source.place}; name one as `split`: {listed}"
    )


def _read(source: RowSource, split: str, dataset: DatasetConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields where each row is, such as "FILE, line 3", and its columns."""
    if source.files:
        return ((f"{file}, {where}", columns) for file in source.files[split] for where, columns in read_file(file))
    rows = enumerate(source.tables[split], start=1)
    return ((f"{dataset.name}, split {split}, row {number}", columns) for number, columns in rows)


def _sound(columns: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The columns themselves, or a copy with U+FFFD for each half of a surrogate pair, which is no character.

    JSON can spell such halves, as programs do that cut texts in the middle of an emoji; nothing can write them.

    Raises:
        DataError: The values are nested too deep to be looked at, or two keys become one.
    """
    try:
        return _made_sound(columns) if has_halves(columns) else columns
    except RecursionError:
        raise DataError(f"{where}: its values are nested too deep") from None
    except JsonError as error:
        raise DataError(f"{where}: {error}") from None


def _made_sound(value: Any) -> Any:
    if isinstance(value, str):
        # Two halves that belong together become their character; JSON spells it that way, and Python joins them.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, Mapping):
        return unique_keys([(_made_sound(key), _made_sound(item)) for key, item in value.items()])
    return [_made_sound(item) for item in value] if isinstance(value, list) else value


def _repair_note(name: str, repaired: Sequence[str]) -> str:
    rows = "1 row holds" if len(repaired) == 1 else f"{len(repaired)} rows hold"
    return f"{name}: {rows} half of a surrogate pair, which is no character and becomes U+FFFD, first in {repaired[0]}"


def _bounded(source: RowSource, split: str, dataset: DatasetConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields what `_read` does, each row within its limits, wherever it comes from."""
    for where, columns in _read(source, split, dataset):
        if problem := problem_of_row(columns):
            raise DataError(f"{where}: {problem}")
        yield where, columns


def _file_or_split(source: RowSource, split: str, dataset: DatasetConfig) -> str:
    """The only file of a split, or the split of a dataset."""
    files = source.files.get(split, ()) if source.files else ()
    return str(files[0]) if len(files) == 1 else f"split {split} of {dataset.name}"


def _provenance(source: RowSource, split: str, revision_wanted: str | None) -> str:
    """The files or the place a split is read from, unless it is the file that is the dataset, and what revision."""
    if not source.files:
        return f", {source.place}, revision {revision_wanted or 'main'}"
    first, *others = source.files[split]
    files = f", {first.relative_to(source.folder)}{f' and {len(others)} more' if others else ''}"
    if first == Path(source.place):
        files = ""
    if source.revision is not None:
        return f"{files}, revision {source.revision}"
    return files + (f" (revision {revision_wanted} could not be checked)" if revision_wanted else "")
