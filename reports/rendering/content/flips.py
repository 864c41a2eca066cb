"""The examples of each primary metric that moved most, both ways: what stands behind a difference."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reports.records import ExampleText, Metric, MetricScores, Run, without_nan
from reports.rendering.content.display import NOTHING, escape, escape_line, number, plain
from reports.rendering.content.sections import folded, markdown_table
from reports.rendering.content.verdict import foremost

MOST_FLIPS = 10
"""Of one metric and candidate, each way."""
MOST_ROWS = 48
"""Rows of the Markdown section, all metrics together."""
LONGEST_TEXT = 90
"""Characters of a prompt or an answer in its cell."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One example that a candidate does not do as its baseline does."""

    example_id: str
    baseline_value: float
    candidate_value: float
    text: ExampleText | None
    """What it says, where the run has it."""

    @property
    def difference(self) -> float:
        """Candidate - baseline, in the unit of the metric."""
        return self.candidate_value - self.baseline_value


@dataclass(frozen=True, slots=True)
class Flips:
    """The examples of a candidate that rose most and that fell most, the farthest first."""

    metric: Metric
    """The primary metric."""
    shown_by: Metric
    """What the values are of: the metric itself, or the one that it is graded by."""
    candidate: str
    rose: tuple[Flip, ...]
    fell: tuple[Flip, ...]


def flips(run: Run, most: int = MOST_FLIPS) -> tuple[Flips, ...]:
    """What moved most against the baseline, for each primary metric and then each candidate that has it by example.

    An example's value is its total / count. A metric that only says which way (won or lost) is shown by the one that
    says by how much (`Metric.graded_by`), where the run has it.

    Args:
        run: What was measured.
        most: Examples each way, at most; those that did not move are none.
    """
    measured = {(one.metric.evaluation, one.metric.name, one.subject): one for one in run.measurements}
    texts = {(text.evaluation, text.example_id): text for text in run.examples}
    baseline = next((subject.name for subject in run.subjects if subject.kind == "baseline"), "")
    candidates = [subject.name for subject in run.subjects if subject.kind == "candidate"]
    found = []
    for metric in dict.fromkeys(one.metric for one in run.measurements if one.metric.primary):
        for candidate in candidates:
            graded = measured.get((metric.evaluation, metric.graded_by, candidate))
            own = graded or measured.get((metric.evaluation, metric.name, candidate))
            if own is None:
                continue
            held_against = measured.get((metric.evaluation, own.metric.name, baseline))
            moved = list(_moved(own, held_against, texts))
            if moved:
                found.append(_flips(metric, own, moved, most))
    return tuple(found)


def flips_section(run: Run) -> list[str]:
    """The flips of the foremost candidate, folded away; the more metrics there are, the fewer of each."""
    measured = flips(run)
    if not measured:
        return []
    name = foremost(run, list(dict.fromkeys(each.candidate for each in measured)))
    own = [each for each in measured if each.candidate == name]
    most = max(1, min(MOST_FLIPS, MOST_ROWS // (2 * len(own))))
    tables = [line for each in own for line in ("", f"**{_heading(each)}**", "", *_table(each, most))]
    opening = f"{escape_line(name)} against the baseline or the definition, example by example."
    summary = f"Of each primary metric the {most} examples that moved most, each way"
    return ["## What moved most", "", opening, "", *folded(summary, tables[1:])]


def _moved(
    own: MetricScores, held_against: MetricScores | None, texts: Mapping[tuple[str, str], ExampleText]
) -> Iterable[Flip]:
    """Every example whose value is not that of the baseline, or of the definition where the metric has one."""
    values, chance = _values(own), own.metric.chance
    if chance is not None:
        baseline = dict.fromkeys(values, chance)
    else:
        baseline = {} if held_against is None else _values(held_against)
    for example_id, value in values.items():
        before = baseline.get(example_id, value)
        if before != value:
            yield Flip(example_id, before, value, texts.get((own.metric.evaluation, example_id)))


def _values(measurement: MetricScores) -> dict[str, float]:
    """Example -> total / count; examples without a count have no value."""
    return {
        score.example_id: score.total / score.count for score in without_nan(measurement).scores if score.count != 0
    }


def _flips(metric: Metric, own: MetricScores, moved: Iterable[Flip], most: int) -> Flips:
    ranked = sorted(moved, key=lambda flip: (-abs(flip.difference), flip.example_id))
    return Flips(
        metric=metric,
        shown_by=own.metric,
        candidate=own.subject,
        rose=tuple(flip for flip in ranked if flip.difference > 0)[:most],
        fell=tuple(flip for flip in ranked if flip.difference < 0)[:most],
    )


def _heading(flipped: Flips) -> str:
    """The primary metric, and in which unit and by which metric its examples are shown."""
    metric, shown_by = flipped.metric, flipped.shown_by
    by = f", by {shown_by.name}" if shown_by != metric else ""
    return escape(f"{metric.evaluation} \u00b7 {metric.name}{by} ({shown_by.unit})")


def _table(flipped: Flips, most: int) -> list[str]:
    """What got better and then what got worse; where neither is better, what rose and then what fell."""
    ways = [("higher", flipped.rose), ("lower", flipped.fell)]
    if flipped.shown_by.higher_is_better is not None:
        ways = [("better", flipped.rose), ("worse", flipped.fell)]
    if flipped.shown_by.higher_is_better is False:
        ways = [("better", flipped.fell), ("worse", flipped.rose)]
    rows = [
        [
            way,
            number(flip.baseline_value, 3),
            number(flip.candidate_value, 3),
            number(flip.difference, 3, sign=True),
            escape(_cut(flip.text.prompt)) if flip.text else f"`{flip.example_id}`",
            "<br>".join(f"{escape(what)}: {escape(_cut(text))}" for what, text in sorted(flip.text.texts.items()))
            if flip.text
            else NOTHING,
        ]
        for way, moved in ways
        for flip in moved[:most]
    ]
    return markdown_table(["", "baseline", "candidate", "difference", "prompt", "answers"], rows, "lrrrll")


def _cut(text: str) -> str:
    line = plain(text)
    return line if len(line) <= LONGEST_TEXT else line[:LONGEST_TEXT] + "\u2026"
