"""The examples of each primary metric that changed most, in both directions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import Comparison, candidates_of
from reports.example_texts import texts_of
from reports.records import ExampleText, Metric, MetricScores, Run
from reports.rendering.content.blocks import Block, Code, Paragraph, Section, Subheading, Table, Words
from reports.rendering.content.display import NOTHING, number, plain
from reports.rendering.content.moves import Moves, measured_in, moves
from reports.rendering.content.names import metric_names
from reports.scores import Positions

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
    text: ExampleText | None = None
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


def flips(run: Run, most: int = MOST_FLIPS, candidate: str | None = None) -> tuple[Flips, ...]:
    """Return the examples that changed most from the baseline, for each primary metric and each candidate with scores.

    An example's value is its total / count. A metric of outcomes (won or lost) is shown by the metric that grades it
    (`Metric.graded_by`), if the run has that. Of examples of one group, or with nearly the same prompt, only the one
    that changed most is shown.

    Args:
        run: What was measured.
        most: Most examples in each direction; unchanged ones are not counted.
        candidate: Name of the only candidate that is looked at; None is all.
    """
    measured = measured_in(run)
    found = []
    for metric in dict.fromkeys(one.metric for one in run.measurements if one.metric.primary):
        for name in (each.name for each in run.candidates if candidate in (None, each.name)):
            graded = measured.get((metric.evaluation, metric.graded_by, name))
            own = graded or measured.get((metric.evaluation, metric.name, name))
            if own is not None:
                baseline = measured.get((metric.evaluation, own.metric.name, run.baseline.name))
                moved = moves(own, baseline)
                if len(ranked := moved.ranked()):
                    found.append(_flips(metric, own, moved, ranked))
    wanted: dict[str, list[str]] = {}
    for each in found:
        wanted.setdefault(each.metric.evaluation, []).extend(flip.example_id for flip in (*each.rose, *each.fell))
    texts = texts_of(run.examples, wanted)
    return tuple(_with_texts(each, texts, most) for each in found)


def flips_section(run: Run, comparisons: Sequence[Comparison]) -> Section:
    """Return the flips of the headline candidate; the more metrics there are, the fewer of each."""
    title, candidates = "What changed most", candidates_of(run, comparisons)
    name = headline_candidate(run, candidates) if candidates else ""
    own = flips(run, candidate=name)
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


def _flips(metric: Metric, own: MetricScores, moved: Moves, ranked: Positions) -> Flips:
    """Return the flips of one candidate, as many as are looked at in each direction, without their texts."""
    differences = moved.differences[ranked]
    rose, fell = ranked[differences > 0], ranked[differences < 0]
    sizes = [abs(float(differences[place])) for place in (0, -1)]
    return Flips(
        metric=metric,
        shown_by=own.metric,
        candidate=own.subject,
        rose=_first(moved, rose),
        fell=_first(moved, fell),
        n_rose=len(rose),
        n_fell=len(fell),
        is_tie=len(ranked) > MOST_TIED and sizes[0] - sizes[1] <= 1e-9 * sizes[0],
    )


def _first(moved: Moves, ranked: Positions) -> tuple[Flip, ...]:
    places, examples = ranked[:MOST_READ], moved.examples
    ids, groups = (column.take(places).to_pylist() for column in (examples.ids, examples.groups))
    before, after = (column[places].tolist() for column in (moved.before, moved.after))
    return tuple(Flip(*each) for each in zip(ids, groups, before, after, strict=True))


def _with_texts(flipped: Flips, texts: Mapping[tuple[str, str], ExampleText], most: int) -> Flips:
    """Return the flips that are shown, with their texts."""
    rose, fell = (
        [replace(flip, text=texts.get((flipped.metric.evaluation, flip.example_id))) for flip in side]
        for side in (flipped.rose, flipped.fell)
    )
    return replace(flipped, rose=_distinct(rose, most), fell=_distinct(fell, most))


def _distinct(ranked: Sequence[Flip], most: int) -> tuple[Flip, ...]:
    """Return the first flips of which no two are of one group or template."""
    found: list[Flip] = []
    groups: set[str] = set()
    words: list[frozenset[str]] = []
    for flip in ranked:
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
