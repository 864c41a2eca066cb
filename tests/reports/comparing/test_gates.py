"""Gates: three results from one tail function, floors, refusals, and how often a check errs."""

import importlib.resources
import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.comparing.compare import Comparison, compare, inferred
from reports.comparing.gates import GateError, allowed_loss, check_gates, is_stopped
from reports.comparing.inference import PairedDifference
from reports.records import Gate, Metric, MetricScores, Run, Subject

ACCURACY = Metric("truthfulness", "accuracy", "share", higher_is_better=True, display="percent", primary=True)
PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
LENGTH = Metric("answers", "length", "tokens", higher_is_better=None)
N_GROUPS = 50


def row(
    difference: float, standard_error: float = 0.01, metric: Metric = ACCURACY, candidate: str = "dpo"
) -> Comparison:
    """A comparison with a baseline of 0.5 over fifty groups, whose p-values are Student's."""
    spread = np.linspace(-1, 1, N_GROUPS)
    ones = np.ones(N_GROUPS)
    shifts = difference + spread / stats.sem(spread) * standard_error
    bare = Comparison(
        metric=metric,
        candidate=candidate,
        against="baseline",
        baseline="base",
        baseline_value=0.5,
        candidate_value=0.5 + difference,
        difference=difference,
        n=N_GROUPS,
        n_groups=N_GROUPS,
    )
    return inferred(replace(bare, paired=PairedDifference(0.5 + shifts, ones, 0.5 * ones, ones)))


def gate(metric: Metric, largest_loss: float, *, relative: bool = False) -> Gate:
    return Gate(f"{metric.evaluation}/{metric.name}", largest_loss, relative=relative)


@pytest.mark.parametrize("metric", [ACCURACY, PERPLEXITY])
@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        (-0.2, "pass"),
        (0.0, "pass"),
        (0.05 - 1.70 * 0.01, "pass"),  # t at one-sided 95 % is 1.677, at 97.5 % 2.010
        (0.05 - 1.65 * 0.01, "cannot tell"),
        (0.05, "cannot tell"),
        (0.05 + 1.98 * 0.01, "cannot tell"),
        (0.05 + 2.04 * 0.01, "fail"),
        (0.4, "fail"),
    ],
)
def test_a_loss_is_judged_by_its_bounds(metric: Metric, lost: float, outcome: str) -> None:
    """Passes within the one-sided 95 % bound, fails beyond the whole 95 % interval, and cannot tell in between."""
    difference = -lost if metric.higher_is_better else lost
    (result,) = check_gates([gate(metric, 0.05)], [row(difference, metric=metric)])

    assert outcome == result.outcome
    assert is_stopped([result]) == (outcome == "fail")
    assert is_stopped([result], strict=True) == (outcome != "pass")


@given(
    difference=st.floats(-1, 1), standard_error=st.floats(1e-3, 0.5), margin=st.floats(0, 0.5), wider=st.floats(0, 0.5)
)
def test_a_wider_margin_is_never_harder(difference: float, standard_error: float, margin: float, wider: float) -> None:
    """Allowing more never turns a pass into anything else, nor anything else into a fail."""
    order = ["fail", "cannot tell", "pass"]
    rows = [row(difference, standard_error)]
    (narrow,), (wide,) = (check_gates([gate(ACCURACY, allowed)], rows) for allowed in (margin, margin + wider))

    assert order.index(wide.outcome) >= order.index(narrow.outcome)


@given(difference=st.floats(-1, 1), standard_error=st.floats(1e-3, 0.5), margin=st.floats(1e-3, 1))
def test_without_a_better_direction_a_pass_is_an_equivalence_test(
    difference: float, standard_error: float, margin: float
) -> None:
    """Any change is a loss then: a pass is two one-sided tests, and a fail lies wholly outside of the margins."""
    compared = row(difference, standard_error, LENGTH)
    (result,) = check_gates([gate(LENGTH, margin)], [compared])

    assert compared.paired is not None
    low, high = compared.paired.interval(0.9)
    assert (-margin <= low and high <= margin) == (result.outcome == "pass")
    lowest, highest = compared.paired.interval(0.975)  # either side has half of the level, as both are a loss
    assert (lowest > margin or highest < -margin) == (result.outcome == "fail")


def test_a_relative_loss_is_what_the_tables_show() -> None:
    """5 % lets a perplexity rise by 5 %, and takes 5 % of a share away."""
    perplexity, accuracy = check_gates(
        [gate(PERPLEXITY, 0.05, relative=True), gate(ACCURACY, 0.05, relative=True)],
        [row(0.0, metric=PERPLEXITY), row(0.0)],
    )

    assert perplexity.limit is not None
    assert math.exp(perplexity.limit) == pytest.approx(1.05)
    assert accuracy.limit == pytest.approx(-0.05 * 0.5)


def test_a_relative_loss_of_an_exponential_that_should_rise() -> None:
    """Half of it may go where that is allowed; all of it where a loss of 100 % is."""
    likelihood = replace(PERPLEXITY, higher_is_better=True)
    half, everything = check_gates(
        [gate(likelihood, 0.5, relative=True), gate(likelihood, 1.0, relative=True)], [row(-3.0, metric=likelihood)]
    )

    assert half.limit is not None
    assert math.exp(half.limit) == pytest.approx(0.5)
    assert (half.outcome, everything.outcome) == ("fail", "pass")


@given(
    difference=st.floats(-1, 1), standard_error=st.floats(1e-3, 0.5), allowed=st.floats(0, 1), others=st.integers(0, 20)
)
def test_a_gate_agrees_with_bounds_and_p_values(
    difference: float, standard_error: float, allowed: float, others: int
) -> None:
    """A pass is a one-sided 95 % bound within what is allowed, a fail one beyond it at 5 % over the results."""
    judged = row(difference, standard_error)
    result, *_ = check_gates([gate(ACCURACY, allowed)], [judged, *[row(0.0)] * others])
    assert judged.paired is not None
    rate = min(0.05 / (1 + others), 0.025)
    low, _ = judged.paired.interval(0.9)
    _, high = judged.paired.interval(1 - 2 * rate)

    if min(abs(low + allowed), abs(high + allowed)) > 1e-9:
        expected = "pass" if low > -allowed else "fail" if high < -allowed else "cannot tell"
        assert result.outcome == expected
    assert (result.worst, result.best) == (float(low), float(high))
    if result.outcome == "fail" and allowed == 0:
        assert judged.p_value is not None
        assert judged.p_value <= 0.05


def test_more_results_take_more_to_fail_and_no_more_to_pass() -> None:
    """A loss that fails a single gate cannot be told among twelve, and a pass stays one."""
    beyond, within = row(-0.05 - 2.3 * 0.01), row(-0.05 + 1.8 * 0.01, candidate="other")
    others = [row(0.0, candidate=f"candidate {position}") for position in range(10)]
    (alone,) = check_gates([gate(ACCURACY, 0.05)], [beyond])
    among = check_gates([gate(ACCURACY, 0.05)], [beyond, within, *others])

    assert alone.outcome == "fail"
    assert [result.outcome for result in among[:2]] == ["cannot tell", "pass"]


def test_only_the_baseline_is_looked_at() -> None:
    """What a ruler or another candidate has is no loss."""
    against_ruler = replace(row(-0.4), against="ruler", baseline="longest")
    (result,) = check_gates([gate(ACCURACY, 0.05)], [against_ruler, row(0.0)])

    assert result.outcome == "pass"


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    """A gate that would silently judge nothing is an error that names what was measured."""
    with pytest.raises(
        GateError, match=r"did you mean truthfulness/accuracy\?.*measured metrics are: truthfulness/accuracy"
    ):
        check_gates([Gate("truthfulness/acuracy", 0.1)], [row(0.0)])


def test_the_same_model_twice_passes(fakes: SimpleNamespace) -> None:
    """Equal scores are no loss, even where nothing may be lost: continuous ones as such, outcomes by exact bounds."""
    won = fakes.scores([1, 0, 1, 1] * 20)
    nats = fakes.scores(np.random.default_rng(0).gamma(2, 20, 80), np.full(80, 20))
    measured = {
        (metric, name): scores
        for metric, scores in ((ACCURACY, won), (PERPLEXITY, nats))
        for name in ("base", "candidate")
    }
    results = check_gates([gate(PERPLEXITY, 0.0), gate(ACCURACY, 0.05)], compare(fakes.small_run(measured)))

    assert [result.outcome for result in results] == ["pass", "pass"]
    assert results[0].reason == "identical scores"
    assert results[1].worst == pytest.approx(-(stats.norm.ppf(0.95) ** 2) / (80 + stats.norm.ppf(0.95) ** 2))


def test_too_few_groups_cannot_tell(fakes: SimpleNamespace) -> None:
    """Few groups neither pass nor fail, and the result says why."""
    measured = {(PERPLEXITY, "base"): fakes.scores([1.0, 2, 3, 4, 5]), (PERPLEXITY, "dpo"): fakes.scores([2.0] * 5)}
    (result,) = check_gates([gate(PERPLEXITY, 5.0)], compare(fakes.small_run(measured)))

    assert (result.outcome, result.reason) == ("cannot tell", "5 groups; an interval needs 10")


@pytest.mark.parametrize("broken", ["base", "dpo"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gate_on_scores_that_are_not_finite_fails(fakes: SimpleNamespace, broken: str, bad: float) -> None:
    """One NaN of 24, on either side, fails the gate and names the subject; before, "cannot tell" ended with exit 0."""
    sides = {name: fakes.scores([1.0, 2] * 12) for name in ("base", "dpo")}
    sides[broken] = fakes.scores([bad, *[1.0, 2] * 11, 2.0])
    run = fakes.small_run({(PERPLEXITY, name): rows for name, rows in sides.items()})
    (result,) = check_gates([gate(PERPLEXITY, 0.5)], compare(run))

    assert result.outcome == "fail"
    assert result.reason is not None
    assert "1 of 24 scores are not finite numbers, the first of example e0000" in result.reason
    assert is_stopped([result])


def wins(fakes: SimpleNamespace, n_won: int, n: int = 100) -> list[Comparison]:
    """An accuracy against its definition."""
    metric = replace(ACCURACY, chance=0.5)
    return compare(fakes.small_run({(metric, "dpo"): fakes.scores([1] * n_won + [0] * (n - n_won))}))


@pytest.mark.parametrize(("n_won", "outcome"), [(80, "pass"), (55, "cannot tell"), (50, "cannot tell"), (30, "fail")])
def test_a_floor_is_a_one_sided_test_of_the_value(fakes: SimpleNamespace, n_won: int, outcome: str) -> None:
    """at_least: 0.5 passes an accuracy that is shown to lie above it, and fails one below."""
    (result,) = check_gates([Gate("truthfulness/accuracy", at_least=0.5)], wins(fakes, n_won))

    assert result.outcome == outcome
    assert result.worst is not None
    assert (result.worst >= 0) == (outcome == "pass")


def test_a_floor_does_not_fail_for_a_reference_that_is_not_finite(fakes: SimpleNamespace) -> None:
    """What the run compared with lacks is not the candidate's fault; its own run decides."""
    won = fakes.scores([1] * 80 + [0] * 20)
    broken = {(ACCURACY, "base"): fakes.scores([math.nan] + [1] * 99), (ACCURACY, "dpo"): won}
    (result,) = check_gates(
        [Gate("truthfulness/accuracy", at_least=0.5)], compare(fakes.small_run(broken)), wins(fakes, 80)
    )

    assert result.outcome == "pass"


def test_no_loss_from_a_definition_means_at_least_that(fakes: SimpleNamespace) -> None:
    """The gate that suites had before `at_least` is judged as what it said."""
    old, new = (
        check_gates([each], wins(fakes, 80))[0]
        for each in (gate(ACCURACY, 0.0), Gate("truthfulness/accuracy", at_least=0.5))
    )

    assert (old.outcome, old.worst, old.gate) == ("pass", new.worst, new.gate)


@pytest.mark.parametrize("limits", [{"at_least": 50}, {"at_least": -0.5}, {"largest_loss": 5}])
def test_a_limit_that_no_share_can_reach_is_refused(fakes: SimpleNamespace, limits: dict[str, float]) -> None:
    """Percentage points typed as such would always fail, or always pass."""
    with pytest.raises(GateError, match=r"is a share between 0 and 1, not .*; 5 percentage points are 0\.05"):
        check_gates([Gate("truthfulness/accuracy", **limits)], wins(fakes, 80))


def test_a_floor_looks_at_the_value_whatever_it_is_compared_with(fakes: SimpleNamespace) -> None:
    """A measured baseline or another run's candidate does not change what at_least says."""
    won = fakes.scores([1] * 80 + [0] * 20)
    measured = {(ACCURACY, "base"): fakes.scores([1] * 90 + [0] * 10), (ACCURACY, "dpo"): won}
    (paired,) = check_gates([Gate("truthfulness/accuracy", at_least=0.6)], compare(fakes.small_run(measured)))
    (alone,) = check_gates([Gate("truthfulness/accuracy", at_least=0.6)], wins(fakes, 80))

    assert paired.outcome == alone.outcome == "pass"
    assert (paired.worst, paired.comparison.difference) == (alone.worst, pytest.approx(0.2))


def test_a_loss_from_a_definition_is_refused(fakes: SimpleNamespace) -> None:
    """largest_loss: 0.05 against .5 would let an accuracy fall from 81 to 46 %; the line says what to do."""
    with pytest.raises(GateError, match=r"no measured value.*--against.*at_least: 0.5 in place of largest_loss"):
        check_gates([Gate("truthfulness/accuracy", 0.05)], wins(fakes, 46))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Gate("truthfulness/accuracy"), "give either largest_loss or at_least"),
        (Gate("truthfulness/accuracy", 0.1, at_least=0.5), "give either largest_loss or at_least"),
        (Gate("truthfulness/accuracy", at_least=0.5, relative=True), "relative belongs to largest_loss"),
        (Gate("truthfulness/perplexity", at_least=0.5), "more is better"),
    ],
)
def test_gates_that_contradict_themselves_are_refused(bad: Gate, message: str) -> None:
    """One requirement a gate, and a floor only where more is better."""
    with pytest.raises(GateError, match=message):
        check_gates([bad], [row(0.0), row(0.0, metric=PERPLEXITY)])


SHIPPED = tuple(
    Gate(**each)
    for each in yaml.safe_load(
        (importlib.resources.files("suites") / "definitions" / "alignment.yaml").read_text(encoding="utf-8")
    )["gates"]
)
"""The gates of the suite that ships with the project."""
SHAPES = {"preferences": (63, 4), "coreference": (64, 2)}
"""Evaluation of the embedded default -> groups, examples a group; the others have about as many of one example."""


def run_at_the_margin(fakes: SimpleNamespace, gates: Sequence[Gate], rng: np.random.Generator) -> Run:
    """A run whose candidate is truly just at the limit on every metric, with clustered and skewed scores."""
    measurements = []
    for each in gates:
        evaluation, _, name = each.metric.rpartition("/")
        n_groups, a_group = SHAPES.get(evaluation, (60, 1))
        groups = np.repeat(np.arange(n_groups), a_group)
        if each.at_least is None:
            metric = replace(PERPLEXITY, evaluation=evaluation, name=name)
            tokens = rng.integers(4, 40, len(groups))
            swing = 0.2 * (rng.gamma(1.5, 1, n_groups) - 1.5)[groups] + 0.05 * rng.normal(size=len(groups))
            nats = tokens * rng.gamma(4, 0.5, len(groups))
            lost = nats + tokens * (allowed_loss(each, metric, 0.0) + swing)
            sides = {"base": fakes.scores(nats, tokens, groups), "candidate": fakes.scores(lost, tokens, groups)}
        else:
            metric = replace(ACCURACY, evaluation=evaluation, name=name, chance=0.5)
            chances = rng.beta(10 * each.at_least, 10 * (1 - each.at_least), n_groups)[groups]
            sides = {"candidate": fakes.scores(rng.random(len(groups)) < chances, groups=groups)}
        measurements += [MetricScores(metric, subject, scores) for subject, scores in sides.items()]
    subjects = (Subject("base", "baseline", ""), Subject("candidate", "candidate", ""))
    return replace(fakes.small_run({}), subjects=subjects, measurements=tuple(measurements))


@pytest.mark.slow
def test_the_shipped_gates_together_raise_a_false_alarm_in_5_percent_at_most(fakes: SimpleNamespace) -> None:
    """With every metric just at its limit at once, the worst there is, a check stops in 5 % at most.

    A gate by itself passes then in 5 % at most, which is its one-sided level; unadjusted, fails would add up to more.
    """
    n_checks = 400
    rng = np.random.default_rng(11)
    alarms, unadjusted, passes = 0, 0, 0
    for _ in range(n_checks):
        results = check_gates(SHIPPED, compare(run_at_the_margin(fakes, SHIPPED, rng)))
        alarms += is_stopped(results)
        unadjusted += any(is_stopped(check_gates([each.gate], [each.comparison])) for each in results)
        passes += sum(result.outcome == "pass" for result in results)

    assert alarms / n_checks < 0.05 + 2 * math.sqrt(0.05 * 0.95 / n_checks)
    assert alarms <= unadjusted
    assert passes / n_checks / len(SHIPPED) < 0.05 + 0.02
