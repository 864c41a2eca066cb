"""The rows of one dataset as pairs, rated answers, examples or questions, and what became of the others."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar

from harness.config.schema import DatasetConfig
from harness.config.wording import did_you_mean
from harness.data.catalogue import CATALOGUE, Adapter, DatasetEntry, find_entry
from harness.data.columns import MEASURING_SPLITS, TRAINING_SPLITS, check_columns, standard_columns, unlisted_entry
from harness.data.make import (
    Trainable,
    example_of_pair,
    example_of_rated,
    one_example_an_answer,
    question_of,
    rated_of_pair,
)
from harness.data.overlap import Asked, asked
from harness.data.read import Rows, is_file, load_rows, name_of_rows
from harness.data.row import DataError, LeftOut, Row
from harness.data.splits import Item, sample_by_group
from reports.errors import UserError
from suites.inputs import Example, Pair, Question, RatedAnswer

Purpose: TypeAlias = Literal["training", "measuring"]
RowKind = TypeVar("RowKind")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[RowKind]):
    """The rows of one dataset, and what became of the others."""

    rows: tuple[RowKind, ...]
    origin: str
    """Dataset, split and where it was read from."""
    n_read: int
    left_out: Mapping[str, int]
    """Reason -> rows."""
    notes: tuple[str, ...] = ()
    """Choices worth telling."""
    dataset: str = ""
    split: str = ""


LoadedTrainable: TypeAlias = Loaded[Pair] | Loaded[RatedAnswer] | Loaded[Example]


@dataclass(frozen=True, slots=True)
class Opened:
    """The rows of a dataset as they were read, and what is known of it."""

    dataset: DatasetConfig
    entry: DatasetEntry
    read: Rows
    purpose: Purpose


def open_dataset(dataset: DatasetConfig, *, data_root: Path | None, purpose: Purpose) -> Opened:
    """Reads a dataset's rows and finds out what they hold: as configured, as listed, or by the names of its columns.

    Raises:
        DataError: rows that are missing or broken, or that nobody says how to read.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    if dataset.columns is not None:
        check_columns(dataset.name, dataset.columns)
    entry = _listed(dataset)
    training_splits = TRAINING_SPLITS if entry is None else entry.training_splits
    measuring_splits = MEASURING_SPLITS if entry is None else entry.measuring_splits
    wanted = training_splits if purpose == "training" else measuring_splits
    folders = entry is not None and entry.folder_configurations
    try:
        read = load_rows(dataset, wanted, data_root, folder_configurations=folders)
    except UserError as error:
        if entry is not None or is_file(dataset.name):
            raise
        raise type(error)(f"{error}{did_you_mean(dataset.name, CATALOGUE)}") from None
    if dataset.columns is not None:
        entry = unlisted_entry(dataset.name, dataset.columns)
    elif entry is None:
        there = read.rows[0].columns if read.rows else ()
        entry = unlisted_entry(dataset.name, standard_columns(dataset.name, tuple(there)))
    return Opened(dataset, entry, read, purpose)


def load_pairs(
    dataset: DatasetConfig, *, data_root: Path | None, seed: int, purpose: Purpose = "measuring"
) -> Loaded[Pair]:
    """The pairs of a dataset, repeated rows once, sampled to its limit.

    Raises:
        DataError: a dataset without pairs, or rows that are missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    return _pairs(open_dataset(dataset, data_root=data_root, purpose=purpose), seed)


def load_rated(
    dataset: DatasetConfig, *, data_root: Path | None, seed: int, purpose: Purpose = "training"
) -> Loaded[RatedAnswer]:
    """The rated answers of a dataset; of a pair the chosen one is good and the rejected one is bad.

    Raises:
        DataError: a dataset without rated answers, or rows that are missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    opened = open_dataset(dataset, data_root=data_root, purpose=purpose)
    if opened.entry.pair is None:
        return _rated(opened, seed)
    pairs = _pairs(opened, seed)
    rated = {each.example_id: each for pair in pairs.rows for each in rated_of_pair(pair)}
    return _with_rows(pairs, tuple(rated.values()), "same answer in another pair", 2 * len(pairs.rows) - len(rated))


def load_examples(
    dataset: DatasetConfig, *, data_root: Path | None, seed: int, purpose: Purpose = "measuring"
) -> Loaded[Example]:
    """The examples of a dataset: a pair's chosen answer, with the rejected ones as wrong; of rated answers, good ones.

    Raises:
        DataError: a dataset without examples, or rows that are missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    return _examples(open_dataset(dataset, data_root=data_root, purpose=purpose), seed)


def load_trainable(dataset: DatasetConfig, *, data_root: Path | None, seed: int) -> LoadedTrainable:
    """What a dataset has to train on, as it stands there: pairs, else rated answers, else examples.

    Raises:
        DataError: a dataset without any of them, or rows that are missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    return _trainable(open_dataset(dataset, data_root=data_root, purpose="training"), seed)


def load_questions(dataset: DatasetConfig, *, data_root: Path | None, seed: int) -> Loaded[Question]:
    """The prompts of a dataset, each once.

    Raises:
        DataError: rows that are missing or broken.
        HubUnreachable: the rows would have to come from the hub, and it does not answer.
    """
    opened = open_dataset(dataset, data_root=data_root, purpose="measuring")
    if opened.entry.question is not None:
        return _adapted(opened, opened.entry.question, seed)
    loaded = _trainable(opened, seed)
    questions = {question.example_id: question for question in map(question_of, loaded.rows)}
    n_same = len(loaded.rows) - len(questions)
    return _with_rows(loaded, tuple(questions.values()), "same prompt in another row", n_same)


def asked_of(dataset: DatasetConfig) -> Callable[[Trainable | Question], Asked]:
    """What the rows of a dataset ask, for the search of training rows."""
    entry = _listed(dataset)
    return asked if entry is None or dataset.columns is not None else entry.asked


def _listed(dataset: DatasetConfig) -> DatasetEntry | None:
    """The dataset's entry in the table, if it has one; whose columns are configured may have any configuration."""
    if is_file(dataset.name):
        return None
    if dataset.columns is not None:
        return CATALOGUE.get(name_of_rows(dataset.name).partition(":")[0])
    return find_entry(dataset.name)


def _trainable(opened: Opened, seed: int) -> LoadedTrainable:
    if opened.entry.pair is not None:
        return _pairs(opened, seed)
    return _examples(opened, seed) if opened.entry.rated is None else _rated(opened, seed)


def _pairs(opened: Opened, seed: int) -> Loaded[Pair]:
    if opened.entry.pair is None:
        raise _not_offered(opened.entry, "pairs")
    return _adapted(opened, opened.entry.pair, seed)


def _rated(opened: Opened, seed: int) -> Loaded[RatedAnswer]:
    if opened.entry.rated is None:
        raise _not_offered(opened.entry, "rated answers")
    return _adapted(opened, opened.entry.rated, seed)


def _examples(opened: Opened, seed: int) -> Loaded[Example]:
    if opened.entry.example is not None:
        return _adapted(opened, opened.entry.example, seed)
    if opened.entry.rated is not None:
        rated = _rated(opened, seed)
        good = tuple(example_of_rated(each) for each in rated.rows if each.is_good)
        return _with_rows(rated, good, "bad answer", len(rated.rows) - len(good))
    if opened.entry.pair is None:
        raise _not_offered(opened.entry, "examples")
    pairs = _pairs(opened, seed)
    examples = one_example_an_answer(map(example_of_pair, pairs.rows))
    n_joined = len(pairs.rows) - len(examples)
    return _with_rows(pairs, examples, "same answer in another row, wrong answers joined", n_joined)


def _adapted(opened: Opened, adapter: Adapter[Item], seed: int) -> Loaded[Item]:
    """What the adapter makes of the rows, repeated ones once, sampled to the dataset's limit."""
    dataset, read = opened.dataset, opened.read
    unique, left_out = _unique(read.rows, adapter)
    rows = sample_by_group(unique, dataset.limit, seed)
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "no rows"
        raise DataError(f"{read.origin}: no usable row ({reasons})")
    if len(rows) < len(unique):
        left_out[f"outside the sample of {dataset.limit}"] = len(unique) - len(rows)
    return Loaded(rows, read.origin, len(read.rows), left_out, _split_note(opened), dataset.name, read.split)


def _unique(rows: Iterable[Row], adapter: Adapter[Item]) -> tuple[tuple[Item, ...], dict[str, int]]:
    """What the adapter makes of the rows, repeated ones once, and how many were left out for which reason."""
    unique: dict[str, Item] = {}
    left_out: Counter[str] = Counter()
    for row in rows:
        made = adapter(row)
        for item in made if isinstance(made, tuple) else (made,):
            if isinstance(item, LeftOut):
                left_out[item.reason] += 1
            elif item.example_id in unique:
                left_out["repeated row"] += 1
            else:
                unique[item.example_id] = item
    return tuple(unique.values()), dict(left_out)


def _split_note(opened: Opened) -> tuple[str, ...]:
    """Which split was picked for what, where none is named."""
    dataset, read = opened.dataset, opened.read
    if dataset.split is not None:
        return ()
    if len(read.there) == 1:
        return (f"{dataset.name}: {read.split} is its only split there, used for {opened.purpose}",)
    return (f"{dataset.name}: split {read.split} is used for {opened.purpose}, of {', '.join(read.there)}",)


def _with_rows(loaded: LoadedTrainable, rows: tuple[RowKind, ...], reason: str, n_lost: int) -> Loaded[RowKind]:
    """What was loaded, as rows of another kind, of which some were lost for that reason."""
    left_out = {**loaded.left_out, reason: n_lost} if n_lost else dict(loaded.left_out)
    return Loaded(rows, loaded.origin, loaded.n_read, left_out, loaded.notes, loaded.dataset, loaded.split)


def _not_offered(entry: DatasetEntry, needed: str) -> DataError:
    return DataError(f"dataset {entry.name} has no {needed}; it offers {', '.join(entry.offers)}")
