"""Which of a run's candidates a report is about."""

from collections.abc import Sequence

from reports.records import Run, Subject


def headline_candidate(run: Run, candidates: Sequence[str]) -> str:
    """Return the candidate that was chosen, or the first of the chosen recipe, or else the first that is no control.

    A first stage, from which another candidate started, comes after what was made of it.
    """
    chosen = _chosen(run)
    subjects = [run.subject(name) for name in candidates]
    stages = {each.reference for each in subjects}
    ranks = {
        each.name: (chosen.isdisjoint({each.name, each.recipe}), each.is_control, each.name in stages)
        for each in subjects
    }
    return min(candidates, key=lambda name: ranks[name])


def peers(run: Run) -> list[Subject]:
    """Return the candidates that there are to choose from, each seed of a recipe by itself.

    Neither controls and first stages, nor models of other weights, which are bases or the same adapter merged.
    """
    stages = {subject.reference for subject in run.candidates}
    return [each for each in run.candidates if each.same_weights and not each.is_control and each.name not in stages]


def is_chosen(run: Run, candidate: str) -> bool:
    """Whether a sweep chose the candidate, or its recipe, on selection rows."""
    return not _chosen(run).isdisjoint({candidate, run.subject(candidate).recipe})


def _chosen(run: Run) -> set[str]:
    return {selection.candidate for selection in run.selection if selection.is_winner}
