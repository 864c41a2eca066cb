"""Whatever order units end in, all that the driver's pass will look for is computed, and as little else as can be."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.measuring.scorers import Mark
from harness.measuring.units.listing import Stage
from harness.measuring.units.order import wanted
from suites.engine.plan import PATHS, ScoringPlan, plan_within

PLAN = plan_within("cpu", 2**40, 64)
STAGES = [Stage("first", ("baseline", "a", "b")), Stage("second", ("baseline", "a", "b")), Stage(None, ("model",))]

Ends = Callable[[str | None, str, ScoringPlan], ScoringPlan]
"""Evaluation, subject and plan -> the plan at its end."""


def computed(ends: Ends, *, is_exact: bool) -> dict[tuple[str | None, str, ScoringPlan], Mark]:
    """Everything that is computed until nothing is wanted any more."""
    done: dict[tuple[str | None, str, ScoringPlan], Mark] = {}

    def find(evaluation: str | None, subject: str, plan: ScoringPlan) -> Mark | None:
        exact = (mark for key, mark in done.items() if key[:2] == (evaluation, subject) and mark.is_exact)
        return done.get((evaluation, subject, plan)) or next(exact, None)

    while units := wanted(STAGES, PLAN, find):
        assert not done.keys() & set(units)
        done |= {unit: Mark(ends(*unit), is_exact) for unit in units}
    return done


def driver_pass(ends: Ends) -> list[tuple[str | None, str, ScoringPlan]]:
    """What one process would compute: subject after subject, all again where one of them left the plan."""
    plan, asked = PLAN, []
    for stage in STAGES:
        while True:
            begun = plan
            for subject in stage.subjects:
                asked.append((stage.evaluation, subject, plan))
                plan = ends(stage.evaluation, subject, plan)
            if plan == begun:
                break
    return asked


def stays(_evaluation: str | None, _subject: str, plan: ScoringPlan) -> ScoringPlan:
    """The plan holds."""
    return plan


def leaves_for(evaluation: str, *subjects: str) -> Ends:
    """These subjects leave the tree path in an evaluation, each to packs of its own."""

    def ends(asked: str | None, subject: str, plan: ScoringPlan) -> ScoringPlan:
        if asked != evaluation or subject not in subjects or plan.path != "tree":
            return plan
        return replace(plan, path=PATHS[PATHS.index("tree") + 1], max_batch_tokens=128 + subjects.index(subject))

    return ends


@pytest.mark.parametrize("is_exact", [True, False])
def test_where_the_plan_holds_each_is_computed_once(is_exact: bool) -> None:
    """Every evaluation of every subject, by the first plan."""
    assert [*computed(stays, is_exact=is_exact)] == driver_pass(stays)


@pytest.mark.parametrize(
    "ends", [leaves_for("first", "a"), leaves_for("first", "b", "baseline"), leaves_for("second", "b"), stays]
)
def test_below_fp32_all_that_one_process_would_compute_is_there(ends: Ends) -> None:
    """An evaluation in which a subject left the plan is computed anew for all; those after it begin by that plan."""
    assert set(driver_pass(ends)) <= computed(ends, is_exact=False).keys()


def test_evaluations_before_are_not_computed_again() -> None:
    """A plan that is left in the second evaluation costs nothing of the first."""
    done = computed(leaves_for("second", "b"), is_exact=False)

    assert [plan.path for evaluation, _, plan in done if evaluation == "first"] == ["tree"] * 3
    assert sorted(plan.path for evaluation, _, plan in done if evaluation == "second") == ["prefix"] * 3 + ["tree"] * 3


def test_in_fp32_nothing_is_computed_again() -> None:
    """There a score is the same up to rounding by every plan, and was checked."""
    done = computed(leaves_for("first", "baseline"), is_exact=True)

    assert len(done) == sum(len(stage.subjects) for stage in STAGES)
