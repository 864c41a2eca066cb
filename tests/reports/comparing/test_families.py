"""Families of claims: which p-values are corrected together."""

from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.records import Gate, Selection


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _family_run(fakes):
    """Two candidates and a control on two primary metrics and one that is not."""
    rng = _rng(21)
    metrics = (replace(fakes.MC2, primary=True), fakes.PERPLEXITY, fakes.BITS)
    names = ("base", "a", "b", "control")
    run = fakes.small_run({(m, name): fakes.scores(rng.normal(2, 1, 60)) for m in metrics for name in names})
    changes = {"b": {"compared_with": ("control",), "same_weights": False}, "control": {"is_control": True}}
    return replace(run, subjects=tuple(replace(s, **changes.get(s.name, {})) for s in run.subjects))


def test_the_corrected_family_is_primary_metrics_of_candidates_that_are_not_controls(fakes):
    """Holm as statsmodels has it over these four, other weights among them; a control is a family of its own."""
    from statsmodels.stats.multitest import multipletests

    rows = compare(_family_run(fakes))
    corrected = [row for row in rows if row.is_claim]
    family = [row for row in corrected if row.candidate != "control"]
    assert {(row.metric.name, row.candidate) for row in family} == {
        (name, candidate) for name in ("truthfulqa_mc2 acc", "perplexity") for candidate in ("a", "b")
    }
    assert {row.against for row in family} == {"baseline"}
    expected = multipletests([row.p_value for row in family], method="holm")[1]
    assert [row.p_adjusted for row in family] == pytest.approx(list(expected))
    own = [row for row in corrected if row.candidate == "control"]
    expected = multipletests([row.p_value for row in own], method="holm")[1]
    assert [row.p_adjusted for row in own] == pytest.approx(list(expected))
    assert all(row.p_value is not None for row in rows)


def _sweep(fakes, chosen):
    """Two candidates of a sweep and a control: the second has moved on every metric."""
    rng = _rng(23)
    metrics = [replace(fakes.PERPLEXITY, evaluation=f"evaluation {n}") for n in range(3)]
    scores = {}
    for metric in metrics:
        base = rng.normal(2, 1, 60)
        for name, shift in (("base", 0.0), ("a", 0.0), ("b", -0.3), ("control", 0.0)):
            scores[metric, name] = fakes.scores(base + shift + rng.normal(0, 0.5, 60) * (name != "base"))
    run = fakes.small_run(scores)
    run = replace(run, subjects=tuple(replace(s, is_control=s.name == "control") for s in run.subjects))
    picked = tuple(Selection(name, 0.5, 0.6, 80, is_winner=name == chosen) for name in "ab") if chosen else ()
    return replace(run, selection=picked)


def test_the_chosen_candidate_is_corrected_over_its_own_metrics(fakes):
    """It was chosen on other rows, so the other candidates do not count; they are a family of their own."""
    from statsmodels.stats.multitest import multipletests

    with_winner, without = compare(_sweep(fakes, "b")), compare(_sweep(fakes, ""))
    for name in ("a", "b", "control"):
        own = [row for row in with_winner if row.candidate == name]
        expected = multipletests([row.p_value for row in own], method="holm")[1]
        assert [row.p_adjusted for row in own] == pytest.approx(list(expected))
    both = multipletests([row.p_value for row in without if row.candidate in "ab"], method="holm")[1]
    assert [row.p_adjusted for row in without if row.candidate in "ab"] == pytest.approx(list(both))


def test_what_is_called_unchanged_is_corrected_over_its_family(fakes):
    """Equivalence within each metric's gate, by the 90 % interval of a metric alone, and Holm over all of them."""
    run = _sweep(fakes, "")
    gates = tuple(Gate(f"evaluation {n}/perplexity", 0.25) for n in range(2))
    rows = [row for row in compare(replace(run, gates=gates)) if row.candidate == "a"]
    tests = [float(row.paired.equivalence_p(0.25)) for row in rows[:2]]
    for row, p_value in zip(rows, tests, strict=False):
        low, high = row.paired.interval(0.9)
        assert (p_value <= 0.05) == (low > -0.25 and high < 0.25)
        assert row.margin == 0.25
        assert row.p_unchanged >= p_value
    assert (rows[2].margin, rows[2].p_unchanged) == (None, None)


def test_a_primary_metric_without_a_gate_has_its_twins(fakes):
    """Where answers are short the gate on the perplexity is the margin of the one without the end of turn."""
    base, noise = np.full(40, 2.0), np.linspace(-0.01, 0.01, 40)
    gated = replace(fakes.PERPLEXITY, primary=False)
    primary = replace(gated, name=gated.twin, primary=True)
    sides = {(metric, "base"): base for metric in (gated, primary)}
    sides |= {(gated, "dpo"): base + 0.02 + noise, (primary, "dpo"): base + 0.03 + noise}
    scores = {key: fakes.scores(nats) for key, nats in sides.items()}
    run = fakes.small_run(scores, gates=(Gate("truthfulness/perplexity", 0.1),))
    [row] = [each for each in compare(run) if each.primary]
    assert (row.metric.name, row.margin, row.twin_difference) == ("perplexity_without_eos", 0.1, pytest.approx(0.02))
