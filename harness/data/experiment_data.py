"""The rows an experiment trains on, and the rows each role of a suite is measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.config.schema import DataConfig, DatasetConfig, SuiteConfig
from harness.data.load import load_examples, load_pairs, load_questions, load_rated, overlap_query_of
from harness.data.make import OverlapQuery, Trainable
from harness.data.overlap import Overlap, RoleOverlap, find_overlap, without
from harness.data.read import Dataset, name_of_rows
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
    """Everything that is trained on and measured: three splits by group."""

    training: tuple[Trainable, ...]
    """Pairs for the method dpo, rated answers for kto, examples for sft."""
    selection: tuple[Trainable, ...]
    source: Dataset[Any]
    """The dataset that training and selection rows are from, before they were divided."""
    overlap: Overlap
    """Of all rows that were to be trained on, those of the first stage too."""
    sft: tuple[Example, ...] = ()
    """Training rows of a first stage of supervised fine-tuning; none without one."""
    sft_selection: tuple[Example, ...] = ()
    sft_source: Dataset[Example] | None = None
    pairs: Mapping[str, Dataset[Pair]] = field(default_factory=dict)
    """Role -> report rows of the kind reward."""
    examples: Mapping[str, Dataset[Example]] = field(default_factory=dict)
    """Role -> report rows of the kind perplexity."""
    questions: Mapping[str, Dataset[Question]] = field(default_factory=dict)
    """Role -> report rows of the kinds generations and drift."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows of `source` that are neither trained on nor selection rows."""
    notes: tuple[str, ...] = ()

    @property
    def trained_on(self) -> tuple[Dataset[Any], ...]:
        """The datasets of all stages of training, before they were divided."""
        return (self.source,) if self.sft_source is None else (self.source, self.sft_source)

    @property
    def measured(self) -> tuple[tuple[str, Dataset[Any]], ...]:
        """Each role with its report rows, once for each kind that it is measured as."""
        kinds: tuple[Mapping[str, Dataset[Any]], ...] = (self.pairs, self.examples, self.questions)
        return tuple(item for roles in kinds for item in roles.items())


def load_experiment_data(
    config: DataConfig,
    suite: SuiteConfig,
    *,
    data_root: Path | None,
    seed: int,
    method: Literal["dpo", "kto", "sft"] = "dpo",
    sft: DatasetConfig | None = None,
    task_queries: Mapping[str, Sequence[OverlapQuery]] | None = None,
) -> ExperimentData:
    """Training, selection and report rows, apart by group and free of overlap.

    Where a role measures the very rows that are trained on, it gets `report_fraction` of their groups, and training the
    others; limits are applied to what each has then. Training rows that overlap what any role asks are then dropped (or
    only told of, or refused), and of what remains `selection_fraction` of the groups are selection rows. All of this is
    so for both stages of training together: what one selects or what is measured is trained on by neither.

    Args:
        config: which datasets; `check_roles` has found every role bound.
        suite: which roles, as which kind.
        data_root: folder of local data, or None for the hub.
        seed: of splits and samples.
        method: what training learns from: pairs, rated answers, or good answers alone.
        sft: the dataset of a first stage, of which good answers are taken.
        task_queries: role -> what else is asked, such as by lm-eval's tasks.

    Raises:
        DataError: rows are missing or broken, overlap where they must not, or none is left to train on.
        HubUnreachable: rows would have to come from the hub, and it does not answer.
    """
    source = _TRAINING_LOADERS[method](config.training, data_root=data_root, purpose="training")
    sft_source = None if sft is None else load_examples(sft, data_root=data_root, purpose="training")
    roles = {
        "pairs": _roles_of(suite, "reward"),
        "examples": _roles_of(suite, "perplexity"),
        "questions": _roles_of(suite, "generations", "drift"),
    }
    data = ExperimentData(
        training=source.rows,
        selection=(),
        source=source,
        overlap=Overlap(frozenset(), {}),
        sft=() if sft_source is None else sft_source.rows,
        sft_source=sft_source,
        pairs={role: load_pairs(config.roles[role], data_root=data_root) for role in roles["pairs"]},
        examples={role: load_examples(config.roles[role], data_root=data_root) for role in roles["examples"]},
        questions={role: load_questions(config.roles[role], data_root=data_root) for role in roles["questions"]},
    )
    loaded = (*data.trained_on, *(rows for _, rows in data.measured))
    data = replace(data, notes=tuple(dict.fromkeys(note for each in loaded for note in each.notes)))
    data = _with_report_groups(data, config.report_fraction, seed)
    data = _limited(data, config, sft, seed)
    data = _without_overlap(data, config, task_queries or {})
    return _with_selection(data, config.selection_fraction, seed)


def _roles_of(suite: SuiteConfig, *kinds: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.role for each in suite.evaluations if each.kind in kinds))


def _with_report_groups(data: ExperimentData, fraction: float, seed: int) -> ExperimentData:
    """Divides the groups of what is trained on between training and the roles that measure these rows."""
    shared = [source for source in data.trained_on if any(_measures(loaded, source) for _, loaded in data.measured)]
    if not shared:
        return data
    groups = frozenset(row.group for source in shared for row in source.rows)
    report = share_of_groups(groups, fraction, seed, "report")

    def is_divided(loaded: Dataset[Any]) -> bool:
        return any(_measures(loaded, source) for source in shared)

    def divided(roles: Mapping[str, Dataset[Item]]) -> dict[str, Dataset[Item]]:
        return {
            role: _without_groups(loaded, groups - report) if is_divided(loaded) else loaded
            for role, loaded in roles.items()
        }

    sources = dict.fromkeys(f"{source.name}, split {source.split}" for source in shared)
    roles = dict.fromkeys(f"{role} (as {loaded.name})" for role, loaded in data.measured if is_divided(loaded))
    note = (
        f"the rows of {' and of '.join(sources)}, are both trained on and measured by {', '.join(roles)}: "
        f"divided by group, {len(report)} of {len(groups)} groups are measured"
    )
    training = tuple(row for row in data.training if row.group not in report)
    return replace(
        data,
        training=training,
        left_out=_counted(data, "kept for the report", training),
        sft=tuple(row for row in data.sft if row.group not in report),
        pairs=divided(data.pairs),
        examples=divided(data.examples),
        questions=divided(data.questions),
        notes=(*data.notes, note),
    )


def _limited(data: ExperimentData, config: DataConfig, sft: DatasetConfig | None, seed: int) -> ExperimentData:
    """Samples of whole groups where limits are set, of the rows that each split has by now."""

    def sampled(roles: Mapping[str, Dataset[Item]]) -> dict[str, Dataset[Item]]:
        return {role: _sampled(loaded, config.roles[role].limit, seed) for role, loaded in roles.items()}

    training = sample_by_group(data.training, config.training.limit, seed)
    return replace(
        data,
        training=training,
        left_out=_counted(data, f"outside the sample of {config.training.limit}", training),
        sft=sample_by_group(data.sft, None if sft is None else sft.limit, seed),
        pairs=sampled(data.pairs),
        examples=sampled(data.examples),
        questions=sampled(data.questions),
    )


def _sampled(loaded: Dataset[Item], limit: int | None, seed: int) -> Dataset[Item]:
    rows = sample_by_group(loaded.rows, limit, seed)
    if len(rows) == len(loaded.rows):
        return loaded
    outside = {f"outside the sample of {limit}": len(loaded.rows) - len(rows)}
    return replace(loaded, rows=rows, left_out={**loaded.left_out, **outside})


def _counted(data: ExperimentData, reason: str, training: Sequence[Trainable]) -> dict[str, int]:
    """Why rows are not trained on, with those that are not among what is left of them."""
    n_lost = len(data.training) - len(training)
    return {**data.left_out, reason: n_lost} if n_lost else dict(data.left_out)


def _measures(loaded: Dataset[Any], source: Dataset[Any]) -> bool:
    """Whether a role measures what is trained on.

    That is so if it has the same split, or most of the training groups under another name, as processed-hh-rlhf has
    those of hh-rlhf.
    """
    if (name_of_rows(loaded.name), loaded.split) == (name_of_rows(source.name), source.split):
        return True
    groups = {row.group for row in source.rows}
    return len(groups.intersection(row.group for row in loaded.rows)) > len(groups) / 2


def _without_groups(loaded: Dataset[Item], groups: frozenset[str]) -> Dataset[Item]:
    """The rows that are not of the groups kept for training."""
    rows = tuple(row for row in loaded.rows if row.group not in groups)
    if not rows:
        raise DataError(f"{loaded.origin}: no row is left to measure; it has too few groups to be divided")
    return replace(loaded, rows=rows, left_out={**loaded.left_out, "kept for training": len(loaded.rows) - len(rows)})


def _without_overlap(
    data: ExperimentData, config: DataConfig, task_queries: Mapping[str, Sequence[OverlapQuery]]
) -> ExperimentData:
    """Drops training rows that overlap what is measured, or tells of them, or refuses to go on."""
    asked: dict[str, list[OverlapQuery]] = {role: list(texts) for role, texts in task_queries.items()}
    for role, loaded in data.measured:
        asked.setdefault(role, []).extend(map(overlap_query_of(config.roles[role]), loaded.rows))
    # A role measured as two kinds asks the same twice.
    by_role = {role: tuple(dict.fromkeys(texts)) for role, texts in asked.items()}
    overlap = find_overlap((*data.training, *data.sft), by_role)
    found = {role: each for role, each in overlap.by_role.items() if each.n_rows}
    if config.overlap == "fail" and found:
        raise DataError(
            "\n".join(
                f"data.overlap is fail, and {each.n_training_rows} training rows overlap {each.n_rows} questions of "
                f"{role}, such as {_quoted(each)}: train or measure on other rows, or set data.overlap to drop or warn"
                for role, each in found.items()
            )
        )
    done = "dropped" if config.overlap == "drop" else "kept (data.overlap is warn)"
    notes = [
        f"overlap with {role}: {each.n_training_rows} training rows {done}, for {each.n_rows} of its questions, "
        f"such as {_quoted(each)}"
        for role, each in found.items()
    ]
    data = replace(data, overlap=overlap, notes=(*data.notes, *notes))
    if config.overlap != "drop":
        return data
    training = without(data.training, overlap)
    left_out = _counted(data, "overlapping what is measured", training)
    return replace(data, training=training, left_out=left_out, sft=without(data.sft, overlap))


def _quoted(found: RoleOverlap) -> str:
    return "; ".join(f'"{_shortened(example.text)}"' for example in found.examples)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."  # noqa: PLR2004 - three of them fit on a screen's line


def _with_selection(data: ExperimentData, fraction: float, seed: int) -> ExperimentData:
    """Keeps a share of the groups of each stage's rows out of all training, as selection rows."""
    stages = (data.training, data.sft)
    shares = [share_of_groups((row.group for row in rows), fraction, seed, "selection") for rows in stages]
    selected = frozenset().union(*shares)
    divided = replace(
        data,
        training=tuple(row for row in data.training if row.group not in selected),
        selection=tuple(row for row in data.training if row.group in selected),
        sft=tuple(row for row in data.sft if row.group not in selected),
        sft_selection=tuple(row for row in data.sft if row.group in selected),
    )
    for source, rows in zip(divided.trained_on, (divided.training, divided.sft), strict=False):
        if not rows:
            n_overlapping = sum(row.example_id in data.overlap.training_ids for row in source.rows)
            raise DataError(
                f"{source.origin}: no row is left to train on ({source.n_read} read, {len(source.rows)} usable, "
                f"{n_overlapping} overlap what is measured)"
            )
    return divided
