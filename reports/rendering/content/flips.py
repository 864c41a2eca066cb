"""The examples of each primary metric that changed most, in both directions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reports.records import ExampleText, Metric, MetricScores, Run, without_nan
from reports.rendering.content.display import NOTHING, escape, escape_line, number, plain
from reports.rendering.content.sections import folded, markdown_table
from reports.rendering.content.verdict import headline_candidate

MOST_FLIPS = 10
"""Most examples of one metric and candidate in each direction."""
MOST_ROWS = 48
"""Most rows of the Markdown section, all metrics together."""
LONGEST_TEXT = 90
"""Most characters of a prompt or an answer in its cell."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One example whose value differs between a candidate and its baseline."""

    example_id: str
    baseline_value: float
    candidate_value: float
    text: ExampleText | None
    """Texts of the example, if the run has them."""

    @property
    def difference(self) -> float:
        """Candidate minus baseline, in the unit of the metric."""
        return self.candidate_value - self.baseline_value


@dataclass(frozen=True, slots=True)
class Flips:
    """The examples of a candidate that rose most and fell most, largest change first."""

    metric: Metric
    """The primary metric."""
    shown_by: Metric
    """Metric of the values: the primary metric itself, or the one that it is graded by."""
    candidate: str
    rose: tuple[Flip, ...]
    fell: tuple[Flip, ...]


def flips(run: Run, most: int = MOST_FLIPS) -> tuple[Flips, ...]:
    """Return the examples that changed most from the baseline, for each primary metric and each candidate with scores.

    An example's value is its total / count. A metric of outcomes (won or lost) is shown by the metric that grades it
    (`Metric.graded_by`), if the run has that.

    Args:
        run: What was measured.
        most: Most examples in each direction; unchanged ones are not counted.
    """
    measured = {(one.metric.evaluation, one.metric.name, one.subject): one for one in run.measurements}
    texts = {(text.evaluation, text.example_id): text for text in run.examples}
    found = []
    for metric in dict.fromkeys(one.metric for one in run.measurements if one.metric.primary):
        for candidate in run.candidates:
            graded = measured.get((metric.evaluation, metric.graded_by, candidate.name))
            own = graded or measured.get((metric.evaluation, metric.name, candidate.name))
            if own is None:
                continue
            baseline_scores = measured.get((metric.evaluation, own.metric.name, run.baseline.name))
            moved = list(_moved(own, baseline_scores, texts))
            if moved:
                found.append(_flips(metric, own, moved, most))
    return tuple(found)


def flips_section(run: Run) -> list[str]:
    """Return the flips of the headline candidate, folded; the more metrics there are, the fewer of each."""
    measured = flips(run)
    if not measured:
        return []
    name = headline_candidate(run, list(dict.fromkeys(each.candidate for each in measured)))
    own = [each for each in measured if each.candidate == name]
    most = max(1, min(MOST_FLIPS, MOST_ROWS // (2 * len(own))))
    tables = [line for each in own for line in ("", f"**{_heading(each)}**", "", *_table(each, most))]
    opening = f"{escape_line(name)} compared with the baseline or the definition, example by example."
    summary = f"The {most} examples of each primary metric that changed most, in each direction"
    return ["## What changed most", "", opening, "", *folded(summary, tables[1:])]


def _moved(
    own: MetricScores, baseline_scores: MetricScores | None, texts: Mapping[tuple[str, str], ExampleText]
) -> Iterable[Flip]:
    """Yield each example whose value is not that of the baseline, or of the definition if the metric has one."""
    values, chance = _values(own), own.metric.chance
    if chance is not None:
        baseline = dict.fromkeys(values, chance)
    else:
        baseline = {} if baseline_scores is None else _values(baseline_scores)
    for example_id, value in values.items():
        before = baseline.get(example_id, value)
        if before != value:
            yield Flip(example_id, before, value, texts.get((own.metric.evaluation, example_id)))


def _values(measurement: MetricScores) -> dict[str, float]:
    """Map examples to total / count; examples without a count have no value."""
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
    """Return the primary metric, and the unit and metric of the values."""
    metric, shown_by = flipped.metric, flipped.shown_by
    by = f", by {shown_by.name}" if shown_by != metric else ""
    return escape(f"{metric.evaluation} \u00b7 {metric.name}{by} ({shown_by.unit})")


def _table(flipped: Flips, most: int) -> list[str]:
    """Return rows of what got better and then worse; if neither direction is better, of what rose and then fell."""
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
