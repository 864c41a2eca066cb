"""Rows of a dataset: from a file, from the package, from a data root or from the hub; and which split they are."""

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.schema import DatasetConfig
from harness.data.files import format_of, read_file
from harness.data.locate import locate, locate_folder, splits_of_folder
from harness.data.row import DataError, Row
from harness.models.hub import is_offline, is_path, require_hub

EMBEDDED = "embedded/"
FILE_SPLIT = "train"
"""The split of a file that is a dataset by itself."""
_HUB_PARQUET = "refs/convert/parquet"
"""Revision at which the hub keeps its own conversion of a dataset that is a script."""

_Numbered = Iterator[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one split."""

    rows: tuple[Row, ...]
    split: str
    there: tuple[str, ...]
    """All splits that the dataset offers there."""
    origin: str
    """Dataset, split, and the files or the hub revision they were read from."""


@dataclass(frozen=True, slots=True)
class _Files:
    """A dataset in files."""

    splits: Mapping[str, tuple[Path, ...]]
    where: str
    root: Path
    commit: str | None = None

    def read(self, split: str) -> _Numbered:
        """Where each row stands, and its columns."""
        return ((f"{file}, {where}", row) for file in self.splits[split] for where, row in read_file(file))

    def place(self, split: str, revision_wanted: str | None) -> str:
        """Which files, in words."""
        first, *others = self.splits[split]
        files = f"{first.relative_to(self.root)}{f' and {len(others)} more' if others else ''}"
        if self.commit is not None:
            return f"{files}, revision {self.commit}"
        return files + (f" (whether they are of revision {revision_wanted} is not known)" if revision_wanted else "")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A dataset as the library `datasets` gives it."""

    splits: Mapping[str, Any]
    where: str
    name: str

    def read(self, split: str) -> _Numbered:
        """Where each row stands, and its columns."""
        rows = enumerate(self.splits[split], start=1)
        return ((f"{self.name}, split {split}, row {number}", row) for number, row in rows)

    def place(self, _split: str, revision_wanted: str | None) -> str:
        """Which revision, in words."""
        return f"{self.where}, revision {revision_wanted or 'main'}"


def is_file(name: str) -> bool:
    """Whether the name of a dataset is that of a file, or of a folder, on this disk."""
    return is_path(name) or format_of(Path(name)) is not None


def name_of_rows(name: str) -> str:
    """The name without its reading ("PKU-Alignment/PKU-SafeRLHF#better" reads the rows of the name before the #)."""
    return name if is_file(name) else name.partition("#")[0]


def load_rows(
    dataset: DatasetConfig, splits_wanted: Sequence[str], data_root: Path | None, *, folder_configurations: bool = False
) -> Rows:
    """The rows of the split that the configuration names, or else of the first one wanted that is there.

    A name that ends as a file does, or can only be a path, is a file on this disk with the one split train, or a folder
    of files named by split. Names that begin with `embedded/` are read from the package. Others are read from the data
    root where one is given, and then never from the hub; without a data root they come from the hub or its cache.

    Args:
        dataset: name, and perhaps split and revision.
        splits_wanted: what to take where no split is named, best first; a dataset's only split is taken in any case.
        data_root: folder of local data, or None.
        folder_configurations: the hub has this dataset's configurations as folders, without naming them.

    Raises:
        DataError: the dataset, the split or a file is missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    name, _, configuration = name_of_rows(dataset.name).partition(":")
    found: _Files | _Prepared
    if is_file(dataset.name):
        path = Path(dataset.name).expanduser()
        found, source = _local(path), path.name.removesuffix(format_of(path) or "")
    else:
        found = _named(dataset, name, configuration, data_root, folder_configurations=folder_configurations)
        source = configuration or name.rpartition("/")[2]
    split = _pick(dataset, splits_wanted, list(found.splits), found.where)
    rows = tuple(Row(where=where, columns=row, source=source) for where, row in found.read(split))
    origin = f"{dataset.name}, split {split}, {found.place(split, dataset.revision)}"
    return Rows(rows, split, tuple(found.splits), origin)


def embedded_folder() -> Path:
    """The folder of the data that ships with the project."""
    return Path(str(importlib.resources.files("harness") / "embedded" / "data"))


def _local(path: Path) -> _Files:
    """A file, or a folder of files."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    splits = splits_of_folder(path) if path.is_dir() else {FILE_SPLIT: (path,)}
    if not splits:
        raise DataError(f"{path}: holds no file of rows, such as train.jsonl or test.parquet")
    return _Files(splits, str(path), path if path.is_dir() else path.parent)


def _named(
    dataset: DatasetConfig, name: str, configuration: str, data_root: Path | None, *, folder_configurations: bool
) -> _Files | _Prepared:
    """A dataset that has a name: embedded, under the data root, or of the hub."""
    if data_root is not None or name.startswith(EMBEDDED):
        root = embedded_folder() if data_root is None or name.startswith(EMBEDDED) else data_root
        located = locate(root, name, configuration, dataset.revision, folder_configurations=folder_configurations)
        return _Files(located.splits, f"data root {root}", root, located.revision)
    if is_offline():
        from huggingface_hub import constants

        # `datasets` alone would find only what it has prepared itself, not what was downloaded.
        cache = Path(constants.HF_HUB_CACHE)
        downloaded = locate_folder(cache, name, configuration, dataset.revision)
        if downloaded is not None:
            return _Files(downloaded.splits, f"the hub's cache {cache}", cache, downloaded.revision)
    return _from_hub(dataset, name, configuration, folder_configurations=folder_configurations)


def _from_hub(dataset: DatasetConfig, name: str, configuration: str, *, folder_configurations: bool) -> _Prepared:
    """All splits of a dataset on the hub, or of one that `datasets` has prepared for a user who is offline now."""
    require_hub(f"dataset {dataset.name} (no --data-root is given)")
    import datasets
    from datasets.exceptions import DatasetsError

    where = {"data_dir": configuration} if folder_configurations else {"name": configuration}
    options = {key: value for key, value in where.items() if value}
    try:
        splits: Mapping[str, Any] = datasets.load_dataset(name, revision=dataset.revision, **options)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        mode = "the hub's cache (HF_HUB_OFFLINE is set)" if is_offline() else "the hub"
        # A RuntimeError says that the dataset is a script, which is not run.
        advice = f"revision: {_HUB_PARQUET} may have its rows, and " if isinstance(error, RuntimeError) else ""
        raise DataError(
            f"dataset {dataset.name} cannot be had from {mode}: {reason}; "
            f"{advice}--data-root DIR names a folder of local copies"
        ) from None
    return _Prepared(splits, "cache of the hub" if is_offline() else "hub", dataset.name)


def _pick(dataset: DatasetConfig, wanted: Sequence[str], there: Sequence[str], where: str) -> str:
    """The split to read."""
    if dataset.split is not None:
        if dataset.split in there:
            return dataset.split
        raise DataError(f"{dataset.name}: no split {dataset.split} in {where}; splits there are: {', '.join(there)}")
    for split in wanted:
        if split in there:
            return split
    if len(there) == 1:
        return there[0]
    raise DataError(
        f"{dataset.name}: none of the splits {', '.join(wanted)} in {where}; name one as `split`: {', '.join(there)}"
    )
