"""The rows an experiment trains on, and the rows each role of a suite is measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from harness.config.schema import DataConfig, DatasetConfig, RowKind
from harness.data.load import (
    load_examples,
    load_for_rulers,
    load_pairs,
    load_questions,
    load_rated,
    overlap_query_of,
)
from harness.data.make import OverlapQuery, Trainable
from harness.data.overlap import Overlap, find_overlap, quoted, without
from harness.data.read import Dataset, each_split_once, name_of_rows
from harness.data.row import DataError
from harness.data.splits import Item, sample_by_group, share_of_groups
from suites.inputs import Example, Pair, Question

_TRAINING_LOADERS: Mapping[str, Callable[..., Dataset[Any]]] = {
    "dpo": load_pairs,
    "kto": load_rated,
    "sft": load_examples,
}


@dataclass(frozen=True, slots=True)
class ExperimentData:
    """Training, selection and report rows of an experiment: three splits that share no group."""

    training: tuple[Trainable, ...]
    """Rows to train on: pairs for the method dpo, rated answers for kto, examples for sft."""
    selection: tuple[Trainable, ...]
    """Rows of the same kind that judge training runs and are never trained on."""
    training_dataset: Dataset[Any]
    """The dataset that training and selection rows come from, before it was divided."""
    overlap: Overlap
    """Overlap of the training rows of all stages with the report rows, as it was before any row was dropped."""
    sft: tuple[Example, ...] = ()
    """Training rows of a first stage of supervised fine-tuning; empty without such a stage."""
    sft_selection: tuple[Example, ...] = ()
    """Selection rows of the first stage."""
    sft_dataset: Dataset[Example] | None = None
    """The dataset of the first stage, before it was divided; None without such a stage."""
    pairs: Mapping[str, Dataset[Pair]] = field(default_factory=dict)
    """Role -> its report rows for evaluations that measure pairs."""
    examples: Mapping[str, Dataset[Example]] = field(default_factory=dict)
    """Role -> its report rows for evaluations that measure examples."""
    questions: Mapping[str, Dataset[Question]] = field(default_factory=dict)
    """Role -> its report rows for evaluations that ask questions."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> usable rows of `training_dataset` that are neither training nor selection rows."""
    notes: tuple[str, ...] = ()
    """Lines for the user about splits, division and overlap."""

    @property
    def training_datasets(self) -> tuple[Dataset[Any], ...]:
        """The datasets of all stages of training, before they were divided."""
        return (self.training_dataset,) if self.sft_dataset is None else (self.training_dataset, self.sft_dataset)

    @property
    def report_datasets(self) -> tuple[tuple[str, Dataset[Any]], ...]:
        """Each role with its report rows, once for each kind of evaluation that uses it."""
        kinds: tuple[Mapping[str, Dataset[Any]], ...] = (self.pairs, self.examples, self.questions)
        return tuple(item for roles in kinds for item in roles.items())


def load_experiment_data(
    config: DataConfig,
    roles: Mapping[RowKind, Sequence[str]],
    *,
    data_root: Path | None,
    seed: int,
    method: Literal["dpo", "kto", "sft"] | None = "dpo",
    sft: DatasetConfig | None = None,
    task_queries: Mapping[str, Sequence[OverlapQuery]] | None = None,
) -> ExperimentData:
    """Loads training, selection and report rows that share no group and do not overlap.

    Four steps, in this order:

    1. A role that measures the very rows to be trained on gets `report_fraction` of their groups, training the others.
    2. Each dataset is sampled to its limit.
    3. Training rows that overlap report rows are dropped, or only reported, or refused, as `data.overlap` says.
    4. `selection_fraction` of the remaining training groups become selection rows, of at most `selection_limit` rows.

    A first stage of training takes part in every step: neither stage trains on a row that is measured or that judges
    one of the two.

    Args:
        config: The datasets; `check_roles` has checked that every role is bound to one.
        roles: Kind of rows -> the roles that are measured as such rows.
        data_root: Folder of local data, or None for the hub.
        seed: Seed of splits and samples.
        method: Decides the kind of the training rows: pairs, rated answers, or good answers alone. None where nothing
            that is measured was trained on them: no row is then kept from the report for them, and those that do not
            overlap it are what surface rulers are fitted on.
        sft: Dataset of a first stage, whose good answers are trained on.
        task_queries: Role -> further texts that training rows are searched for, such as the questions of lm-eval tasks.

    Raises:
        DataError: Rows are missing or broken, overlap where `data.overlap` is fail, or none is left to train on.
        HubUnreachable: Rows would have to come from the hub, and it does not answer.
    """
    with each_split_once():
        data = _read(config, roles, data_root, method, sft)
    if method is None:
        return _for_rulers_alone(_limited(data, config, None, seed), config, task_queries or {})
    data = _with_report_groups(data, config.report_fraction, seed)
    data = _limited(data, config, sft, seed)
    data = _without_overlap(data, config, task_queries or {})
    return _with_selection(data, config, seed)


def _read(
    config: DataConfig,
    roles: Mapping[RowKind, Sequence[str]],
    data_root: Path | None,
    method: Literal["dpo", "kto", "sft"] | None,
    sft: DatasetConfig | None,
) -> ExperimentData:
    """All rows of all datasets, before any step, with what was said while they were read."""
    training: Dataset[Any] = (
        load_for_rulers(config.training, data_root=data_root)
        if method is None
        else _TRAINING_LOADERS[method](config.training, data_root=data_root, purpose="training")
    )
    is_staged = sft is not None and method is not None
    first_stage = load_examples(sft, data_root=data_root, purpose="training") if sft and is_staged else None
    data = ExperimentData(
        training=training.rows,
        selection=(),
        training_dataset=training,
        overlap=Overlap(frozenset(), {}),
        sft=() if first_stage is None else first_stage.rows,
        sft_dataset=first_stage,
        pairs={role: load_pairs(config.roles[role], data_root=data_root) for role in roles.get("pairs", ())},
        examples={role: load_examples(config.roles[role], data_root=data_root) for role in roles.get("examples", ())},
        questions={
            role: load_questions(config.roles[role], data_root=data_root) for role in roles.get("questions", ())
        },
    )
    measured = tuple(dataset for _, dataset in data.report_datasets)
    datasets = measured if method is None else (*data.training_datasets, *measured)
    return replace(data, notes=tuple(dict.fromkeys(note for dataset in datasets for note in dataset.notes)))


def leave_out_seen(
    data: ExperimentData,
    config: DataConfig,
    seen: Mapping[str, Sequence[Trainable]],
    task_queries: Mapping[str, Sequence[OverlapQuery]],
    told_by: str = "--trained-on",
) -> tuple[ExperimentData, dict[str, frozenset[int]]]:
    """Leaves out the report rows that overlap rows which a measured adapter was trained on.

    Args:
        data: Rows as `load_experiment_data` returns them.
        config: The datasets.
        seen: Name of a dataset -> its rows, which were trained on.
        task_queries: Task -> its questions, one for each of its rows.
        told_by: Words before the names in messages, which tell how they are known.

    Returns:
        The data without these rows, and task -> positions of its rows that must not be measured.

    Raises:
        DataError: No row of a role is left.
    """
    queries = {f"{number} {role}": tuple(map(overlap_query_of(config.roles[role]), dataset.rows))
               for number, (role, dataset) in enumerate(data.report_datasets)}  # fmt: skip
    trained = [row for rows in seen.values() for row in rows]
    found = find_overlap(trained, {**queries, **{task: tuple(each) for task, each in task_queries.items()}}).by_role
    names, left = " and ".join(seen), []
    counts: dict[str, int] = {}
    for key, (role, dataset) in zip(queries, data.report_datasets, strict=True):
        rows = tuple(row for number, row in enumerate(dataset.rows) if number not in found[key].rows)
        if not rows:
            raise DataError(f"{told_by} {names}: every row of {role} overlaps it, so nothing is left to measure")
        n_lost = len(dataset.rows) - len(rows)
        left.append(_with_fewer_rows(dataset, rows, f"overlapping {names}"))
        counts[role] = max(n_lost, counts.get(role, 0))
    tasks = {task: found[task].rows for task in task_queries}
    counts |= {task: len(rows) for task, rows in tasks.items()}
    lost = ", ".join(f"{n_rows} of {role}" for role, n_rows in counts.items() if n_rows)
    found_rows = f"rows that overlap it are not measured: {lost}" if lost else "no measured row overlaps it"
    note = f"{told_by} {names}: {found_rows}"
    return replace(_with_report_datasets(data, left), notes=(*data.notes, note)), tasks


def leave_out_groups(data: ExperimentData, groups: frozenset[str]) -> ExperimentData:
    """Leaves out the report rows of groups that a measured adapter was trained on, perhaps for another experiment.

    Raises:
        DataError: No row of a role is left.
    """
    left, notes = [], {}
    for role, dataset in data.report_datasets:
        rows = tuple(row for row in dataset.rows if row.group not in groups)
        n_lost = len(dataset.rows) - len(rows)
        if not rows:
            raise DataError(
                f"{role}: an adapter was trained on every row of {dataset.origin}; measure it on other rows"
            )
        left.append(_with_fewer_rows(dataset, rows, "trained on by an adapter"))
        if n_lost:
            notes[role] = (
                f"{n_lost} rows of {role} are not measured, because an adapter was trained on rows of their groups"
            )
    return replace(_with_report_datasets(data, left), notes=(*data.notes, *notes.values()))


def _with_report_datasets(data: ExperimentData, datasets: Sequence[Dataset[Any]]) -> ExperimentData:
    """The data with other report datasets, in the order of `report_datasets`."""
    own = iter(datasets)
    return replace(
        data,
        pairs={role: next(own) for role in data.pairs},
        examples={role: next(own) for role in data.examples},
        questions={role: next(own) for role in data.questions},
    )


def _for_rulers_alone(
    data: ExperimentData, config: DataConfig, task_queries: Mapping[str, Sequence[OverlapQuery]]
) -> ExperimentData:
    """The data with training rows for surface rulers alone: those that overlap nothing that is measured."""
    measured = {row.group for _, dataset in data.report_datasets for row in dataset.rows}
    others = tuple(row for row in data.training if row.group not in measured)  # often none: spares the search
    overlap = find_overlap(others, report_queries(data, config, task_queries))
    return replace(data, training=without(others, overlap))


def _with_report_groups(data: ExperimentData, fraction: float, seed: int) -> ExperimentData:
    """Divides the groups of a dataset that is trained on and measured between training and the report."""
    shared = [
        training
        for training in data.training_datasets
        if any(_holds_rows_of(dataset, training) for _, dataset in data.report_datasets)
    ]
    if not shared:
        return data
    groups = frozenset(row.group for training in shared for row in training.rows)
    report = share_of_groups(groups, fraction, seed, "report")

    def is_divided(dataset: Dataset[Any]) -> bool:
        return any(_holds_rows_of(dataset, training) for training in shared)

    def divided(roles: Mapping[str, Dataset[Item]]) -> dict[str, Dataset[Item]]:
        return {
            role: _without_groups(dataset, groups - report) if is_divided(dataset) else dataset
            for role, dataset in roles.items()
        }

    names = dict.fromkeys(f"{training.name}, split {training.split}" for training in shared)
    roles = dict.fromkeys(
        f"{role} (as {dataset.name})" for role, dataset in data.report_datasets if is_divided(dataset)
    )
    note = (
        f"the rows of {' and of '.join(names)}, are both trained on and measured by {', '.join(roles)}: "
        f"divided by group, {len(report)} of {len(groups)} groups are measured"
    )
    training = tuple(row for row in data.training if row.group not in report)
    return replace(
        data,
        training=training,
        left_out=_left_out(data, "kept for the report", training),
        sft=tuple(row for row in data.sft if row.group not in report),
        pairs=divided(data.pairs),
        examples=divided(data.examples),
        questions=divided(data.questions),
        notes=(*data.notes, note),
    )


def _holds_rows_of(dataset: Dataset[Any], training: Dataset[Any]) -> bool:
    """Whether a report dataset has the rows of a training dataset.

    It does if both are the same split, or if it has most of the training groups under another name, as
    processed-hh-rlhf has those of hh-rlhf.
    """
    if (name_of_rows(dataset.name), dataset.split) == (name_of_rows(training.name), training.split):
        return True
    groups = {row.group for row in training.rows}
    return len(groups.intersection(row.group for row in dataset.rows)) > len(groups) / 2


def _without_groups(dataset: Dataset[Item], groups: frozenset[str]) -> Dataset[Item]:
    """The dataset without the groups that are kept for training."""
    rows = tuple(row for row in dataset.rows if row.group not in groups)
    if not rows:
        raise DataError(f"{dataset.origin}: no row is left to measure; it has too few groups to be divided")
    left_out = {**dataset.left_out, "kept for training": len(dataset.rows) - len(rows)}
    return replace(dataset, rows=rows, left_out=left_out)


def _limited(data: ExperimentData, config: DataConfig, sft: DatasetConfig | None, seed: int) -> ExperimentData:
    """Samples the rows that each split has by now to the limits that are set, by whole groups."""

    def sampled(roles: Mapping[str, Dataset[Item]]) -> dict[str, Dataset[Item]]:
        return {role: _sampled(dataset, config.roles[role].limit, seed) for role, dataset in roles.items()}

    training = sample_by_group(data.training, config.training.limit, seed)
    return replace(
        data,
        training=training,
        left_out=_left_out(data, f"outside the sample of {config.training.limit}", training),
        sft=sample_by_group(data.sft, None if sft is None else sft.limit, seed),
        pairs=sampled(data.pairs),
        examples=sampled(data.examples),
        questions=sampled(data.questions),
    )


def _sampled(dataset: Dataset[Item], limit: int | None, seed: int) -> Dataset[Item]:
    rows = sample_by_group(dataset.rows, limit, seed)
    return _with_fewer_rows(dataset, rows, f"outside the sample of {limit}")


def _with_fewer_rows(dataset: Dataset[Item], rows: tuple[Item, ...], reason: str) -> Dataset[Item]:
    """The dataset with these of its rows, those that it lost counted under the reason."""
    n_lost = len(dataset.rows) - len(rows)
    return replace(dataset, rows=rows, left_out={**dataset.left_out, reason: n_lost}) if n_lost else dataset


def _left_out(data: ExperimentData, reason: str, training: Sequence[Trainable]) -> dict[str, int]:
    """Counts of left-out training rows by reason, with those that `training` has lost added under `reason`."""
    n_lost = len(data.training) - len(training)
    return {**data.left_out, reason: n_lost} if n_lost else dict(data.left_out)


def _without_overlap(
    data: ExperimentData, config: DataConfig, task_queries: Mapping[str, Sequence[OverlapQuery]]
) -> ExperimentData:
    """Searches the training rows for what is measured, and drops, reports or refuses those that overlap."""
    overlap = find_overlap(chain(data.training, data.sft), report_queries(data, config, task_queries))
    found = {role: each for role, each in overlap.by_role.items() if each.n_rows}
    if config.overlap == "fail" and found:
        raise DataError(
            "\n".join(
                f"data.overlap is fail, and {each.n_training_rows} training rows overlap {each.n_rows} questions of "
                f"{role}, such as {quoted(each)}: train or measure on other rows, or set data.overlap to drop or warn"
                for role, each in found.items()
            )
        )
    data = replace(data, overlap=overlap)
    if config.overlap != "drop":
        return data
    training = without(data.training, overlap)
    left_out = _left_out(data, "overlapping what is measured", training)
    return replace(data, training=training, left_out=left_out, sft=without(data.sft, overlap))


def report_queries(
    data: ExperimentData, config: DataConfig, task_queries: Mapping[str, Sequence[OverlapQuery]]
) -> dict[str, tuple[OverlapQuery, ...]]:
    """Role or task -> what training rows are searched for, once for a role that is measured in two ways."""
    queries: dict[str, list[OverlapQuery]] = {role: list(each) for role, each in task_queries.items()}
    for role, dataset in data.report_datasets:
        queries.setdefault(role, []).extend(map(overlap_query_of(config.roles[role]), dataset.rows))
    return {role: tuple(dict.fromkeys(each)) for role, each in queries.items()}


def _with_selection(data: ExperimentData, config: DataConfig, seed: int) -> ExperimentData:
    """Turns a share of the groups of each stage's training rows into selection rows, for both stages alike.

    They are scored several times in a training: of many, a sample by groups tells the same in less time.
    """
    selected: set[str] = set()
    notes = []
    for rows in (data.training, data.sft):
        groups = share_of_groups((row.group for row in rows), config.selection_fraction, seed, "selection")
        share = [row for row in rows if row.group in groups]
        sample = sample_by_group(share, config.selection_limit, seed)
        selected |= {row.group for row in sample}
        if len(sample) < len(share):
            notes.append(
                f"Of {len(share):,} rows for selection {len(sample):,} are kept (data.selection_limit), the others are "
                f"trained on."
            )
    divided = replace(
        data,
        notes=(*data.notes, *dict.fromkeys(notes)),
        training=tuple(row for row in data.training if row.group not in selected),
        selection=tuple(row for row in data.training if row.group in selected),
        sft=tuple(row for row in data.sft if row.group not in selected),
        sft_selection=tuple(row for row in data.sft if row.group in selected),
    )
    for dataset, rows in zip(divided.training_datasets, (divided.training, divided.sft), strict=False):
        if not rows:
            n_overlapping = sum(row.example_id in data.overlap.training_ids for row in dataset.rows)
            raise DataError(
                f"{dataset.origin}: no row is left to train on ({dataset.n_read} read, {len(dataset.rows)} usable, "
                f"{n_overlapping} overlap what is measured)"
            )
    return divided
