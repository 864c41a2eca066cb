"""The whole headline: one sentence that answers the question, then what was gained, lost, and limits belief."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds
from reports.records import Run
from reports.rendering.content.headline.facts import (
    control_rivalries,
    facts_of,
    n_peers,
    on_target,
    ruler_rivalries,
)
from reports.rendering.content.headline.limits import limits
from reports.rendering.content.headline.lines import LONGEST_HEADLINE, HeadlineLine, headline_lines
from reports.rendering.content.headline.sentence import Names, sentence
from reports.rendering.content.headline.subject import judged
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
        n_candidates=len(run.selection) if facts.choice == "chosen" else n_peers(run),
        n_seeds=len(subject.adapters),
    )
    said = sentence(facts, names)
    found = limits(run, subject, facts, comparisons)
    lines = headline_lines(subject, metric_names(run), _believe(found), LONGEST_HEADLINE - len(said))
    return Headline(subject.name, said, lines, found)


def _believe(found: Sequence[str]) -> str:
    """Return the two weightiest limits as one sentence, and how many more there are."""
    shown = [limit.rstrip(".") for limit in found[:_SHOWN_LIMITS]]
    rest = [f"{len(found) - _SHOWN_LIMITS:,} more below"] if len(found) > _SHOWN_LIMITS else []
    return "; ".join([*shown, *rest])
