"""Say which evaluations of which subjects are to be computed now, so that the driver's pass will find every one.

The driver's pass goes through evaluations and subjects one after another by one plan, which a subject may turn into a
more careful one: all subjects of that evaluation are then scored again, and those after it begin by that plan. What is
computed in parallel has to come to the same, so this walks the same way through what is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from harness.measuring.scorers import Mark
from harness.measuring.units.listing import Stage
from suites.engine.plan import PATHS, ScoringPlan

Wanted: TypeAlias = tuple[str | None, str, ScoringPlan]
"""An evaluation (None is the whole suite), a subject, and the plan that it begins by."""
Find: TypeAlias = Callable[[str | None, str, ScoringPlan], Mark | None]
"""Evaluation, subject and the plan that it begins by -> how it ended; None where it is not done."""


def wanted(stages: Sequence[Stage], plan: ScoringPlan, find: Find) -> list[Wanted]:
    """What is to be computed, as far as it is known by now; nothing where the driver's pass will find everything.

    Evaluations after one that is not done are wanted by the plan as it is known, which nearly always holds.

    Args:
        stages: In the order of the driver's pass.
        plan: The plan that it begins by.
        find: Tells how an evaluation of a subject ended.
    """
    found: list[Wanted] = []
    for stage in stages:
        missing, plan = _walk(stage, plan, find)
        found += missing
    return found


def _walk(stage: Stage, plan: ScoringPlan, find: Find) -> tuple[list[Wanted], ScoringPlan]:
    """What is to be computed of one stage, and the plan after it as far as it is known."""
    while True:
        begun = plan
        if missing := _missing(stage, plan, find):
            return missing, plan
        for subject in stage.subjects:
            mark = find(stage.evaluation, subject, plan)
            if mark is None:  # a subject before it left the plan, and what it begins by now is not computed yet
                return _missing(stage, plan, find), plan
            plan = _after(mark, plan)
        if plan == begun:
            return [], plan


def _missing(stage: Stage, plan: ScoringPlan, find: Find) -> list[Wanted]:
    return [(stage.evaluation, each, plan) for each in stage.subjects if find(stage.evaluation, each, plan) is None]


def _after(mark: Mark, plan: ScoringPlan) -> ScoringPlan:
    """The plan after something that was begun by this plan is found; see `ScoringState.tell_again`."""
    if not mark.is_exact:
        return mark.plan
    is_left = PATHS.index(mark.plan.path) > PATHS.index(plan.path)
    return replace(plan, path=mark.plan.path) if is_left else plan
