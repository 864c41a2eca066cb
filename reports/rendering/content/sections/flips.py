"""The examples of each primary metric that changed most, in both directions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import Comparison, candidates_of
from reports.records import ExampleText, Metric, MetricScores, Run, without_nan
from reports.rendering.content.blocks import Block, Code, Paragraph, Section, Subheading, Table, Words
from reports.rendering.content.display import NOTHING, number, plain
from reports.rendering.content.names import metric_names

MOST_FLIPS = 10
"""Most examples of one metric and candidate in each direction."""
MOST_ROWS = 48
"""Most rows of the section, all metrics together."""
LONGEST_TEXT = 90
"""Most characters of a prompt or an answer in its cell."""
ALIKE = 0.6
"""Share of their words from which two prompts are one template: "the capital of France" and "of Spain"."""
MOST_READ = 500
"""Most examples of each direction that are looked at for those that are shown."""
MOST_TIED = 3
"""Most examples that are shown where all that changed did so by as much."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Flip:
    """One example whose value differs between a candidate and its baseline."""

    example_id: str
    group: str
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
    """The examples of a candidate that rose most and fell most, largest change first, no two of them alike."""

    metric: Metric
    """The primary metric."""
    shown_by: Metric
    """Metric of the values: the primary metric itself, or the one that it is graded by."""
    candidate: str
    rose: tuple[Flip, ...]
    fell: tuple[Flip, ...]
    n_rose: int
    """All that rose, also those that are not shown."""
    n_fell: int
    is_tie: bool
    """Whether more than a few moved, all of them by as much, so that none moved most."""


def flips(run: Run, most: int = MOST_FLIPS) -> tuple[Flips, ...]:
    """Return the examples that changed most from the baseline, for each primary metric and each candidate with scores.

    An example's value is its total / count. A metric of outcomes (won or lost) is shown by the metric that grades it
    (`Metric.graded_by`), if the run has that. Of examples of one group, or with nearly the same prompt, only the one
    that changed most is shown.

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


def flips_section(run: Run, comparisons: Sequence[Comparison]) -> Section:
    """Return the flips of the headline candidate; the more metrics there are, the fewer of each."""
    title, measured = "What changed most", flips(run)
    candidates = candidates_of(run, comparisons)
    name = headline_candidate(run, candidates) if candidates else ""
    own = [each for each in measured if each.candidate == name]
    if not own:
        return Section("changes", title)
    most = max(1, min(MOST_FLIPS, MOST_ROWS // (2 * len(own))))
    names = metric_names(run)
    blocks: list[Block] = [
        Paragraph(
            f"{name} compared with the baseline, or with what the metric has by definition, example by example; of a "
            "group, and of prompts that share most of their words, only the one that changed most."
        )
    ]
    for each in own:
        blocks += [Subheading(_heading(each, names)), _table(each, most) if not each.is_tie else Paragraph(_tie(each))]
    summary = f"up to {most} examples of each primary metric in each direction"
    return Section("changes", title, tuple(blocks), summary)


def _moved(
    own: MetricScores, baseline_scores: MetricScores | None, texts: Mapping[tuple[str, str], ExampleText]
) -> Iterable[Flip]:
    """Yield each example whose value is not that of the baseline, or of the definition if the metric has one."""
    values, chance = _values(own), own.metric.chance
    if chance is not None:
        baseline = dict.fromkeys(values, chance)
    else:
        baseline = {} if baseline_scores is None else _values(baseline_scores)
    groups = {score.example_id: score.group for score in own.scores}
    for example_id, value in values.items():
        before = baseline.get(example_id, value)
        if before != value:
            text = texts.get((own.metric.evaluation, example_id))
            yield Flip(example_id, groups[example_id], before, value, text)


def _values(measurement: MetricScores) -> dict[str, float]:
    """Map examples to total / count; examples without a count have no value."""
    return {
        score.example_id: score.total / score.count for score in without_nan(measurement).scores if score.count != 0
    }


def _flips(metric: Metric, own: MetricScores, moved: Sequence[Flip], most: int) -> Flips:
    ranked = sorted(moved, key=lambda flip: (-abs(flip.difference), flip.example_id))
    rose = [flip for flip in ranked if flip.difference > 0]
    fell = [flip for flip in ranked if flip.difference < 0]
    sizes = [abs(flip.difference) for flip in (ranked[0], ranked[-1])]
    return Flips(
        metric=metric,
        shown_by=own.metric,
        candidate=own.subject,
        rose=_distinct(rose, most),
        fell=_distinct(fell, most),
        n_rose=len(rose),
        n_fell=len(fell),
        is_tie=len(ranked) > MOST_TIED and sizes[0] - sizes[1] <= 1e-9 * sizes[0],
    )


def _distinct(ranked: Sequence[Flip], most: int) -> tuple[Flip, ...]:
    """Return the first flips of which no two are of one group or template."""
    found: list[Flip] = []
    groups: set[str] = set()
    words: list[frozenset[str]] = []
    for flip in ranked[:MOST_READ]:
        if len(found) == most:
            break
        own = frozenset(_WORD.findall(flip.text.prompt.lower())) if flip.text else frozenset[str]()
        if flip.group in groups or any(_are_alike(own, other) for other in words):
            continue
        found.append(flip)
        groups.add(flip.group)
        words.append(own)
    return tuple(found)


def _are_alike(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two prompts share so many of their words that they are one template."""
    return bool(words) and len(words & others) >= ALIKE * len(words | others)


def _heading(flipped: Flips, names: Mapping[Metric, str]) -> str:
    """Return the primary metric, and the unit and metric of the values."""
    metric, shown_by = flipped.metric, flipped.shown_by
    by = f", by {shown_by.name.replace('_', ' ')}" if shown_by != metric else ""
    unit = f" ({shown_by.unit})" if shown_by.unit and f"({shown_by.unit})" not in names[metric] else ""
    return f"{names[metric]}{by}{unit}"


def _ways(flipped: Flips) -> tuple[str, str]:
    """Return what rising and falling is, in a word each."""
    better = flipped.shown_by.higher_is_better
    if better is None:
        return "higher", "lower"
    return ("better", "worse") if better else ("worse", "better")


def _tie(flipped: Flips) -> str:
    up, down = _ways(flipped)
    size = number(abs((flipped.rose or flipped.fell)[0].difference), 3)
    return f"{flipped.n_rose:,} got {up} and {flipped.n_fell:,} {down}, each by {size}, so none changed most."


def _table(flipped: Flips, most: int) -> Table:
    """Return rows of what got better and then worse; if neither direction is better, of what rose and then fell."""
    up, down = _ways(flipped)
    ways = [(up, flipped.rose), (down, flipped.fell)]
    if up == "worse":
        ways.reverse()
    shown = [(way, flip) for way, moved in ways for flip in moved[:most]]
    roles = list(dict.fromkeys(role for _, flip in shown if flip.text for role in sorted(flip.text.texts)))
    rows: list[tuple[Words, ...]] = [
        (
            way,
            number(flip.baseline_value, 3),
            number(flip.candidate_value, 3),
            number(flip.difference, 3, sign=True),
            _cut(flip.text.prompt) if flip.text else Code(flip.example_id),
            *(_cut(flip.text.texts.get(role, NOTHING)) if flip.text else NOTHING for role in roles),
        )
        for way, flip in shown
    ]
    header = (
        "Change",
        "Baseline",
        "Candidate",
        "Difference",
        "Prompt",
        *(role[:1].upper() + role[1:] for role in roles),
    )
    return Table(header, tuple(rows), "lrrrl" + "l" * len(roles))


def _cut(text: str) -> str:
    line = plain(text)
    return line if len(line) <= LONGEST_TEXT else line[:LONGEST_TEXT] + "\u2026"
