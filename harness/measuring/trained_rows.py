"""Rows that existing adapters were trained on, which are not measured: as records tell them, and as the user does."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config.schema import DataConfig
from harness.config.wording import shown_name
from harness.data.experiment_data import ExperimentData, leave_out_groups, leave_out_seen, report_queries
from harness.data.make import OverlapQuery, Trainable
from harness.data.overlap import find_overlap, quoted


@dataclass(frozen=True, slots=True)
class SeenRows:
    """What existing adapters were trained on, as far as it is known."""

    groups: frozenset[str]
    """Groups on record of adapters that this project trained."""
    told: Mapping[str, Sequence[Trainable]]
    """Name of a dataset of `--trained-on` -> its rows."""


def leave_out_trained(
    data: ExperimentData,
    config: DataConfig,
    task_queries: Mapping[str, Sequence[OverlapQuery]],
    seen: SeenRows,
    pairs: str | None,
) -> tuple[ExperimentData, dict[str, frozenset[int]]]:
    """Leaves out the report rows that existing adapters were trained on, and says what may be left of them.

    A row of the user's own has a group that was made of its prompt, and need not share that of a training row which
    asks the same. Rows of `--pairs` are therefore compared with the texts of the training rows that the groups on
    record name. The rows of an experiment were compared with them when it was trained.

    Args:
        data: rows as `load_experiment_data` returns them.
        config: the datasets.
        task_queries: task -> its questions, one for each of its rows.
        seen: what was trained on.
        pairs: the user's own dataset that is measured; None without one.

    Returns:
        The data without these rows, and task -> positions of its rows that must not be measured.

    Raises:
        DataError: no row of a role is left.
    """
    data = leave_out_groups(data, seen.groups)
    on_record = {} if pairs is None else _rows_of_groups(data, seen.groups)
    tasks: defaultdict[str, frozenset[int]] = defaultdict(frozenset)
    for told_by, named in (("trained on", on_record), ("--trained-on", seen.told)):
        if named:
            data, found = leave_out_seen(data, config, named, task_queries, told_by)
            for task, rows in found.items():
                tasks[task] |= rows
    if pairs is None:
        notes = _notes_on_seen(data, config, seen.groups, task_queries)
    else:
        notes = _note_on_unnamed(seen.groups, (on_record, seen.told), pairs)
    return replace(data, notes=(*data.notes, *notes)), dict(tasks)


def _rows_of_groups(data: ExperimentData, groups: frozenset[str]) -> dict[str, tuple[Trainable, ...]]:
    """Name of a training dataset -> its rows of these groups, which adapters were trained on; without empty ones."""
    found: dict[str, tuple[Trainable, ...]] = {}
    for dataset in data.training_datasets:
        if rows := tuple(row for row in dataset.rows if row.group in groups):
            found[dataset.name] = (*found.get(dataset.name, ()), *rows)
    return found


def _notes_on_seen(
    data: ExperimentData,
    config: DataConfig,
    groups: frozenset[str],
    task_queries: Mapping[str, Sequence[OverlapQuery]],
) -> tuple[str, ...]:
    """A line for each role with rows that are measured although an adapter may have seen them in training.

    An experiment that drops training rows which overlap what it measures may still train on others of their groups, so
    the groups on record do not prove that an adapter saw them.
    """
    trained = (row for rows in _rows_of_groups(data, groups).values() for row in rows)
    seen = [row for row in trained if row.example_id in data.overlap.training_ids]
    if not seen:  # spares the search
        return ()
    return tuple(
        f"overlap with {role}: {each.n_rows} of its questions are measured although an adapter may have seen them, in "
        f"{each.n_training_rows} rows of groups that it was trained on, such as {quoted(each)}"
        for role, each in find_overlap(seen, report_queries(data, config, task_queries)).by_role.items()
        if each.n_rows
    )


def _note_on_unnamed(
    groups: frozenset[str], named: Sequence[Mapping[str, Sequence[Trainable]]], pairs: str
) -> tuple[str, ...]:
    """A line on the groups on record whose rows are in no dataset at hand."""
    found = {row.group for datasets in named for rows in datasets.values() for row in rows}
    n_unnamed = len(groups - found)
    if not n_unnamed:
        return ()
    note = (
        f"the rows of {n_unnamed:,} of {len(groups):,} groups that adapters were trained on are not at hand: overlap "
        f"with these is judged by groups alone, so rows of {shown_name(pairs)} that repeat their questions may be "
        "measured; name what the adapters were trained on with --trained-on"
    )
    return (note,)
