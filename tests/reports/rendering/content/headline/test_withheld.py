"""What a headline does not claim: gains that a control makes too, costs as gains, one adapter's luck as a recipe's."""

from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import EvaluationCounts
from reports.rendering.content.headline import headline

ONE_SEED = "One training seed: holds for this adapter, not for its recipe."


def headline_of(run):
    """The headline of a run."""
    comparisons = compare(run)
    return headline(run, comparisons, over_seeds(run, comparisons))


def lines_of(run):
    """Map what a line of the headline is about to its text."""
    return {line.kind: line.text for line in headline_of(run).lines}


def against_control(fakes, shifts, control_shifts, metric=None):
    """Answers whose nats per token lie so far off the baseline's, of "dpo" and of a control beside it."""
    base = np.full(40, 2.0)
    sides = {"base": base, "dpo": base + shifts, "shuffled": base + control_shifts}
    run = fakes.small_run({(metric or fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()})
    changes = {"dpo": {"compared_with": ("shuffled",)}, "shuffled": {"is_control": True}}
    return replace(run, subjects=tuple(replace(s, **changes.get(s.name, {})) for s in run.subjects))


@pytest.mark.parametrize(
    ("gap", "said", "is_limit"),
    [
        (-0.3, "and beats every control tried", False),
        (0.3, "but “shuffled” does better", True),
        (0.0, "but so does “shuffled”", True),
    ],
)
def test_a_lower_perplexity_counts_only_ahead_of_the_controls(fakes, gap, said, is_limit):
    """Better than the baseline either way; unless it is ahead of the control too, that comes first of all limits."""
    noise, other = np.random.default_rng(1).normal(0, 0.05, (2, 40))
    run = against_control(fakes, -0.5 + noise + gap, -0.5 + other)
    assert lines_of(run)["gained"].startswith("Truthful answers, perplexity")
    assert said in headline_of(run).sentence
    assert headline_of(run).limits[0].startswith("“shuffled” reaches ") == is_limit


@pytest.mark.parametrize("gap", [0.3, -0.3])
def test_without_a_direction_nothing_is_gained(fakes, gap):
    """A metric of which neither way is better changed, whatever its control did."""
    noise, other = np.random.default_rng(2).normal(0, 0.05, (2, 40))
    run = against_control(fakes, noise + gap, other, fakes.SAFETY)
    assert headline_of(run).sentence.startswith("Some measures changed, and neither direction of these is better")
    assert lines_of(run)["gained"] == "nothing seen in these rows"


def test_one_seed_speaks_for_one_adapter(fakes):
    """Said of an adapter that is alone in its recipe; not of a full model, which has no training seed here."""
    base = np.full(40, 2.0)
    rows = {"base": base, "dpo": base + np.linspace(-0.1, 0.2, 40)}
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(nats) for name, nats in rows.items()})
    assert ONE_SEED in headline_of(run).limits
    full = tuple(replace(each, same_weights=each.name != "dpo") for each in run.subjects)
    assert ONE_SEED not in headline_of(replace(run, subjects=full)).limits


def test_a_group_of_the_suite_is_told_apart_from_what_was_tuned_for(fakes):
    """Gained here, lost there: the loss in a capability group is a cost, and without groups it is one of the target."""
    base = np.full(40, 2.0)
    noise = np.linspace(-0.1, 0.1, 40)
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores(base),
            (fakes.PERPLEXITY, "dpo"): fakes.scores(base - 0.5 + noise),
            (fakes.COREFERENCE, "base"): fakes.scores(base),
            (fakes.COREFERENCE, "dpo"): fakes.scores(base + 0.5 + noise),
        },
        counts=(EvaluationCounts("coreference", "rows", 40, 40, 40, suite_group="capability"),),
    )
    assert headline_of(run).sentence.endswith("it got worse elsewhere: perplexity rose by 64.9 %.")
    assert lines_of(run)["gained"].startswith("Truthful answers, perplexity")
    assert lines_of(run)["lost"].startswith("Coreference answers, perplexity")
    assert "elsewhere" not in headline_of(replace(run, counts=())).sentence
