"""Says what an evaluation would take: rows, tokens and memory by arithmetic, then time by a probe of seconds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from time import perf_counter
from typing import Any

from tabulate import tabulate

from harness.config.schema import EvaluationConfig
from harness.config.wording import duration
from harness.measuring.evaluations.base import Evaluation, Work
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate
from harness.measuring.scorers import Scorers, score_cache
from harness.models.adapters import attach_adapter
from harness.models.base import BASELINE, LoadedModel
from suites.engine.causal_model import hidden_size
from suites.engine.decoding import BATCH_SIZE, Decoding, generate
from suites.engine.memory import free_bytes, own_bytes
from suites.engine.plan import ScoringState, pack_bytes, plan_for
from suites.engine.scoring import ModelScorer
from suites.engine.units import Unit, UnitTooLargeError
from suites.inputs import Request

PROBE_SECONDS = 4.0
"""Time limit of a subject's timed packs; at least one is timed however long it takes."""
_PROBED_STEPS = 4
"""Tokens that are generated for each of the probe's answers, behind a first one."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class _Speed:
    """How fast one subject is."""

    tokens_per_second: float
    """Of scoring."""
    step_seconds: float
    """Time of the next token of a batch of answers."""


def estimate(
    experiment: Experiment,
    candidates: Sequence[Candidate],
    suite: Mapping[EvaluationConfig, Evaluation],
    say: Callable[[str], None] | None = None,
) -> Iterator[str]:
    """Yields what measuring these candidates would take, the arithmetic before the probe.

    No run and no score is written. Assumed, not measured: adapters are as fast as the first of them, models with
    weights of their own as fast as the base; every answer is as long as it may be; loading, lm-eval's own work and the
    self-check take no time.

    Args:
        experiment: rows, model and settings.
        candidates: what is measured beside the baseline.
        suite: the evaluations, as `open_job` prepares them.
        say: called with what a reader must know of the candidates; None where adapters that stand in are attached.

    Raises:
        UserError: an adapter that does not fit.
    """
    loaded = experiment.loaded
    works = {evaluation.name: prepared.work(loaded) for evaluation, prepared in suite.items()}
    yield _table(works)
    for each in candidates:
        notes = [] if each.adapter is None else attach_adapter(loaded, each.name, each.adapter)
        if say is not None:
            for note in (*each.notes, *notes):
                say(note)
    names = {name: name for name in (BASELINE, *(each.name for each in candidates if each.adapter is not None))}
    others = [each.name for each in candidates if each.model is not None]
    plan = plan_for(loaded.base).bounded(**asdict(experiment.config.scoring))
    with score_cache(experiment) as cache:
        scorers = Scorers(loaded, names, ScoringState(plan, experiment.terminal.say), cache, experiment.terminal)
        units = {name: _units(scorers, name, works) for name in names}
        anew = _units(Scorers(loaded, names, scorers.state, None, experiment.terminal), BASELINE, works)
        units |= dict.fromkeys(others, anew)
        yield "\n".join((_tokens(units, anew), _memory(loaded, scorers.state, anew)))
        try:
            yield _time(scorers, units, anew, works)
        except UnitTooLargeError as error:
            yield f"time         not known: {error}; scoring would go on in smaller packs"


def _table(works: Mapping[str, Work]) -> str:
    """What each evaluation asks of a subject."""
    heads = ("evaluation", "rows", "requests", "tokens", "new tokens, at most")
    rows = [
        (name, *(f"{n:,}" if n else "" for n in (work.n_rows, len(work.requests), work.n_tokens, work.n_new_tokens)))
        for name, work in works.items()
    ]
    return tabulate(rows, heads, colalign=("left", "right", "right", "right", "right"), disable_numparse=True) + "\n"


def _tokens(units: Mapping[str, Sequence[Unit]], anew: Sequence[Unit]) -> str:
    """Who is measured, and how many tokens are computed."""
    n_all, n_left = len(units) * len(anew), sum(map(len, units.values()))
    cached = f"; {n_all - n_left:,} of {n_all:,} packs are in the score cache" if n_left < n_all else ""
    computed = sum(unit.n_tokens for each in units.values() for unit in each)
    return (
        f"subjects     {', '.join(units)}\n"
        f"to compute   {computed:,} tokens in {n_left:,} packs, shared beginnings once{cached}"
    )


def _memory(loaded: LoadedModel, state: ScoringState, units: Sequence[Unit]) -> str:
    """Whether the weights and the largest pack fit, by arithmetic."""
    weights = sum(weight.numel() * weight.element_size() for weight in loaded.base.parameters())
    largest = max((unit.n_tokens for unit in units), default=0)
    pack = pack_bytes(largest, hidden_size(loaded.base)) + 4 * state.plan.max_logit_elements
    available = own_bytes(loaded.device) + free_bytes(loaded.device, loaded.gpus)
    fits = "fits" if weights + pack <= available else "does not fit"
    return (
        f"memory       {fits}: {weights / _GIB:.1f} GiB of weights, at most {pack / _GIB:.1f} GiB beside them for a "
        f"pack of {largest:,} tokens; {available / _GIB:.1f} GiB available on {loaded.device}"
    )


def _time(
    scorers: Scorers, units: Mapping[str, Sequence[Unit]], anew: Sequence[Unit], works: Mapping[str, Work]
) -> str:
    """Time of all subjects, from the speed of the baseline and of the first adapter."""
    prompts = [prompt for work in works.values() for prompt in work.prompts]
    probed = [*scorers.subjects][:2]
    with scorers.terminal.waiting("timing a few packs"):
        speeds = {name: _speed(scorers, name, anew, prompts) for name in probed}
    adapter = speeds[probed[-1]]
    seconds = 0.0
    for name, own in units.items():
        speed = adapter if name in scorers.subjects and name != BASELINE else speeds[BASELINE]
        seconds += sum(unit.n_tokens for unit in own) / speed.tokens_per_second if own else 0.0
        seconds += sum(_answer_seconds(work, speed, is_baseline=name == BASELINE) for work in works.values())
    shown = ", ".join(f"{name} {speed.tokens_per_second:,.0f} tokens/s" for name, speed in speeds.items())
    return f"time         about {duration(seconds)}, if every answer is as long as it may be ({shown})"


def _answer_seconds(work: Work, speed: _Speed, *, is_baseline: bool) -> float:
    """Time to answer an evaluation's prompts, and to read the answers."""
    if not work.prompts or (is_baseline and work.is_of_candidates):
        return 0.0
    n_read = sum(map(len, work.prompts))
    drawn = ceil(len(work.prompts) / BATCH_SIZE) * work.max_new_tokens * speed.step_seconds
    return drawn + (n_read + work.n_readings * (n_read + work.n_new_tokens)) / speed.tokens_per_second


def _units(scorers: Scorers, subject: str, works: Mapping[str, Work]) -> list[Unit]:
    """Units that a subject's scores lack; what an earlier evaluation scores is there for a later one."""
    seen: set[Request] = set()
    units = []
    with scorers.model(subject) as model:
        scorer = scorers.scorer(subject, model)
        for work in works.values():
            units += [unit for unit in scorer.pending(work.requests) if not seen.issuperset(unit.requests)]
            seen.update(work.requests)
    return units


def _speed(scorers: Scorers, subject: str, units: Sequence[Unit], prompts: Sequence[Sequence[int]]) -> _Speed:
    with scorers.model(subject) as model:
        scorer = scorers.scorer(subject, model)
        rate = _tokens_per_second(scorer, units) if units else float("inf")
        return _Speed(rate, _step_seconds(model, scorers.loaded, prompts) if prompts else 0.0)


def _tokens_per_second(scorer: ModelScorer, units: Sequence[Unit]) -> float:
    """Speed on units of all sizes; the first, the largest, warms up and shows whether it fits."""
    by_size = sorted(units, key=lambda unit: unit.n_tokens, reverse=True)
    scorer.seconds_of(by_size[0])
    n_tokens, seconds = 0, 0.0
    step = max(1, len(by_size) // 8)
    for unit in by_size[::step]:
        seconds += scorer.seconds_of(unit)
        n_tokens += unit.n_tokens
        if seconds > PROBE_SECONDS:
            break
    return n_tokens / max(seconds, 1e-6)


def _step_seconds(model: Any, loaded: LoadedModel, prompts: Sequence[Sequence[int]]) -> float:
    """Time of one more token of a full batch of the longest prompts."""
    batch = sorted(prompts, key=len, reverse=True)[:BATCH_SIZE]
    keys = [str(index) for index in range(len(batch))]

    def seconds(n_new: int) -> float:
        started = perf_counter()
        generate(model, loaded.tokenizer, batch, stops=(), decoding=Decoding(n_new), keys=keys)
        return perf_counter() - started

    seconds(1)  # warms up
    return max(seconds(1 + _PROBED_STEPS) - seconds(1), 1e-6) / _PROBED_STEPS
