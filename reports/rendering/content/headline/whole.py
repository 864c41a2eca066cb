"""The whole headline: one sentence that answers the question, then what was gained, lost, and limits belief."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds
from reports.records import Run
from reports.rendering.content.headline.evidence import fewer_refusals
from reports.rendering.content.headline.facts import (
    control_rivalries,
    facts_of,
    n_peers,
    on_target,
    ruler_rivalries,
    standing,
)
from reports.rendering.content.headline.limits import limits
from reports.rendering.content.headline.lines import (
    LONGEST_HEADLINE,
    Beside,
    HeadlineLine,
    headline_lines,
    n_characters,
)
from reports.rendering.content.headline.losses import loss_words
from reports.rendering.content.headline.sentence import Names, sentence
from reports.rendering.content.headline.subject import Judged, judged
from reports.rendering.content.headline.words import shortened
from reports.rendering.content.names import metric_names

_SHOWN_LIMITS = 2


@dataclass(frozen=True, slots=True)
class Headline:
    """The first thing that is read, in every format; at most six sentences and 600 characters in all."""

    subject: str
    """Name of the candidate or recipe that it is about."""
    sentence: str
    lines: tuple[HeadlineLine, ...]
    limits: tuple[str, ...] = ()
    """Everything that limits belief, weightiest first; the last line has the first two and how many more there are."""


def headline(run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]) -> Headline | None:
    """Return the headline of a run, or None without a candidate.

    Args:
        run: What was measured.
        comparisons: Result of `compare`.
        recipes: Result of `over_seeds`.
    """
    subject = judged(run, comparisons, recipes)
    if subject is None:
        return None
    facts = facts_of(run, subject, comparisons)
    rulers = on_target(subject, ruler_rivalries(subject))
    controls = on_target(subject, control_rivalries(subject, comparisons))
    names = Names(
        subject=subject.name,
        other=run.baseline.name,
        ruler=rulers[0].name if rulers else "",
        control=controls[0].name if controls else "",
        losses=loss_words(subject.elsewhere),
        target_losses=loss_words(subject.target),
        all_losses=loss_words(subject.rows),
        n_gains=sum(standing(row) == "better" for row in subject.elsewhere),
        n_candidates=len(run.selection) if facts.choice == "chosen" else n_peers(run),
        n_seeds=len(subject.adapters),
    )
    said = sentence(facts, names)
    found = limits(run, subject, facts, comparisons)
    return Headline(subject.name, said, _lines(run, subject, found, LONGEST_HEADLINE - len(said)), found)


def _lines(run: Run, subject: Judged, found: Sequence[str], n_left: int) -> tuple[HeadlineLine, ...]:
    """Return the lines with the two weightiest limits, or with one if two leave too little room for what was lost.

    Where even that leaves no room, refusals are left to the sentence, which names them if it has no other loss.
    """
    names, refused = metric_names(run), _refusals(run, subject)
    lines: tuple[HeadlineLine, ...] = ()
    for n_limits in (_SHOWN_LIMITS, 1):
        lines = headline_lines(subject, names, Beside(refused, _believe(found, n_limits)), n_left)
        if _fits(lines, n_left) and not any(line.n_left_out for line in lines if line.kind == "lost"):
            return lines
    return lines if _fits(lines, n_left) else headline_lines(subject, names, Beside("", _believe(found, 1)), n_left)


def _fits(lines: Sequence[HeadlineLine], n_left: int) -> bool:
    return sum(map(n_characters, lines)) <= n_left


def _believe(found: Sequence[str], n_shown: int) -> str:
    """Return the weightiest limits as one sentence, and how many more there are."""
    shown, n_more = [limit.rstrip(".") for limit in found[:n_shown]], len(found) - n_shown
    rest = [f"{n_more:,} lesser limit{'s' if n_more > 1 else ''} below"] if n_more > 0 else []
    return "; ".join([*shown, *rest])


def _refusals(run: Run, subject: Judged) -> str:
    """Return how many harmful prompts are refused, if fewer than before: a cost that no metric of the table counts."""
    counted = fewer_refusals(run, subject.adapters)
    if counted is None:
        return ""
    other = shortened(run.baseline.name) if run.base else "baseline"
    now = f"refuses {counted.candidate:,} of {counted.n:,} harmful prompts"
    return f"{now}, {other} {counted.baseline:,} (counts only, no test)"
