"""Whom a report is about."""

from dataclasses import replace

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import candidates_of, compare
from reports.records import Selection


def test_the_foremost_candidate_is_the_chosen_one(fakes):
    """The winner, or the first adapter of the winning recipe; without a choice the first that is not a control."""
    run = fakes.sweep_run()
    names = candidates_of(run, compare(run))
    assert names == [subject.name for subject in run.subjects[1:]]
    assert headline_candidate(run, names) == f"{fakes.LR}, seed 42"
    winner = Selection("learning_rate=5e-6", 0.9, 0.1, 10, is_winner=True)
    assert headline_candidate(replace(run, selection=(winner,)), names) == "learning_rate=5e-6"
    unchosen = replace(run, selection=())
    assert headline_candidate(unchosen, [fakes.CONTROLS[0], "merged"]) == "merged"
    assert headline_candidate(unchosen, [fakes.CONTROLS[1], fakes.CONTROLS[0]]) == fakes.CONTROLS[1]
