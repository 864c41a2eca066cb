"""What the intervals support, and nothing beyond it, in sentences without markup."""

from collections.abc import Callable, Sequence

from reports.comparing.compare import Comparison, Outcome
from reports.comparing.gates import allowed_loss, metric_key
from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.comparing.statistics import CONFIDENCE, is_equivalent
from reports.records import Run, Subject
from reports.rendering.content.display import cells, label, number, spread

_OUTCOMES: dict[Outcome, str] = {
    "better": "Better, interval clear of zero",
    "worse": "Worse, interval clear of zero",
    "higher": "Higher, interval clear of zero",
    "lower": "Lower, interval clear of zero",
    "unclear": "Interval includes no change",
    "no interval": "No interval, so nothing is claimed",
    "no difference measured": "No difference measured",
}
_CHANGES: dict[Outcome, str] = {
    "better": "gained on",
    "worse": "lost on",
    "higher": "higher on",
    "lower": "lower on",
    "unclear": "not told apart on",
    "no interval": "not told apart on",
    "no difference measured": "not told apart on",
}
_RULERS: dict[Outcome, str] = {
    "better": "ahead of",
    "worse": "behind",
    "unclear": "not told apart from",
    "no interval": "without an interval against",
}
_STANDINGS: dict[Outcome, str] = {
    "better": "ahead on",
    "worse": "behind on",
    "higher": "above on",
    "lower": "below on",
    "unclear": "not told apart on",
    "no interval": "without an interval on",
}


def verdict(run: Run, comparisons: Sequence[Comparison], candidate: str) -> list[str]:
    """Of a candidate's primary metrics: against the baseline, surface rulers, its controls and other candidates."""
    rows = [row for row in comparisons if row.candidate == candidate]
    primary = [row for row in rows if row.primary]
    return [
        *_group_sentences(run, primary),
        *(_outcome_sentences(primary, "rows") or ["No primary metric was measured."]),
        *_equivalence_sentences(run, primary),
        *_power_sentences(primary),
        *_seed_sentences(run, run.subject(candidate), primary),
        *_ruler_sentences(rows),
        *_other_sentences(run, run.subject(candidate), rows),
    ]


def recipe_verdicts(recipes: Sequence[OverSeeds]) -> dict[str, list[str]]:
    """Recipe -> the same of its primary metrics, where it has the training seeds that it takes to judge it."""
    by_recipe: dict[str, list[OverSeeds]] = {}
    for row in recipes:
        by_recipe.setdefault(row.mean.candidate, []).append(row)
    return {recipe: _recipe_sentences(rows) for recipe, rows in by_recipe.items()}


def choice(run: Run) -> list[str]:
    """The winner of a sweep, where there was one."""
    chosen = [selection.candidate for selection in run.selection if selection.is_winner]
    return [f"Chosen on selection rows, which are not those of this report: {', '.join(chosen)}."] if chosen else []


def candidates_of(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Names of the candidates that something was measured of, in the order of the run's subjects."""
    measured = {row.candidate for row in comparisons}
    return [subject.name for subject in run.subjects if subject.name in measured]


def foremost(run: Run, candidates: Sequence[str]) -> str:
    """The candidate that was chosen, or the first of the chosen recipe; else the first one that is not a control."""
    chosen = {selection.candidate for selection in run.selection if selection.is_winner}
    subjects = [run.subject(name) for name in candidates]
    return min(subjects, key=lambda each: (chosen.isdisjoint({each.name, each.recipe}), each.is_control)).name


def references_differ(run: Run, row: Comparison) -> bool:
    """Whether it holds a reward against one that is taken against another reference."""
    is_reward = row.against == "candidate" and row.metric.chance is not None
    return is_reward and run.subject(row.candidate).reference != run.subject(row.baseline).reference


def _recipe_sentences(rows: Sequence[OverSeeds]) -> list[str]:
    n_adapters = len(rows[0].adapters)
    if n_adapters < FEWEST_SEEDS:
        return [f"Not judged as a recipe: {n_adapters} of at least {FEWEST_SEEDS} training seeds."]
    return _outcome_sentences([row.mean for row in rows], "seeds")


def _outcome_sentences(rows: Sequence[Comparison], sample: str) -> list[str]:
    """Sentences over rows of `sample`, which is what an interval draws its spread from."""
    sentences = []
    for outcome, opening in _OUTCOMES.items():
        for stands, remark in ((True, ""), (False, ", but not after correction")):
            facts = [_fact(row, sample) for row in rows if row.outcome == outcome and _stands(row) == stands]
            if facts:
                sentences.append(f"{opening}{remark}: {'; '.join(facts)}.")
    return sentences


def _group_sentences(run: Run, rows: Sequence[Comparison]) -> list[str]:
    """Gained here, lost there: first on what was tuned for, then by each group of evaluations that the suite names."""
    group_of = {counts.evaluation: counts.suite_group for counts in run.counts}
    groups = dict.fromkeys(group_of.get(row.metric.evaluation, "") for row in rows)
    if not any(groups):
        return []
    sentences = []
    for group in sorted(groups):
        own = [row for row in rows if group_of.get(row.metric.evaluation, "") == group]
        changes = _sorted_out(own, _CHANGES, lambda row: label(row.metric), _outcome_after_correction)
        sentences.append(f"{f'Elsewhere ({group})' if group else 'What tuning changed'}: {changes}.")
    return sentences


def _outcome_after_correction(row: Comparison) -> Outcome:
    """What is left of what the interval shows."""
    return row.outcome if _stands(row) else "unclear"


def _stands(row: Comparison) -> bool:
    """Whether what the interval shows is left after correction, which rows outside of the family do not get."""
    is_clear = row.interval is not None and row.outcome != "unclear"
    return not is_clear or row.p_adjusted is None or row.p_adjusted <= 1 - CONFIDENCE


def p_text(p_value: float) -> str:
    """Three decimals."""
    return "< 0.001" if p_value < 0.001 else number(p_value, 3)  # noqa: PLR2004


def _equivalence_sentences(run: Run, rows: Sequence[Comparison]) -> list[str]:
    """Metrics shown not to have moved by more than their gate allows: the only ones that are called unchanged."""
    facts = []
    for gate in run.gates:
        for row in rows:
            if metric_key(row.metric) == gate.metric and row.bounds and row.baseline_value is not None:
                margin = allowed_loss(gate, row.metric, row.baseline_value)
                if is_equivalent(row.bounds, margin):
                    facts.append(f"{label(row.metric)} within {spread(margin, row.metric)}")
    return (
        [f"No change beyond the margin of a gate, by an equivalence test at 5 %: {'; '.join(facts)}."] if facts else []
    )


def _power_sentences(rows: Sequence[Comparison]) -> list[str]:
    facts = [
        f"{label(row.metric)} {spread(row.smallest_detectable, row.metric)}"
        for row in rows
        if row.smallest_detectable is not None
    ]
    return (
        [f"Smaller changes than these could not have been seen with 80 % power: {'; '.join(facts)}."] if facts else []
    )


def _seed_sentences(run: Run, candidate: Subject, rows: Sequence[Comparison]) -> list[str]:
    """Whom the intervals speak for where no other training seed of the recipe is there."""
    alone = not any(other.recipe == candidate.recipe != "" for other in run.subjects if other.name != candidate.name)
    if not (alone and candidate.same_weights and any(row.interval for row in rows)):
        return []
    return ["One training seed: this holds for this adapter, not for its recipe."]


def _fact(row: Comparison, sample: str) -> str:
    name, shown = label(row.metric), cells(row)
    if row.difference is None:
        return f"{name} ({row.why_no_interval})"
    by_definition = " by definition" if row.against == "definition" else ""
    values = f"{name} {shown.baseline}{by_definition} \u2192 {shown.candidate} ({shown.difference}"
    if row.interval is None:
        return f"{values}; {row.why_no_interval})"
    if row.outcome == "unclear":
        return f"{values}; anything from {_low_to_high(row)} is compatible with these {sample})"
    corrected = "" if row.p_adjusted is None else f", corrected p {p_text(row.p_adjusted).replace('<', 'under')}"
    return f"{values}, 95 % interval {_low_to_high(row)}{corrected})"


def _low_to_high(row: Comparison) -> str:
    return cells(row).interval.strip("[]").replace(", ", " to ")


def _ruler_sentences(rows: Sequence[Comparison]) -> list[str]:
    """Which surface rulers a primary metric leaves behind: what they can do is not alignment."""
    by_metric: dict[str, list[Comparison]] = {}
    for row in rows:
        if row.against == "ruler" and row.metric.primary and row.outcome in _RULERS:
            by_metric.setdefault(label(row.metric), []).append(row)
    return [
        f"Among the surface rulers on {metric}: {_sorted_out(of_metric, _RULERS, lambda row: row.baseline)}."
        for metric, of_metric in by_metric.items()
    ]


def _other_sentences(run: Run, candidate: Subject, rows: Sequence[Comparison]) -> list[str]:
    """How the primary metrics stand against each other candidate, and what it means to be no better than a control."""
    controls = {subject.name for subject in run.subjects if subject.is_control}
    rows = [row for row in rows if row.against == "candidate" and row.metric.primary]
    sentences, not_ahead = [], []
    for name in candidate.compared_with:
        of_other = [row for row in rows if row.baseline == name]
        if not of_other:
            sentences.append(f"Against \u201c{name}\u201d: no primary metric in common.")
        elif name in controls:
            standings = _sorted_out(of_other, _STANDINGS, lambda row: label(row.metric))
            sentences.append(f"Against \u201c{name}\u201d: {standings}.")
            not_ahead += [label(row.metric) for row in of_other if row.outcome != "better"]
        else:
            own = any(references_differ(run, row) for row in of_other)
            remark = " Each reward is taken against its own reference." if own else ""
            sentences.append(f"{_opening(run, candidate, name)}: {'; '.join(map(_change, of_other))}.{remark}")
    if not_ahead:
        metrics = "; ".join(dict.fromkeys(not_ahead))
        sentences.append(
            f"Not ahead of every control on {metrics}: a gain there, such as a lower perplexity, says nothing about "
            "preferences."
        )
    return sentences


def _opening(run: Run, candidate: Subject, other: str) -> str:
    if candidate.reference == other:
        return f"Against \u201c{other}\u201d, which it started from"
    if run.subject(other).same_weights and not candidate.same_weights:
        return f"What merging \u201c{other}\u201d changed"
    return f"Against \u201c{other}\u201d"


def _change(row: Comparison) -> str:
    if row.interval is None:
        return f"{label(row.metric)} {cells(row).difference} ({row.why_no_interval})"
    outcome = "not told apart" if row.outcome == "unclear" else row.outcome
    return f"{label(row.metric)} {cells(row).difference} ({outcome}, {_low_to_high(row)})"


def _sorted_out(
    rows: Sequence[Comparison],
    words: dict[Outcome, str],
    name: Callable[[Comparison], str],
    outcome: Callable[[Comparison], Outcome] = lambda row: row.outcome,
) -> str:
    """Names under the words for their outcome: "ahead of longest; behind bag of words"."""
    return "; ".join(
        f"{opening} {', '.join(found)}"
        for opening in dict.fromkeys(words.values())
        if (found := [name(row) for row in rows if words.get(outcome(row)) == opening])
    )
