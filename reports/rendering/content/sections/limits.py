"""The section on what limits belief: everything that the headline has no room for, weightiest first."""

from reports.records import Run
from reports.rendering.content.blocks import Bullets, Section
from reports.rendering.content.headline import Headline


def limits_section(run: Run, headline: Headline | None) -> Section:
    """Return the limits that the headline only counts, and which other subjects have numbers that are not finite."""
    title = "What else limits belief"
    if headline is None:
        return Section("limits", title)
    said = " ".join(line.text for line in headline.lines if line.kind == "believe it?")
    unsaid = [limit for limit in headline.limits if limit.rstrip(".") not in said]
    items = (*unsaid, *_not_finite(run, headline.subject))
    return Section("limits", title, (Bullets(items),) if items else ())


def _not_finite(run: Run, subject: str) -> list[str]:
    """Return a sentence for each subject that the headline says nothing of."""
    return [
        f"The log-probabilities of {name} are not finite (NaN or infinite) in {len(metrics):,} metrics; a gate on what "
        "is missing fails."
        for name, metrics in run.not_finite().items()
        if subject not in (name, run.subject(name).recipe) and name != run.baseline.name
    ]
