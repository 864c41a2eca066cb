"""Writes the benchmark's results as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from outcomes import Agreement
from tabulate import tabulate


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each repetition, and tokens and forwards of one repetition."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    n_tokens: int
    n_forwards: int
    n_peer_tokens: int


@dataclass(frozen=True, slots=True)
class Line:
    """Results of one workload: one line of the table."""

    title: str
    at_least: float | None
    best: str
    times: Times
    from_cache: tuple[float, ...]
    """Seconds of ours with a full score cache."""
    search: Mapping[str, float]
    """Peer -> seconds on the part of the items that chose the best peer."""
    stride: int
    agreed: Agreement
    cache_agrees: bool
    """Whether cached numbers equal computed ones bit for bit."""
    share: float
    """Share of the machine's rate of matrix products that ours reaches."""
    rate: str

    @property
    def ratio(self) -> float:
        """Median of the ratios of neighbouring runs."""
        return median(theirs / ours for ours, theirs in zip(self.times.ours, self.times.theirs, strict=True))

    @property
    def cache_ratio(self) -> float:
        """Ratio of our seconds to ours with a full cache."""
        return median(self.times.ours) / median(self.from_cache)

    @property
    def holds(self) -> bool:
        """Whether all numbers are equal that have to be."""
        return self.agreed.holds and self.cache_agrees


def render(lines: Sequence[Line], *, exact: bool, with_goals: bool) -> str:
    """Returns a table of all workloads, and below it the numbers that do not agree.

    Args:
        lines: What was measured.
        exact: Whether both sides have to say the same (fp32).
        with_goals: Whether ratios are compared with those that have to be reached.
    """
    rows = [_row(line, exact=exact, with_goals=with_goals) for line in lines]
    full = sum(median(line.times.ours) for line in lines)
    cached = sum(median(line.from_cache) for line in lines)
    goal = f" (at least 50x: {'reached' if full / cached >= 50 else 'not reached'})" if with_goals else ""
    rows.append(
        {
            "workload": "everything again with a full cache",
            "against": "itself",
            "ours (s)": f"{cached:.2f}",
            "theirs (s)": f"{full:.1f}",
            "ratio": f"{full / cached:.1f}x{goal}",
        }
    )
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True) + "\n\n" + "\n".join(_notes(lines))


def _row(line: Line, *, exact: bool, with_goals: bool) -> dict[str, str]:
    goal = ""
    if with_goals and line.at_least is not None:
        goal = f" (at least {line.at_least:g}x: {'reached' if line.ratio >= line.at_least else 'not reached'})"
    verdict = ("yes" if line.holds else "NO") if exact else "reported only"
    return {
        "workload": line.title,
        "against": line.best,
        "ours (s)": f"{median(line.times.ours):.2f}",
        "theirs (s)": f"{median(line.times.theirs):.2f}",
        "ratio": f"{line.ratio:.2f}x{goal}",
        "tokens, ours / theirs": f"{line.times.n_tokens:,} / {line.times.n_peer_tokens:,}",
        "largest difference (nats)": f"{line.agreed.difference_nats:.1e} of {line.agreed.n_responses}",
        "numbers equal": verdict,
        "of matmul rate": f"{line.share:.0%}",
        "full cache": f"{median(line.from_cache):.3f} s, {line.cache_ratio:.0f}x",
    }


def _notes(lines: Sequence[Line]) -> Iterator[str]:
    """A paragraph on what the columns mean, then one line a workload."""
    yield (
        "Ratio: median over repetitions, ours and theirs in turn. Tokens: what went through the model, padding "
        "included. Numbers equal, with HFLM's softmax in float64 (not timed): every log-probability within 1e-4 nats "
        "or 1e-6 of its sum, metrics within 1e-4, "
        "choices equal wherever the best two are more than 2e-4 apart, scores from the cache bit for bit. Of matmul "
        "rate: floating-point operations of the linear layers a second, against the same products on their own. Both "
        "sides are loaded and have run before; the engine's check of its fast path is made once a model, before.\n"
    )
    for line in lines:
        tried = ", ".join(f"{name} {seconds:.1f}" for name, seconds in line.search.items())
        part = "all rows" if line.stride == 1 else f"one row in {line.stride}"
        ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(line.times.ours, line.times.theirs, strict=True))
        yield f"- {line.title}: ratios {ratios}; seconds on {part}: {tried}; {line.rate}.{_disagreement(line)}"


def _disagreement(line: Line) -> str:
    """Lists metrics and everything that is not equal."""
    agreed = line.agreed
    parts = [f"{name} {ours:.6f} / {theirs:.6f}" for name, (ours, theirs) in agreed.metrics.items()]
    if agreed.n_outside:
        parts.append(f"{agreed.n_outside} of {agreed.n_responses} log-probabilities are not equal")
    if agreed.wrong_choices:
        parts.append(f"decided differently: {'; '.join(agreed.wrong_choices)}")
    if agreed.near_choices:
        parts.append(f"decided differently near a tie: {'; '.join(agreed.near_choices)}")
    if not line.cache_agrees:
        parts.append("the cache gave other numbers")
    return f" Ours / theirs: {', '.join(parts)}." if parts else ""
