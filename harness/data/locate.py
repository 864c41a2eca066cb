"""The files of a dataset under a data root: a `datasets.yaml`, or folders as the hub client leaves them."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.strict_yaml import read_yaml_mapping
from harness.config.wording import did_you_mean, shown
from harness.data.files import format_of, stem_of
from harness.data.row import DataError

INDEX = "datasets.yaml"
_SHOWN_NAMES = 8
# "train.jsonl", "train-00000-of-00002.parquet", "train_prefs-00000-of-00001-b42a775f407cee45.parquet".
_FILE_NAME = re.compile(r"(?P<split>[A-Za-z]\w*)(?:-\d+-of-(?P<shards>\d+))?(?:-[0-9a-f]+)?")
_HUB_FOLDER = re.compile(r"datasets--(?P<owner>.+?)--(?P<name>.+)")


@dataclass(frozen=True, slots=True)
class RowSource:
    """Where the rows of one dataset are; none of them is read yet."""

    place: str
    """The place as messages name it: a path, a data root, the hub's cache, or the hub."""
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Split -> its files; empty where the library `datasets` holds the rows."""
    folder: Path = Path()
    """The folder that messages name the files relative to."""
    revision: str | None = None
    """The commit on the hub that the files are of, where it is known."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """Split -> its rows as the library `datasets` holds them."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.files or self.tables)


def locate(
    data_root: Path, name: str, configuration: str, revision: str | None, *, folder_configurations: bool = False
) -> RowSource:
    """Returns the files of a dataset under a data root, by split.

    A `datasets.yaml` in the root (name[:configuration] -> split -> file relative to the root) is searched first, then
    folders `datasets--OWNER--NAME/snapshots/REVISION` (also below `hub/`), then plain folders `OWNER/NAME`.

    Args:
        data_root: The folder.
        name: Hub id without a configuration.
        configuration: Its configuration, or "".
        revision: Branch or commit wanted; only snapshot folders record it.
        folder_configurations: Without a configuration, take all configurations that `datasets.yaml` lists.

    Raises:
        DataError: The folder is missing, does not hold the dataset (the message lists what it holds), or is broken.
    """
    if not data_root.is_dir():
        raise DataError(f"data root {data_root}: no such folder")
    full_name = f"{name}:{configuration}" if configuration else name
    place = f"data root {data_root}"
    index = _read_index(data_root)
    if full_name in index:
        return RowSource(place, {split: (path,) for split, path in index[full_name].items()}, data_root)
    if folder_configurations and not configuration:
        parts = [index[each] for each in index if each.startswith(f"{name}:")]
        splits = {split: tuple(part[split] for part in parts if split in part) for part in parts for split in part}
        if splits:
            return RowSource(place, splits, data_root)
    source = locate_folder(data_root, name, configuration, revision, place=place)
    if source is not None:
        return source
    held = sorted({*index, *_names_of_folders(data_root)})
    listed = ", ".join(held[:_SHOWN_NAMES]) + (f" and {len(held) - _SHOWN_NAMES} more" if held[_SHOWN_NAMES:] else "")
    raise DataError(
        f"data root {data_root} does not hold {full_name}{did_you_mean(full_name, held)}; "
        f"it holds: {listed or 'no dataset'}"
    )


def locate_folder(
    parent: Path, name: str, configuration: str, revision: str | None, *, place: str = ""
) -> RowSource | None:
    """Returns the files of a dataset in folders of the hub client or in plain folders; None where there are none.

    Args:
        parent: The folder that holds the dataset's folder.
        name: As for `locate`.
        configuration: As for `locate`.
        revision: As for `locate`.
        place: How messages name `parent`.

    Raises:
        DataError: The revision is not there, or a split lacks some of its files.
    """
    for folder, commit in _hub_folders(parent, name, revision):
        files = splits_of_folder(folder, configuration)
        if files:
            return RowSource(place or str(parent), files, parent, commit)
    return None


def _read_index(data_root: Path) -> dict[str, dict[str, Path]]:
    """Returns `datasets.yaml` with its paths resolved; empty where there is no such file."""
    path = data_root / INDEX
    if not path.exists():
        return {}
    return {name: _splits(data_root, path, name, splits) for name, splits in read_yaml_mapping(path).items()}


def _splits(data_root: Path, index: Path, name: str, splits: Any) -> dict[str, Path]:
    if not isinstance(splits, dict) or not all(isinstance(file, str) for file in splits.values()):
        raise DataError(f"{index}: {name} must be a mapping of splits to files, got {shown(splits)}")
    for split, file in splits.items():
        if not (data_root / file).resolve().is_relative_to(data_root.resolve()):
            raise DataError(f"{index}: {name}, split {split}: the file must lie inside {data_root}, got {file}")
    return {split: data_root / file for split, file in splits.items()}


def _hub_folders(data_root: Path, name: str, revision: str | None) -> Iterator[tuple[Path, str | None]]:
    for parent in (data_root, data_root / "hub"):
        repository = parent / f"datasets--{name.replace('/', '--')}"
        if (repository / "snapshots").is_dir():
            commit = _commit(repository, revision)
            yield repository / "snapshots" / commit, commit
    plain = data_root / name
    if plain.is_dir():
        yield plain, None


def _commit(repository: Path, revision: str | None) -> str:
    """Returns the snapshot wanted: the one named, else the one `main` points at, else the only one."""
    there = sorted(folder.name for folder in (repository / "snapshots").iterdir() if folder.is_dir())
    reference = repository / "refs" / (revision or "main")
    wanted = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted not in there:
        problem = f"no snapshot {wanted}" if wanted else "several snapshots and no refs/main, so name data.*.revision"
        raise DataError(f"{repository}: {problem}; snapshots there are: {', '.join(there) or 'none'}")
    return wanted


def _below(folder: Path) -> list[Path]:
    """All files and folders below a folder, sorted; what may not be looked into is an error and not empty."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    walked = os.walk(folder, onerror=refuse)
    return sorted(Path(parent, name) for parent, folders, files in walked for name in (*folders, *files))


def splits_of_folder(folder: Path, configuration: str = "") -> dict[str, tuple[Path, ...]]:
    """Returns the data files below a folder by split; each file name begins with the name of its split.

    With a configuration, only files below a folder of that name count, in any case of letters. Numbered files
    belong to the split that their folder names, as in the hub's own conversion to Parquet. A file named like the
    configuration is its split train.

    Raises:
        DataError: A split of several files lacks some of them.
    """
    splits: dict[str, list[Path]] = {}
    n_shards: dict[tuple[Path, str], tuple[int, int]] = {}  # folder and split -> files there, and files there must be
    for path in _below(folder):
        suffix = format_of(path)
        way = [part.casefold() for part in path.relative_to(folder).parts[:-1]]
        stem = stem_of(path)
        if configuration and stem.casefold() == configuration.casefold():
            way, stem = [configuration.casefold()], "train"
        match = _FILE_NAME.fullmatch(path.parent.name if stem.isdecimal() and way else stem) if suffix else None
        if match and (not configuration or configuration.casefold() in way):
            splits.setdefault(match["split"], []).append(path)
            if match["shards"]:
                place = (path.parent, match["split"])
                n_shards[place] = (n_shards.get(place, (0, 0))[0] + 1, int(match["shards"]))
    for (parent, split), (n_there, n_needed) in n_shards.items():
        if n_there != n_needed:
            raise DataError(f"{parent}: split {split} has {n_there} of its {n_needed} files; fetch the others")
    return {split: tuple(paths) for split, paths in splits.items()}


def _names_of_folders(data_root: Path) -> Iterator[str]:
    for parent in (data_root, data_root / "hub"):
        for folder in parent.glob("datasets--*--*"):
            match = _HUB_FOLDER.fullmatch(folder.name)
            if match:
                yield f"{match['owner']}/{match['name']}"
