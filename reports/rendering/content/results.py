"""The core of a Markdown report: verdict, tables of differences, results over training seeds, and how to read them."""

from collections import Counter
from collections.abc import Sequence

from reports.comparing.compare import Comparison
from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.comparing.statistics import FEWEST_APART, MOST_GROUPS_STUDENTISED, WIDEST_STUDENTISED, Method
from reports.records import Run
from reports.rendering.content.display import ARROWS, MINUS, NOTHING, cells, escape, label, number, spread
from reports.rendering.content.sections import folded, markdown_table
from reports.rendering.content.verdict import (
    candidates_of,
    choice,
    has_assumed_reward,
    headline_candidate,
    not_finite_sentences,
    p_text,
    recipe_verdicts,
    references_differ,
    verdict,
)

NO_CANDIDATE = "No candidate was measured, so nothing is compared."

FEW_CANDIDATES = 3
"""With more candidates than these, only the verdict on the headline candidate is unfolded."""
MOST_OPEN_HINTS = 24
"""Most rows of an unfolded table of exploratory results."""
OTHER_WEIGHTS = " \u2020"
"""Mark after the name of a subject whose weights are not the baseline's."""
ASSUMED = " \u2021"
"""Mark after a metric whose reference or beta is assumed."""
ASSUMED_NOTE = "nothing says what the adapter's training started from, or its beta: both are assumed (see reference)."

_DRAWS = "over 10,000 draws of groups with replacement (2,000 above 5,000 groups), both sides from the same draws"
_METHODS: dict[Method, str] = {
    "bootstrap-t": f"quantiles of the studentised difference {_DRAWS}; for amounts in up to "
    f"{MOST_GROUPS_STUDENTISED:,} groups",
    "BCa": f"bias-corrected and accelerated percentiles {_DRAWS}; for amounts in more than "
    f"{MOST_GROUPS_STUDENTISED:,} groups",
    "percentile": f"percentiles {_DRAWS}, expanded for few groups; for paired outcomes of 0, 0.5 or 1",
    "Wilson": "Wilson's score interval at the effective number of examples, from the spread by group; for outcomes "
    "of 0, 0.5 or 1 against a definition",
    "cluster-t": f"linearised difference of ratios by group, t with groups {MINUS} 1 degrees of freedom; for amounts "
    f"whose spread comes from few groups (fewer than {FEWEST_APART} differ from the rest, or the bootstrap-t is over "
    f"{WIDEST_STUDENTISED:g} times as wide)",
    "exact": "Clopper-Pearson bounds by group; if all groups agree",
}


def verdict_section(run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]) -> list[str]:
    """Return the choice, then the verdicts on recipes and on candidates; of many candidates only one is unfolded."""
    candidates = candidates_of(run, comparisons)
    if not candidates:
        return ["## Verdict", "", NO_CANDIDATE]
    baseline = escape(run.baseline.name)
    lines = ["## Verdict", ""]
    for sentence in (*not_finite_sentences(run), *choice(run)):
        lines += [escape(sentence), ""]
    for recipe, sentences in recipe_verdicts(recipes).items():
        lines += _judged(f"**{escape(recipe)}** over its training seeds, against {baseline}:", sentences)
    blocks = {
        name: _judged(
            f"**{escape(name)}**{weights_mark(run, name)} against {baseline}:", verdict(run, comparisons, name)
        )
        for name in candidates
    }
    if len(candidates) > FEW_CANDIDATES:
        lines += blocks.pop(headline_candidate(run, candidates))
        rest = [line for block in blocks.values() for line in block]
        return [*lines, *folded(f"The other {len(blocks)} candidates", rest[:-1])]
    return [*lines, *(line for block in blocks.values() for line in block)][:-1]


def _judged(title: str, sentences: Sequence[str]) -> list[str]:
    return [title, "", *(f"- {escape(sentence)}" for sentence in sentences), ""]


def weights_mark(run: Run, name: str) -> str:
    """Return the remark after a name in a heading, if the subject's weights are not the baseline's."""
    return "" if run.subject(name).same_weights else " (different weights)"


def marked(run: Run, name: str) -> str:
    """Return the name in a table, marked if the subject's weights are not the baseline's."""
    return name if run.subject(name).same_weights else name + OTHER_WEIGHTS


def reward_mark(run: Run, row: Comparison) -> str:
    """Return the mark of a metric that is taken against a reference, or scaled by a beta, that nothing says."""
    return ASSUMED if row.metric.chance is not None and has_assumed_reward(run, row.candidate) else ""


def results_section(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return tables of all differences by what they are compared with, and notes on how to read them."""
    candidates = candidates_of(run, comparisons)
    if not candidates:
        return []
    main = [row for row in comparisons if row.against in ("baseline", "definition")]
    others = [row for row in comparisons if row.against == "candidate"]
    tables = {
        "Primary metrics": [row for row in main if row.primary],
        "Against controls and other candidates, exploratory": [row for row in others if row.metric.primary],
    }
    hints = {
        "Exploratory metrics: hints, not claims": [row for row in main if not row.primary],
        "Against surface rulers, exploratory: a gain that a ruler also makes is not alignment": [
            row for row in comparisons if row.against == "ruler"
        ],
        "Against controls and other candidates on further metrics, exploratory": [
            row for row in others if not row.metric.primary
        ],
    }
    lines = ["## Results", ""]
    for title, rows in (tables | hints).items():
        if rows:
            table = _results_table(run, rows, candidates)
            is_open = title in tables or len(rows) <= MOST_OPEN_HINTS
            opened = [f"**{title}**", "", *table] if is_open else folded(f"{title} ({len(rows):,} rows)", table)
            lines += [*opened, ""]
    return [*lines, *_reading_note(run, comparisons)]


def _results_table(run: Run, rows: Sequence[Comparison], candidates: Sequence[str]) -> list[str]:
    """Return one row a metric; one a metric and candidate if there are several."""
    several, corrected = len(candidates) > 1, any(row.p_adjusted is not None for row in rows)
    other = {"ruler": "ruler", "candidate": "against"}.get(rows[0].against)
    header = [
        "metric",
        *(["candidate"] if several else []),
        *([other, "its value"] if other else ["baseline"]),
        "value" if several else escape(candidates[0]),
        *("difference", "95 % interval"),
        *(["corrected p"] if corrected else []),
        *("n", "groups", "interval by", "better"),
    ]
    cells_of_rows = [
        [
            (f"**{escape(label(row.metric))}**" if row.primary else escape(label(row.metric))) + reward_mark(run, row),
            *([escape(marked(run, row.candidate))] if several else []),
            *([escape(marked(run, row.baseline))] if other else []),
            *shown[:-1],
            *([NOTHING if row.p_adjusted is None else p_text(row.p_adjusted)] if corrected else []),
            shown[-1],
            f"{row.n_groups:,}" if row.n else NOTHING,
            row.interval.method if row.interval else NOTHING,
            ARROWS[row.metric.higher_is_better],
        ]
        for row, shown in ((row, numbers(row, " by definition")) for row in rows)
    ]
    alignment = "l" * (1 + several + bool(other)) + "rrrrrr" + "r" * corrected + "lc"
    return markdown_table(header, cells_of_rows, alignment)


def numbers(row: Comparison, definition_mark: str) -> list[str]:
    """Return baseline, value, difference, interval and number of examples as text."""
    shown = cells(row)
    return [
        shown.baseline + (definition_mark if row.against == "definition" else ""),
        shown.candidate,
        shown.difference,
        shown.interval,
        f"{row.n:,}" if row.n else NOTHING,
    ]


def seeds_section(recipes: Sequence[OverSeeds]) -> list[str]:
    """Return the table of recipes over their training seeds."""
    if not recipes:
        return []
    rows = [
        [
            f"**{escape(label(row.mean.metric))}**",
            escape(row.mean.candidate),
            f"{len(row.adapters):,}",
            cells(row.mean).difference,
            spread(row.standard_deviation, row.mean.metric),
            cells(row.mean).interval if len(row.adapters) >= FEWEST_SEEDS else "not judged",
            spread(row.mean_width, row.mean.metric),
            ARROWS[row.mean.metric.higher_is_better],
        ]
        for row in recipes
    ]
    header = [
        *("metric", "recipe", "adapters", "mean difference", "standard deviation", "95 % interval over seeds"),
        *("mean width by example", "better"),
    ]
    reading = [
        "- Mean, standard deviation and t interval over adapters that differ only in their training seed.",
        f"- The interval over seeds has adapters {MINUS} 1 degrees of freedom and holds for the recipe on these rows.",
        "- The width by example is a mean over adapters; such an interval holds for one adapter on rows like these.",
        f"- A recipe is judged from at least {FEWEST_SEEDS} adapters.",
    ]
    judged = [row.mean for row in recipes if len(row.adapters) >= FEWEST_SEEDS]
    table = markdown_table(header, rows, "llrrrrrc")
    return ["## Over training seeds", "", *table, "", *reading, *_without_interval(judged)]


def _reading_note(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return notes on how to read the tables, and on the methods of their intervals."""
    displays = {row.metric.display for row in comparisons}
    lines = [
        f"- Difference = candidate {MINUS} baseline (or the other subject that is named) on the same examples.",
        "- Intervals treat groups as independent, not the rows within them, and are not adjusted for their number.",
        f"- An interval holds for one adapter; a claim about a recipe needs at least {FEWEST_SEEDS} training seeds.",
    ]
    if not all(subject.same_weights for subject in run.subjects):
        lines.append(f"-{OTHER_WEIGHTS}: different weights from the baseline's.")
    if any(reward_mark(run, row) for row in comparisons):
        lines.append(f"-{ASSUMED}: {ASSUMED_NOTE}")
    if any(references_differ(run, row) for row in comparisons):
        lines.append("- Rewards of candidates with different references (see below) are not on one scale.")
    if "percent" in displays:
        lines.append("- pp: percentage points.")
    if "exp" in displays:
        lines.append(
            f"- Perplexity: difference and interval are candidate / baseline {MINUS} 1 in percent, computed exactly "
            "from the stored difference in nats per token."
        )
        if not any(subject.is_control for subject in run.subjects):
            lines.append(
                "- No control was measured (SFT on the chosen answers, shuffled pairs): a lower perplexity alone says "
                "nothing about preferences."
            )
    methods = Counter(row.interval.method for row in comparisons if row.interval)
    lines += _family_notes(comparisons)
    lines += [
        f"- Interval by {method} ({methods[method]} of {len(comparisons)}): {how}."
        for method, how in _METHODS.items()
        if methods[method]
    ]
    return lines + _without_interval(comparisons)


def _family_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Return notes on how the p-values of the family were corrected, and on what pairing gained."""
    family = [row for row in comparisons if row.p_adjusted is not None]
    lines = []
    if family:
        lines.append(
            f"- Corrected p: the share of swaps of both sides within groups that separate them at least as far (all "
            f"swaps, or 10,000 random ones, 2,000 above 5,000 groups), two-sided, corrected by Holm over the family of "
            f"{len(family)}: primary metrics of candidates that are not controls. Everything else is exploratory."
        )
    pairing: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.primary and row.inference.pairing_factor is not None:
            pairing.setdefault(label(row.metric), []).append(row)
    if pairing:
        factors = "; ".join(f"{escape(metric)} {_pairing(rows)}" for metric, rows in pairing.items())
        lines.append(
            f"- Pairing by example narrowed the interval by this factor (correlation across groups): {factors}."
        )
    return lines


def _pairing(rows: Sequence[Comparison]) -> str:
    factors = sorted(row.inference.pairing_factor for row in rows if row.inference.pairing_factor is not None)
    correlations = sorted(row.inference.correlation for row in rows if row.inference.correlation is not None)
    return f"{_range(factors, 1)} ({_range(correlations, 2)})"


def _range(values: Sequence[float], decimals: int) -> str:
    low, high = (number(value, decimals) for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def _without_interval(comparisons: Sequence[Comparison]) -> list[str]:
    """Return each reason why rows have no interval, with the metrics and candidates it applies to."""
    by_reason: dict[str, dict[str, dict[str, None]]] = {}
    for row in comparisons:
        if row.inference.why_no_interval:
            metrics = by_reason.setdefault(row.inference.why_no_interval, {})
            metrics.setdefault(label(row.metric), {})[row.candidate] = None
    n_candidates = len({row.candidate for row in comparisons})
    return [
        "- No interval: "
        + escape(
            "; ".join(
                f"{metric} ({'all' if len(names) == n_candidates > 1 else ', '.join(names)})"
                for metric, names in metrics.items()
            )
            + f": {reason}."
        )
        for reason, metrics in by_reason.items()
    ]
