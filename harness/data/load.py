"""The rows of one dataset as pairs, rated answers, examples or questions, with a count of those left out."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from harness.config.schema import ColumnsConfig, DatasetConfig
from harness.config.wording import did_you_mean, listed
from harness.data.catalogue import CATALOGUE, find_entry
from harness.data.columns.adapters import MEASURING_SPLITS, TRAINING_SPLITS, check_columns, unlisted_entry
from harness.data.columns.names import standard_columns
from harness.data.columns.unused import unused_keys, unused_note
from harness.data.make import (
    OverlapQuery,
    Trainable,
    example_of_pair,
    example_of_rated,
    one_example_an_answer,
    overlap_query,
    question_of,
    rated_of_pair,
)
from harness.data.message import is_missing
from harness.data.read import EMBEDDED_PREFIX, Dataset, find_split, is_file, name_of_rows, once, read_split
from harness.data.row import DataError, LeftOut, Row, UnusableRowError
from harness.data.sources.entry import Adapter, DatasetEntry
from harness.data.splits import Item
from reports.errors import UserError
from suites.inputs import Example, Pair, Question, RatedAnswer

_IF_THERE = " (if there)"
"""What the catalogue writes behind a column that not every row has."""


class NotOfferedError(DataError):
    """A dataset has no rows of the kind that is needed."""


Purpose: TypeAlias = Literal["training", "measuring"]
TrainableDataset: TypeAlias = Dataset[Pair] | Dataset[RatedAnswer] | Dataset[Example]


def load_pairs(dataset: DatasetConfig, *, data_root: Path | None, purpose: Purpose = "measuring") -> Dataset[Pair]:
    """The pairs of a dataset, repeated ones once.

    Raises:
        DataError: The dataset has no pairs, or its rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    return _pairs(_read(dataset, data_root, purpose))


def load_rated(
    dataset: DatasetConfig, *, data_root: Path | None, purpose: Purpose = "training"
) -> Dataset[RatedAnswer]:
    """The rated answers of a dataset; a pair's chosen answer is good and its rejected one bad.

    Raises:
        DataError: The dataset has no rated answers, or its rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    read = _read(dataset, data_root, purpose)
    if read.entry.pair is None:
        return _rated(read)
    pairs = _pairs(read)
    rated = {each.example_id: each for pair in pairs.rows for each in rated_of_pair(pair)}
    return _converted(pairs, tuple(rated.values()), "same answer in another pair", 2 * len(pairs.rows) - len(rated))


def load_examples(
    dataset: DatasetConfig, *, data_root: Path | None, purpose: Purpose = "measuring"
) -> Dataset[Example]:
    """The examples of a dataset: its own, or the chosen answers of its pairs, or the good ones of its rated answers.

    A pair's rejected answer is a wrong response of the example.

    Raises:
        DataError: The dataset has no examples, or its rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    return _examples(_read(dataset, data_root, purpose))


def load_trainable(dataset: DatasetConfig, *, data_root: Path | None) -> TrainableDataset:
    """What a dataset offers to train on: pairs, else rated answers, else examples.

    Raises:
        NotOfferedError: The dataset has none of them.
        DataError: Its rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    return _trainable(_read(dataset, data_root, "training"))


def load_for_rulers(dataset: DatasetConfig, *, data_root: Path | None) -> TrainableDataset:
    """What surface rulers can be fitted on: as `load_trainable`, and no rows where a dataset has prompts alone.

    Raises:
        DataError: Its rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    try:
        return load_trainable(dataset, data_root=data_root)
    except NotOfferedError:
        nothing: Dataset[Pair] = Dataset((), dataset.name, 0, name=dataset.name)
        return nothing


def load_questions(dataset: DatasetConfig, *, data_root: Path | None) -> Dataset[Question]:
    """The prompts of a dataset, each once.

    Raises:
        DataError: The rows are missing or broken.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    read = _read(dataset, data_root, "measuring")
    if read.entry.question is not None:
        return read.adapted(read.entry.question)
    trainable = _trainable(read)
    questions = {question.example_id: question for question in map(question_of, trainable.rows)}
    n_same = len(trainable.rows) - len(questions)
    return _converted(trainable, tuple(questions.values()), "same prompt in another row", n_same)


def offered_rows(dataset: DatasetConfig, data_root: Path | None) -> tuple[str, ...]:
    """What the rows of a dataset can serve as, the most that they say first: see `DatasetEntry.offers`.

    Raises:
        DataError: The rows are missing or broken, or nothing says what their columns hold.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    return _read(dataset, data_root, "measuring").entry.offers


def overlap_query_of(dataset: DatasetConfig) -> Callable[[Trainable | Question], OverlapQuery]:
    """The function that says which texts of a dataset's rows training rows are searched for."""
    entry = _listed(dataset)
    return overlap_query if entry is None or dataset.columns is not None else entry.overlap_query


class _Source:
    """One split, read, and what its columns hold; its rows are made once, for however many roles."""

    def __init__(self, raw: Dataset[Row], entry: DatasetEntry | None, columns: ColumnsConfig | None) -> None:
        """Finds out what the columns hold: as configured, as listed, or by their names.

        Raises:
            DataError: Nothing says it, or no row has a column that is configured.
        """
        self.entry, self.notes = _understood(raw, entry, columns)
        self.facts = replace(raw, rows=())
        """The dataset without its rows."""
        self._raw = deque(raw.rows)
        self._made: tuple[tuple[Any, ...], Mapping[str, int]] | None = None

    def made(self, adapter: Adapter[Item]) -> tuple[tuple[Item, ...], Mapping[str, int]]:
        """What the only adapter of the entry makes of the rows, and counts of those left out.

        Each raw row is let go when something is made of it: there are many of both, and they hold the same texts.

        Raises:
            DataError: No row can be used.
        """
        if self._made is None:
            there: dict[str, None] = {}
            rows, left_out = _unique(self._let_go(there), adapter)
            if not rows:
                reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "no rows"
                columns = f"; its columns are: {listed(there)}" if there else ""
                raise DataError(f"{self.facts.origin}: no usable row ({reasons}){columns}")
            self._made = rows, left_out
        return self._made

    def _let_go(self, there: dict[str, None]) -> Iterator[Row]:
        """Yields each raw row, keeps none of them, and notes the names of its columns."""
        while self._raw:
            row = self._raw.popleft()
            there.update(dict.fromkeys(row.columns))
            yield row


@dataclass(frozen=True, slots=True)
class _Reading:
    """A split as it was read for one purpose."""

    facts: Dataset[Row]
    """The dataset without its rows."""
    source: _Source

    @property
    def entry(self) -> DatasetEntry:
        """How its rows are read."""
        return self.source.entry

    def adapted(self, adapter: Adapter[Item]) -> Dataset[Item]:
        """What the adapter makes of the raw rows, repeated ones once.

        Raises:
            DataError: No row can be used.
        """
        return _with_rows(self.facts, *self.source.made(adapter))


def _read(dataset: DatasetConfig, data_root: Path | None, purpose: Purpose) -> _Reading:
    """A split, and what its columns hold: as configured, as listed, or by their names.

    Raises:
        DataError: The rows are missing or broken, or nothing says what their columns hold.
        HubUnreachable: The rows would have to come from the hub, and it does not answer.
    """
    if dataset.columns is not None:
        check_columns(dataset.name, dataset.columns)
    entry = _listed(dataset)
    training_splits = TRAINING_SPLITS if entry is None else entry.training_splits
    measuring_splits = MEASURING_SPLITS if entry is None else entry.measuring_splits
    preferred = training_splits if purpose == "training" else measuring_splits
    folders = entry is not None and entry.folder_configurations
    with _suggestions(dataset, entry):
        split = find_split(dataset, preferred, data_root, folder_configurations=folders)

    def source_of_split() -> _Source:
        with _suggestions(dataset, entry):
            raw = read_split(split)
        return _Source(raw, entry, dataset.columns)

    source = once((dataset.name, split.name, dataset.revision, dataset.columns, data_root), source_of_split)
    facts = source.facts
    split_note = () if dataset.split is not None else (_split_note(facts, purpose),)
    return _Reading(replace(facts, notes=(*facts.notes, *split_note, *source.notes)), source)


@contextmanager
def _suggestions(dataset: DatasetConfig, entry: DatasetEntry | None) -> Iterator[None]:
    """Adds names of the catalogue to errors about a name that is in neither catalogue nor file system."""
    try:
        yield
    except UserError as error:
        if entry is None and not is_file(dataset.name):
            error.args = (f"{error}{did_you_mean(dataset.name, CATALOGUE)}",)
        raise


def _understood(
    raw: Dataset[Row], entry: DatasetEntry | None, columns: ColumnsConfig | None
) -> tuple[DatasetEntry, tuple[str, ...]]:
    """What the columns of rows hold, and notes on them."""
    there = Counter(column for row in raw.rows for column, value in row.columns.items() if not is_missing(value))
    notes = []
    media: tuple[str, ...] = ()
    if columns is not None:
        _check_columns_are_there(raw, columns)
        entry = unlisted_entry(raw.name, columns)
    elif entry is None:
        standard = standard_columns(raw.name, there)
        notes.append(standard.note)
        columns, media = standard.columns, standard.media
        entry = unlisted_entry(raw.name, columns, media)
    used = {column.removesuffix(_IF_THERE) for column in (*entry.columns, *media)}
    keys = unused_keys(raw.rows, columns) if columns is not None else {}
    if not raw.name.startswith(EMBEDDED_PREFIX):
        notes.append(unused_note(raw.name, used, there, keys))
    return entry, tuple(filter(None, notes))


def _check_columns_are_there(raw: Dataset[Row], columns: ColumnsConfig) -> None:
    """Checks that some row has each column that the configuration names.

    Raises:
        DataError: None has; the message lists the columns that there are.
    """
    there = dict.fromkeys(column for row in raw.rows for column in row.columns)
    for key, column in asdict(columns).items():
        # Texts and scores of a list of answers may be keys within its column.
        if column is not None and key not in ("pairs", "answer_text", "scores") and raw.rows and column not in there:
            raise DataError(
                f"dataset {raw.name}: columns.{key} is {column!r}, which no row has{did_you_mean(column, there)}; "
                f"its columns are: {listed(there)}"
            )


def _listed(dataset: DatasetConfig) -> DatasetEntry | None:
    """The dataset's entry in the catalogue, if it has one; with columns of its own any configuration is allowed."""
    if is_file(dataset.name):
        return None
    if dataset.columns is not None:
        return CATALOGUE.get(name_of_rows(dataset.name).partition(":")[0])
    return find_entry(dataset.name)


def _split_note(raw: Dataset[Row], purpose: Purpose) -> str:
    """Which split was taken for what, where the configuration names none."""
    if len(raw.splits) == 1:
        return f"{raw.name}: {raw.split} is its only split there, used for {purpose}"
    return f"{raw.name}: split {raw.split} is used for {purpose}, of {', '.join(raw.splits)}"


def _trainable(read: _Reading) -> TrainableDataset:
    if read.entry.pair is not None:
        return _pairs(read)
    return _examples(read) if read.entry.rated is None else _rated(read)


def _pairs(read: _Reading) -> Dataset[Pair]:
    if read.entry.pair is None:
        raise _not_offered(read.entry, "pairs")
    pairs = read.adapted(read.entry.pair)
    n_contradicted = once(("contradicted", id(pairs.rows)), lambda: _n_contradicted(pairs.rows))
    if not n_contradicted:
        return pairs
    note = (
        f"{pairs.name}: {n_contradicted} pairs contradict another one, which prefers the same two answers the other way"
    )
    return replace(pairs, notes=(*pairs.notes, note))


def _n_contradicted(pairs: Sequence[Pair]) -> int:
    sides = {(pair.prompt, pair.chosen, pair.rejected) for pair in pairs}
    return sum((pair.prompt, pair.rejected, pair.chosen) in sides for pair in pairs)


def _rated(read: _Reading) -> Dataset[RatedAnswer]:
    if read.entry.rated is None:
        raise _not_offered(read.entry, "rated answers")
    return read.adapted(read.entry.rated)


def _examples(read: _Reading) -> Dataset[Example]:
    if read.entry.example is not None:
        return read.adapted(read.entry.example)
    if read.entry.rated is not None:
        rated = _rated(read)
        good = tuple(example_of_rated(each) for each in rated.rows if each.is_good)
        return _converted(rated, good, "bad answer", len(rated.rows) - len(good))
    if read.entry.pair is None:
        raise _not_offered(read.entry, "examples")
    pairs = _pairs(read)
    examples = one_example_an_answer(map(example_of_pair, pairs.rows))
    n_joined = len(pairs.rows) - len(examples)
    return _converted(pairs, examples, "same answer in another row, wrong answers joined", n_joined)


def _unique(rows: Iterable[Row], adapter: Adapter[Item]) -> tuple[tuple[Item, ...], dict[str, int]]:
    """What the adapter makes of the rows, repeated ones once; and reason -> rows left out."""
    unique: dict[str, Item] = {}
    left_out: Counter[str] = Counter()
    for row in rows:
        try:
            made = adapter(row)
        except UnusableRowError as error:
            made = LeftOut(error.reason)
        for item in made if isinstance(made, tuple) else (made,):
            if isinstance(item, LeftOut):
                left_out[item.reason] += 1
            elif item.example_id in unique:
                left_out["repeated row"] += 1
            else:
                unique[item.example_id] = item
    return tuple(unique.values()), dict(left_out)


def _converted(dataset: TrainableDataset, rows: tuple[Item, ...], reason: str, n_lost: int) -> Dataset[Item]:
    """The dataset with its rows as another kind; `n_lost` of them were left out for that reason."""
    left_out = {**dataset.left_out, reason: n_lost} if n_lost else dict(dataset.left_out)
    return _with_rows(dataset, rows, left_out)


def _with_rows(
    dataset: Dataset[Row] | TrainableDataset, rows: tuple[Item, ...], left_out: Mapping[str, int]
) -> Dataset[Item]:
    """Rows of another kind, everything else as it is; `dataclasses.replace` would keep the old type of the rows."""
    return Dataset(
        rows, dataset.origin, dataset.n_read, left_out, dataset.notes, dataset.name, dataset.split, dataset.splits
    )


def _not_offered(entry: DatasetEntry, needed: str) -> NotOfferedError:
    return NotOfferedError(f"dataset {entry.name} has no {needed}; it offers {', '.join(entry.offers)}")
