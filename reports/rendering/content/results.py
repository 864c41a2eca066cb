"""The core of a Markdown report: verdict, tables of differences, results over training seeds, and how to read them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from reports.comparing.compare import FEW_GROUPS, Comparison
from reports.comparing.inference import Method
from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.records import Run
from reports.rendering.content.display import ARROWS, MINUS, NOTHING, cells, escape, label, number, spread
from reports.rendering.content.sections import folded, markdown_table
from reports.rendering.content.verdict import (
    candidates_of,
    choice,
    has_assumed_reward,
    headline_candidate,
    is_chosen,
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

_METHODS: dict[Method, str] = {
    "t and skewness": f"leaving out one group at a time, t with effective groups {MINUS} 1 degrees of freedom, and "
    "Hall's t for skewed differences where that asks for more; for amounts",
    "mid-p and score": "McNemar's mid-p over the groups won and lost, and Tango's score test where that asks for more; "
    "for paired outcomes of 0, 0.5 or 1",
    "mid-p and Wilson": "binomial mid-p and Wilson's score at the effective number of examples; for outcomes of 0, 0.5 "
    "or 1 against a definition",
    "seeds and groups": "variance of the seeds plus that of the groups, with Cochran and Cox's critical value",
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
    for recipe, sentences in recipe_verdicts(run, recipes).items():
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
            row.method or NOTHING,
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
    """Return the tables of recipes over their training seeds: primary metrics, then against rulers and controls."""
    if not recipes:
        return []
    main = [row for row in recipes if row.mean.primary]
    others = [row for row in recipes if not row.mean.primary]
    judged = [row.mean for row in recipes if len(row.adapters) >= FEWEST_SEEDS]
    reading = [
        "- Mean, standard deviation and interval over adapters that differ only in their training seed.",
        "- The interval over seeds has the variance of the seeds and that of the groups, which all adapters share.",
        "- It holds for the recipe on rows like these.",
        f"- Corrected p: two-sided, after Holm over the {len(main)} primary metrics of a recipe."
        if len({row.mean.candidate for row in main}) == 1
        else "- Corrected p: two-sided, after Holm over the primary metrics of each recipe.",
        "- The width by example is a mean over adapters; such an interval holds for one adapter on rows like these.",
        f"- A recipe is judged from at least {FEWEST_SEEDS} adapters.",
    ]
    tables = _seeds_table(main)
    if others:
        tables += ["", *folded(f"Against rulers and controls, exploratory ({len(others)} rows)", _seeds_table(others))]
    return ["## Over training seeds", "", *tables, "", *reading, *_without_interval(judged)]


def _seeds_table(rows: Sequence[OverSeeds]) -> list[str]:
    """Return one row a recipe and metric, with what it is compared with unless that is the baseline."""
    is_main = all(row.mean.primary for row in rows)
    header = [
        *("metric", "recipe", *([] if is_main else ["against"]), "adapters", "mean difference", "standard deviation"),
        *("95 % interval over seeds", *(["corrected p"] if is_main else []), "mean width by example", "better"),
    ]
    cells_of_rows = [
        [
            f"**{escape(label(row.mean.metric))}**",
            escape(row.mean.candidate),
            *([] if is_main else [escape(row.mean.baseline)]),
            f"{len(row.adapters):,}",
            cells(row.mean).difference,
            spread(row.standard_deviation, row.mean.metric),
            cells(row.mean).interval if len(row.adapters) >= FEWEST_SEEDS else "not judged",
            *([NOTHING if row.mean.p_adjusted is None else p_text(row.mean.p_adjusted)] if is_main else []),
            spread(row.mean_width, row.mean.metric),
            ARROWS[row.mean.metric.higher_is_better],
        ]
        for row in rows
    ]
    return markdown_table(header, cells_of_rows, "llrrrrrrc" if is_main else "lllrrrrrc")


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
    methods = Counter(row.method for row in comparisons if row.method)
    lines += _family_notes(run, comparisons)
    lines += _caution_notes(comparisons)
    lines += [
        f"- Interval by {method} ({methods[method]} of {len(comparisons)}): {how}."
        for method, how in _METHODS.items()
        if methods[method]
    ]
    return lines + _without_interval(comparisons)


def _family_notes(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return notes on how the p-values of the families were corrected, and on what pairing gained."""
    n_of: Counter[bool] = Counter()
    for row in comparisons:
        if row.is_claim and not run.subject(row.candidate).is_control:
            n_of[is_chosen(run, row.candidate)] += 1
    families = {
        True: f"the {n_of[True]} primary metrics of the chosen candidate",
        False: f"the {n_of[False]} primary metrics of {'other ' if n_of[True] else ''}candidates that are not controls",
    }
    over = " and, apart from them, over ".join(words for chosen, words in families.items() if n_of[chosen])
    lines = []
    if over:
        lines.append(
            f"- Corrected p: two-sided, at most 0.05 before correction exactly where the interval excludes no change; "
            f"corrected by Holm over {over}. Everything else is exploratory."
        )
    pairing: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.primary and row.pairing_factor is not None:
            pairing.setdefault(label(row.metric), []).append(row)
    if pairing:
        factors = "; ".join(f"{escape(metric)} {_pairing(rows)}" for metric, rows in pairing.items())
        lines.append(
            f"- Pairing by example narrowed the interval by this factor (correlation across groups): {factors}."
        )
    return lines


def _caution_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Return notes on rows whose groups do not carry their skewness, and on rows of few groups."""
    lines = []
    for side, other in (("above", "falls"), ("below", "rises")):
        metrics = _labels(row for row in comparisons if row.long_tail == side)
        if metrics:
            lines.append(
                f"- Long tail {side}, which the groups do not carry (n < 25 x skewness squared): {metrics}. Claims of "
                f"{other} take more there, because large values may be missing among these rows."
            )
    few = _labels(row for row in comparisons if row.method == "t and skewness" and row.n_groups < FEW_GROUPS)
    if few:
        lines.append(
            f"- Fewer than {FEW_GROUPS} groups: {few}. With 12 groups and a tail as long as a lognormal's, 14 % of "
            "simulated families of eight had a false claim, not 5 %; more groups help."
        )
    return lines


def _labels(rows: Iterable[Comparison]) -> str:
    return escape("; ".join(dict.fromkeys(label(row.metric) for row in rows)))


def _pairing(rows: Sequence[Comparison]) -> str:
    factors = sorted(row.pairing_factor for row in rows if row.pairing_factor is not None)
    correlations = sorted(row.correlation for row in rows if row.correlation is not None)
    return f"{_range(factors, 1)} ({_range(correlations, 2)})"


def _range(values: Sequence[float], decimals: int) -> str:
    low, high = (number(value, decimals) for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def _without_interval(comparisons: Sequence[Comparison]) -> list[str]:
    """Return each reason why rows have no interval, with the metrics and candidates it applies to."""
    by_reason: dict[str, dict[str, dict[str, None]]] = {}
    for row in comparisons:
        if row.why_no_interval:
            metrics = by_reason.setdefault(row.why_no_interval, {})
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
