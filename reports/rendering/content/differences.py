"""The table that a report opens with: primary metrics of one candidate, or a matrix of metrics and candidates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reports.comparing.choice import is_chosen
from reports.comparing.compare import Comparison, Outcome
from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.records import EvaluationCounts, Metric, Run, Subject
from reports.rendering.content.display import NOTHING, Cells, cells, outcome_mark, table_cells
from reports.rendering.content.footnotes import (
    matrix_notes,
    not_measured,
    reason_not_measured,
    subject_notes,
    table_notes,
)
from reports.rendering.content.legend import ONLY_BEFORE_CORRECTION, legend
from reports.rendering.content.names import metric_names, row_nouns

NO_CANDIDATE = "No candidate was measured, so nothing is compared."
"""What a report says in place of the table of a run without a candidate."""
Key = tuple[str, str]
"""Evaluation and name of a metric."""


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """One primary metric of the candidate."""

    comparison: Comparison
    name: str
    """What people call the metric."""
    detail: str
    """What it was measured on, such as "250 pairs, 235 prompts"."""
    cells: Cells
    outcome: Outcome
    notes: tuple[str, ...] = ()
    """Footnotes of the row."""
    remark: str = ""
    """What stands beside its outcome."""
    seeds: str = ""
    """Of a recipe, the differences of its adapters: "3 seeds, +10.9 to +12.6 pp"."""


@dataclass(frozen=True, slots=True)
class DifferencePart:
    """Rows whose differences have one unit and share an axis."""

    title: str
    """Such as "What it was trained for" or "Perplexity of reference answers (lower is better)"."""
    unit: str
    higher_is_better: bool | None
    rows: tuple[DifferenceRow, ...]


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """The primary metrics of one candidate, or of one recipe over its seeds; without parts if none was measured."""

    subject: str
    baseline: str
    parts: tuple[DifferencePart, ...]
    subject_notes: tuple[str, ...] = ()
    """Footnotes of the subject's name."""
    notes: tuple[str, ...] = ()
    """What is below the table without a mark in it: what was not measured, and what else was."""
    legend: tuple[str, ...] = ()
    """What its words and marks mean, a few words each."""


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A candidate's difference on one metric."""

    comparison: Comparison | None
    """None if it was not measured."""
    text: str
    """The difference with its unit, without an interval."""
    outcome: Outcome
    notes: tuple[str, ...] = ()
    spread: str = ""
    """Of a recipe, the differences of its adapters: "+10.9 to +12.6 pp"."""

    @property
    def mark(self) -> str:
        """The mark beside the difference: none where no change was seen, not even before correction."""
        is_hollow = self.comparison is not None and self.comparison.fails_correction
        is_plain = self.outcome in ("no change seen", "not measured") and not is_hollow
        return "" if is_plain else outcome_mark(self.comparison, self.outcome)


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A candidate, or the adapters of a recipe folded into their mean and spread."""

    subject: str
    n_seeds: int
    is_chosen: bool
    is_control: bool
    cells: tuple[MatrixCell, ...]
    is_base: bool = False
    """Whether it is a base model beside the baseline, which stands apart from the candidates."""
    notes: tuple[str, ...] = ()
    """Footnotes of its name."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The primary metrics of several candidates: the chosen one first, controls after the others, base models last."""

    metrics: tuple[str, ...]
    """What people call each metric, one a cell of a row."""
    baseline: str
    baseline_values: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    notes: tuple[str, ...] = ()
    """What is below the matrix without a mark in it: what no candidate was measured on."""
    units: tuple[str, ...] = ()
    """Unit of each metric's differences: pp, %, or its own."""
    higher_is_better: tuple[bool | None, ...] = ()
    details: tuple[str, ...] = ()
    """What each metric was measured on."""
    legend: tuple[str, ...] = ()
    """What its words and marks mean, a few words each, and by which rule the chosen one was chosen."""
    parts: tuple[str, ...] = ()
    """What each metric has in common with those beside it, as the title of a part of one candidate's table."""
    metric_notes: tuple[tuple[str, ...], ...] = ()
    """Footnotes of each metric: those that hold for all of its cells, which do not repeat them."""

    @property
    def has_spreads(self) -> bool:
        """Whether some cells have the differences of a recipe's adapters."""
        return any(cell.spread for row in self.rows for cell in row.cells)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A candidate, or a recipe that is judged over its seeds, with its primary rows."""

    name: str
    adapters: tuple[str, ...]
    first: Subject
    """The candidate, or the first adapter of the recipe."""
    is_chosen: bool
    rows: Mapping[Key, Comparison]
    spreads: Mapping[Key, str]
    """Of a recipe, the differences of its adapters."""

    @property
    def is_base(self) -> bool:
        """Whether it is a base model: it has no reference, and so no reward either."""
        return self.first.is_base and all(row.metric.chance is None for row in self.rows.values())


def first_table(
    run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]
) -> DifferenceTable | Matrix | None:
    """Return the primary differences of a run's only candidate in full, or those of several as a matrix.

    A recipe of at least `FEWEST_SEEDS` adapters is one subject. A base model beside one candidate, such as the
    unquantised one, makes no matrix; without any candidate there is no table.
    """
    entries = sorted(_entries(run, comparisons, recipes), key=_rank)
    shown = [each for each in entries if not each.is_base] or entries
    if not shown:
        return None
    return _table(run, shown[0], entries[1:]) if len(shown) == 1 else _matrix(run, entries)


def _entries(run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]) -> list[_Entry]:
    """Return the candidates in the order of the run, each judged recipe in the place of its first adapter."""
    own: dict[str, dict[Key, Comparison]] = {}
    for row in comparisons:
        own.setdefault(row.candidate, {})
        if row.primary:
            own[row.candidate][_key(row.metric)] = row
    judged: dict[str, list[OverSeeds]] = {}
    for each in recipes:
        if len(each.adapters) >= FEWEST_SEEDS and each.mean.primary:
            judged.setdefault(each.mean.candidate, []).append(each)
    entries: dict[str, _Entry] = {}
    for subject in run.candidates:
        if subject.recipe in judged and subject.recipe not in entries:
            of_recipe = judged[subject.recipe]
            rows = {_key(each.mean.metric): each.mean for each in of_recipe}
            spreads = {_key(each.mean.metric): _spread(each.mean, _adapter_rows(own, each)) for each in of_recipe}
            adapters = of_recipe[0].adapters
            of_winner = any(is_chosen(run, name) for name in adapters)
            entries[subject.recipe] = _Entry(subject.recipe, adapters, subject, of_winner, rows, spreads)
        elif subject.recipe not in judged and subject.name in own:
            of_winner = is_chosen(run, subject.name)
            entries[subject.name] = _Entry(subject.name, (subject.name,), subject, of_winner, own[subject.name], {})
    return list(entries.values())


def _adapter_rows(own: Mapping[str, Mapping[Key, Comparison]], recipe: OverSeeds) -> list[Comparison]:
    """Return the rows of a recipe's adapters on its metric."""
    key = _key(recipe.mean.metric)
    return [own[name][key] for name in recipe.adapters if key in own.get(name, {})]


def _spread(mean: Comparison, rows: Iterable[Comparison]) -> str:
    """Return the smallest and the largest difference of a recipe's adapters: "+10.9 to +12.6 pp"."""
    found = sorted(row.difference for row in rows if row.difference is not None)
    if not found:
        return ""
    low, high = (cells(replace(mean, difference=each)).difference for each in (found[0], found[-1]))
    return f"{low.removesuffix(f' {cells(mean).unit}')} to {high}"


def _rank(entry: _Entry) -> tuple[bool, bool, bool]:
    return entry.is_base, entry.first.is_control, not entry.is_chosen


def _key(metric: Metric) -> Key:
    return metric.evaluation, metric.name


def _table(run: Run, entry: _Entry, others: Sequence[_Entry]) -> DifferenceTable:
    """Return the table of a run's only candidate; base models beside it are named below it."""
    names, counts = metric_names(run), _counts(run)
    measured = [row for row in entry.rows.values() if row.difference is not None]
    parts: dict[tuple[str, str, bool | None], list[DifferenceRow]] = {}
    for row in sorted(measured, key=_part_rank):
        shown, spread = table_cells(row), entry.spreads.get(_key(row.metric), "")
        part = _part_title(row.metric), shown.unit, row.metric.higher_is_better
        parts.setdefault(part, []).append(
            DifferenceRow(
                comparison=row,
                name=names[row.metric],
                detail=_detail(row, counts),
                cells=shown,
                outcome=row.outcome,
                notes=table_notes(run, row),
                remark=ONLY_BEFORE_CORRECTION if row.fails_correction else "",
                seeds=f"{len(entry.adapters)} seeds, {spread}" if spread else "",
            )
        )
    lacking = ((names[row.metric], row) for row in entry.rows.values() if row.difference is None)
    also = ", ".join(each.name for each in others)
    return DifferenceTable(
        subject=entry.name,
        baseline=run.baseline.name,
        parts=tuple(DifferencePart(*part, tuple(rows)) for part, rows in parts.items()),
        subject_notes=subject_notes(entry.first),
        notes=(*not_measured(run, lacking), *([f"Also measured: {also}."] if also else [])),
        legend=legend(run, measured),
    )


def _matrix(run: Run, entries: Sequence[_Entry]) -> Matrix:
    names, counts = metric_names(run), _counts(run)
    by_metric: dict[Key, list[Comparison]] = {}
    for row in sorted((row for each in entries for row in each.rows.values()), key=_part_rank):
        by_metric.setdefault(_key(row.metric), []).append(row)
    columns = {
        key: measured
        for key, rows in by_metric.items()
        if (measured := [row for row in rows if row.difference is not None])
    }
    first = {key: rows[0] for key, rows in columns.items()}
    shared = {key: _shared_notes(run, rows) for key, rows in columns.items()}
    lacking = ((names[row.metric], row) for key, rows in by_metric.items() if key not in columns for row in rows[:1])
    return Matrix(
        metrics=tuple(names[row.metric] for row in first.values()),
        baseline=run.baseline.name,
        baseline_values=tuple(table_cells(row).baseline for row in first.values()),
        rows=tuple(_matrix_row(run, each, shared) for each in entries),
        notes=not_measured(run, lacking),
        units=tuple(cells(row).unit for row in first.values()),
        higher_is_better=tuple(row.metric.higher_is_better for row in first.values()),
        details=tuple(_detail(row, counts) for row in first.values()),
        legend=legend(run, [row for rows in columns.values() for row in rows]),
        parts=tuple(_part_title(row.metric) for row in first.values()),
        metric_notes=tuple(shared.values()),
    )


def _shared_notes(run: Run, rows: Sequence[Comparison]) -> tuple[str, ...]:
    """Return the footnotes that all rows of a metric have."""
    notes = [matrix_notes(run, row) for row in rows]
    return tuple(note for note in notes[0] if all(note in each for each in notes))


def _matrix_row(run: Run, entry: _Entry, shared: Mapping[Key, tuple[str, ...]]) -> MatrixRow:
    return MatrixRow(
        subject=entry.name,
        n_seeds=len(entry.adapters),
        is_chosen=entry.is_chosen,
        is_control=entry.first.is_control,
        cells=tuple(_matrix_cell(run, entry, key, notes) for key, notes in shared.items()),
        is_base=entry.is_base,
        notes=subject_notes(entry.first),
    )


def _matrix_cell(run: Run, entry: _Entry, key: Key, shared: tuple[str, ...]) -> MatrixCell:
    row = entry.rows.get(key)
    if row is None:
        return MatrixCell(None, NOTHING, "not measured")
    if row.difference is None:
        return MatrixCell(row, NOTHING, "not measured", (f"Not measured: {reason_not_measured(run, row)}.",))
    notes = tuple(note for note in matrix_notes(run, row) if note not in shared)
    return MatrixCell(row, cells(row).difference, row.outcome, notes, entry.spreads.get(key, ""))


def _counts(run: Run) -> dict[str, EvaluationCounts]:
    return {each.evaluation: each for each in run.counts}


def _part_rank(row: Comparison) -> tuple[bool, int]:
    """Return what orders rows: what was trained for, then shares, then perplexities, then all others."""
    return row.metric.chance is None, ("percent", "exp", "mean").index(row.metric.display)


def _part_title(metric: Metric) -> str:
    """Return what the rows of a part have in common."""
    is_better = {True: " (higher is better)", False: " (lower is better)", None: ""}[metric.higher_is_better]
    if metric.chance is not None:
        return f"What it was trained for{is_better}"
    if metric.display == "percent":
        return f"{'Accuracy' if metric.higher_is_better else 'Shares'}{is_better}"
    return f"{'Perplexity of reference answers' if metric.display == 'exp' else 'Other measures'}{is_better}"


def _detail(row: Comparison, counts: Mapping[str, EvaluationCounts]) -> str:
    """Return the number of rows and of groups."""
    rows, groups = row_nouns(row.metric, counts.get(row.metric.evaluation))
    sizes = [_counted(row.n, rows)] if row.n else []
    if row.n_groups != row.n:
        sizes.append(_counted(row.n_groups, groups))
    return ", ".join(sizes)


def _counted(n: int, plural: str) -> str:
    return f"{n:,} {plural.removesuffix('s') if n == 1 else plural}"
