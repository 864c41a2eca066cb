"""The verdict on each candidate: what the intervals support, and nothing beyond it, in sentences without markup."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from reports.comparing.compare import ERROR_RATE, Comparison, Outcome, in_family
from reports.comparing.seeds import ENOUGH_SEEDS, FEWEST_SEEDS, OverSeeds, critical_value
from reports.records import Run, Selection, Subject
from reports.rendering.content.display import cells, label, number, spread

_OUTCOMES: dict[Outcome, str] = {
    "better": "Better, interval clear of zero",
    "worse": "Worse, interval clear of zero",
    "higher": "Higher, interval clear of zero",
    "lower": "Lower, interval clear of zero",
    "no change seen": "No change seen",
    "cannot tell": "Cannot tell, so nothing is claimed",
    "not measured": "Not measured",
}
_CHANGES: dict[Outcome, str] = {
    "better": "gained on",
    "worse": "lost on",
    "higher": "higher on",
    "lower": "lower on",
    "no change seen": "no change seen on",
    "cannot tell": "cannot tell on",
    "not measured": "not measured on",
}
_RULERS: dict[Outcome, str] = {
    "better": "ahead of",
    "worse": "behind",
    "no change seen": "no clear difference from",
    "cannot tell": "without an interval against",
}
_AGAINST_CONTROLS: dict[Outcome, str] = {
    "better": "ahead on",
    "worse": "behind on",
    "higher": "above on",
    "lower": "below on",
    "no change seen": "no clear difference on",
    "cannot tell": "without an interval on",
}


def verdict(run: Run, comparisons: Sequence[Comparison], candidate: str) -> list[str]:
    """Return the verdict on a candidate's primary metrics, against the baseline, rulers, controls and candidates."""
    rows = [row for row in comparisons if row.candidate == candidate]
    primary = [row for row in rows if row.primary]
    return [
        *_group_sentences(run, primary),
        *(_outcome_sentences(primary, "rows") or ["No primary metric was measured."]),
        *_equivalence_sentences(primary),
        *_uninformative_sentences(primary),
        *_power_sentences(primary),
        *_origin_sentences(run, run.subject(candidate)),
        *_seed_sentences(run, run.subject(candidate), primary),
        *_ruler_sentences(rows),
        *_other_sentences(run, run.subject(candidate), rows),
    ]


def recipe_verdicts(run: Run, recipes: Sequence[OverSeeds]) -> dict[str, list[str]]:
    """Map each recipe to the verdict on its primary metrics, or to the reason why it is not judged."""
    by_recipe: dict[str, list[OverSeeds]] = {}
    for row in recipes:
        by_recipe.setdefault(row.mean.candidate, []).append(row)
    return {recipe: _recipe_sentences(run, rows) for recipe, rows in by_recipe.items()}


def choice(run: Run) -> list[str]:
    """Return a sentence on the winner of a sweep, if there was one, and one on what it tied with."""
    return [sentence for selection in run.selection if selection.is_winner for sentence in _chosen(selection)]


def _chosen(winner: Selection) -> list[str]:
    sentences = [f"Chosen on selection rows, which are not those of this report: {winner.candidate}."]
    if winner.tied_with and winner.n_won is not None:
        equal = f"{number(winner.n_won, int(winner.n_won % 1 > 0))} of {winner.n_compared:,} comparisons won"
        rules = {"loss": "its lower loss decided", "order": "their losses are equal too, so the first was taken"}
        others = ", ".join(winner.tied_with)
        sentences.append(
            f"The choice was a tie with {others} ({equal} by each); {rules[winner.decided_by or 'order']}."
        )
    return sentences


def not_finite_sentences(run: Run) -> list[str]:
    """Return a line for each subject whose log-probabilities are not finite, with the evaluations that it breaks."""
    sentences = []
    for subject, metrics in run.not_finite().items():
        evaluations = ", ".join(dict.fromkeys(metric.evaluation for metric in metrics))
        sentences.append(
            f"The log-probabilities of {subject} are not finite (NaN or infinite), so it has no number in "
            f"{evaluations}; a gate on what is missing fails."
        )
    return sentences


def candidates_of(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return the names of the candidates that have comparisons, in the order of the run's subjects."""
    measured = {row.candidate for row in comparisons if row.against != "base"}
    return [subject.name for subject in run.subjects if subject.name in measured]


def references_differ(run: Run, row: Comparison) -> bool:
    """Whether the row compares two rewards with different references."""
    return _is_reward(row) and run.subject(row.candidate).reference != run.subject(row.baseline).reference


def _is_reward(row: Comparison) -> bool:
    """Whether the row compares the rewards of two candidates."""
    return row.against == "candidate" and row.metric.chance is not None


def _recipe_sentences(run: Run, recipe: Sequence[OverSeeds]) -> list[str]:
    n_adapters = len(recipe[0].adapters)
    if n_adapters < FEWEST_SEEDS:
        return [f"Not judged as a recipe: {n_adapters} of at least {FEWEST_SEEDS} training seeds."]
    rows = [row.mean for row in recipe]
    primary = [row for row in rows if row.primary]
    return [
        *_outcome_sentences(primary, "seeds and rows"),
        *_equivalence_sentences(primary),
        *_uninformative_sentences(primary),
        *_power_sentences(primary),
        *_few_seeds_sentences(n_adapters),
        *_ruler_sentences(rows),
        *_other_sentences(run, run.subject(recipe[0].adapters[0]), rows),
    ]


def _few_seeds_sentences(n_seeds: int) -> list[str]:
    """Return how little so few seeds can say."""
    if n_seeds >= ENOUGH_SEEDS:
        return []
    few, enough = f"{critical_value(n_seeds):.1f} standard errors", f"{critical_value(ENOUGH_SEEDS):.1f}"
    return [
        f"{n_seeds} seeds hardly tell how far seeds lie apart: if far, a claim takes {few} ({ENOUGH_SEEDS}: {enough})."
    ]


def _outcome_sentences(rows: Sequence[Comparison], sample: str) -> list[str]:
    """Return a sentence for each outcome; `sample` names what an interval takes its spread from, rows or seeds."""
    sentences = []
    for outcome, opening in _OUTCOMES.items():
        for fails, remark in ((False, ""), (True, ": clear of zero by itself, but not after correction")):
            facts = [_fact(row, sample) for row in rows if row.outcome == outcome and row.fails_correction == fails]
            if facts:
                sentences.append(f"{opening}{remark}: {'; '.join(facts)}.")
    return sentences


def _group_sentences(run: Run, rows: Sequence[Comparison]) -> list[str]:
    """Return gains and losses: first on what was tuned for, then by each group of evaluations that the suite names."""
    group_of = {counts.evaluation: counts.suite_group for counts in run.counts}
    groups = dict.fromkeys(group_of.get(row.metric.evaluation, "") for row in rows)
    if not any(groups):
        return []
    sentences = []
    for group in sorted(groups):
        own = [row for row in rows if group_of.get(row.metric.evaluation, "") == group]
        changes = _by_outcome(own, _CHANGES, lambda row: label(row.metric))
        sentences.append(f"{f'Elsewhere ({group})' if group else 'What tuning changed'}: {changes}.")
    return sentences


def p_text(p_value: float) -> str:
    """Return a p-value with three decimals."""
    return "< 0.001" if p_value < 0.001 else number(p_value, 3)  # noqa: PLR2004


def _equivalence_sentences(rows: Sequence[Comparison]) -> list[str]:
    """Return what is equivalent within its gate, which alone is called unchanged, and what its twin contradicts."""
    within = [row for row in rows if row.p_unchanged is not None and row.p_unchanged <= ERROR_RATE]
    facts = [
        f"{label(row.metric)} within {spread(row.margin, row.metric)}" for row in within if not row.is_contradicted
    ]
    sentences = [
        f"Not called unchanged: {label(row.metric)} is within its margin of {spread(row.margin, row.metric)}, but "
        f"{row.metric.twin} changed by {cells(replace(row, difference=row.twin_difference)).difference}: words and the "
        "end of turn moved apart."
        for row in within
        if row.is_contradicted
    ]
    if facts:
        unchanged = f"No change beyond the margin of a gate, by an equivalence test at 5 %: {'; '.join(facts)}."
        sentences.insert(0, unchanged)
    return sentences


def _uninformative_sentences(rows: Sequence[Comparison]) -> list[str]:
    """Return which values are worse than a uniform guess over the vocabulary, so that they say nothing of a model."""
    facts = []
    for row in rows:
        ceiling = row.metric.uninformative
        values = [value for value in (row.baseline_value, row.candidate_value) if value is not None]
        if ceiling is not None and values and max(values) > ceiling:
            shown = cells(replace(row, baseline_value=ceiling))
            facts.append(f"{label(row.metric)} ({cells(row).baseline} and {shown.candidate}; {shown.baseline} tokens)")
    return (
        [f"Above the size of the vocabulary, worse than a guess at random, so without information: {'; '.join(facts)}."]
        if facts
        else []
    )


def _power_sentences(rows: Sequence[Comparison]) -> list[str]:
    facts = [
        f"{label(row.metric)} {spread(row.smallest_detectable, row.metric)}"
        for row in rows
        if row.smallest_detectable is not None
    ]
    return [f"With 80 % power only changes larger than these could be detected: {'; '.join(facts)}."] if facts else []


def _origin_sentences(run: Run, candidate: Subject) -> list[str]:
    """Return what is not known of a candidate that was trained elsewhere: its rows, its reference, its beta."""
    sentences = []
    if not candidate.knows_rows:
        sentences.append("Not trained by this project: whether it saw these rows is not known.")
    if candidate.reference_basis == "unknown":
        sentences.append("No implicit reward: the weights that its training started from are not here.")
    elif has_assumed_reward(run, candidate.name):
        unsaid = [
            *(["what its training started from"] if candidate.reference_basis == "assumed" else []),
            *(["its beta"] if candidate.beta_basis == "assumed" else []),
        ]
        sentences.append(
            f"Nothing says {' or '.join(unsaid)}: its reward is taken against {candidate.reference}, with beta "
            f"{candidate.beta:g}."
        )
    return sentences


def has_assumed_reward(run: Run, name: str) -> bool:
    """Whether a subject's implicit reward has a reference or a beta that is assumed."""
    subject = run.subject(name)
    is_assumed = "assumed" in (subject.reference_basis, subject.beta_basis)
    return is_assumed and subject.reference is not None and subject.beta is not None


def _seed_sentences(run: Run, candidate: Subject, rows: Sequence[Comparison]) -> list[str]:
    """Return a warning if the recipe has a single training seed."""
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
    if not row.is_clear:
        same = "the same in every group; " if row.has_same_outcomes else ""
        return f"{values}; {same}anything from {_low_to_high(row)} is compatible with these {sample})"
    corrected = "" if row.p_adjusted is None else f", corrected p {p_text(row.p_adjusted).replace('<', 'under')}"
    return f"{values}, 95 % interval {_low_to_high(row)}{corrected})"


def _low_to_high(row: Comparison) -> str:
    return cells(row).interval.strip("[]").replace(", ", " to ")


def _ruler_sentences(rows: Sequence[Comparison]) -> list[str]:
    """Return which surface rulers each primary metric beats, and by which test those that do as well do so.

    A gain that a ruler also makes is not alignment. p-values are adjusted over all rulers and metrics of the candidate.
    """
    against = [row for row in rows if row.against == "ruler" and row.metric.primary and row.outcome in _RULERS]
    by_metric: dict[str, list[Comparison]] = {}
    for row in in_family(against, ()):
        by_metric.setdefault(label(row.metric), []).append(row)
    sentences = []
    for metric, of_metric in by_metric.items():
        outcomes = _by_outcome(of_metric, _RULERS, lambda row: row.baseline)
        sentences.append(f"Among the surface rulers on {metric}: {outcomes}.")
        equals = [row for row in of_metric if row.outcome != "better"]
        if equals:
            named = "; ".join(f"{row.baseline} ({_paired_test(row)})" for row in equals)
            sentences.append(
                f"Not ahead of every ruler on {metric}, so a gain there is not shown to be alignment: {named}."
            )
    return sentences


def _paired_test(row: Comparison) -> str:
    """Return a paired difference with its interval and p-value."""
    if row.interval is None or row.p_adjusted is None:
        return f"{cells(row).difference}, {row.why_no_interval}"
    return f"{cells(row).difference}, {_low_to_high(row)}, paired p {p_text(row.p_adjusted).replace('<', 'under')}"


def _other_sentences(run: Run, candidate: Subject, rows: Sequence[Comparison]) -> list[str]:
    """Return results against each other candidate, and a warning if the candidate is not ahead of its controls."""
    controls = {subject.name for subject in run.subjects if subject.is_control}
    rows = [row for row in rows if row.against == "candidate" and row.metric.primary]
    against_controls = in_family([row for row in rows if row.baseline in controls], ())
    sentences, not_ahead = [], []
    for name in candidate.compared_with:
        of_other = [row for row in (against_controls if name in controls else rows) if row.baseline == name]
        if not of_other:
            sentences.append(f"Against \u201c{name}\u201d: no primary metric in common.")
        elif name in controls:
            against_control = _by_outcome(of_other, _AGAINST_CONTROLS, lambda row: label(row.metric))
            sentences.append(f"Against \u201c{name}\u201d: {against_control}.")
            not_ahead += [label(row.metric) for row in of_other if row.outcome != "better"]
        else:
            own = candidate.reference != run.subject(name).reference and any(map(_is_reward, of_other))
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
    return f"{label(row.metric)} {cells(row).difference} ({row.outcome}, {_low_to_high(row)})"


def _by_outcome(
    rows: Sequence[Comparison],
    words: dict[Outcome, str],
    name: Callable[[Comparison], str],
) -> str:
    """Group names by the words for their outcome: "ahead of longest; behind bag of words"."""
    return "; ".join(
        f"{opening} {', '.join(found)}"
        for opening in dict.fromkeys(words.values())
        if (found := [name(row) for row in rows if words.get(row.outcome) == opening])
    )
