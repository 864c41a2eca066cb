"""What training did, of one candidate and of many, and how a winner was chosen."""

from dataclasses import replace

import pytest
from block_texts import lines_of, tables_of

from reports.records import Selection
from reports.rendering.content.blocks import Strong
from reports.rendering.content.display import NOTHING
from reports.rendering.content.sections.training import choice_section, training_section


def _cells(section):
    (table,) = tables_of(section)
    return table


def test_several_candidates_get_a_row_each(fakes):
    """First and last loss, selection accuracy where there is one, and what each of them cost."""
    header, first, *_, sft, shuffled = _cells(training_section(fakes.sweep_run()))
    assert header == ["Candidate", "Loss", "Selection accuracy", "Steps", "Tokens", "Seconds", "GiB peak memory"]
    assert first == [f"{fakes.LR}, seed 42", "0.693 → 0.400", "0.500 → 0.700", "60", "81,000", "31", "1.00"]
    assert sft == ["control: sft on chosen", "0.693 → 0.440", "0.500 → 0.500", "60", "81,000", "31", "1.00"]
    assert shuffled[1:3] == ["0.693 → 0.450", "0.500 → 0.750"]


def test_one_candidate_is_told_as_ever_whether_its_rows_name_it_or_not(fakes):
    """First and last row of each kind; the name adds nothing where there is one."""
    run = fakes.realistic_run()
    named = replace(run, training=tuple({**row, "candidate": "dpo"} for row in run.training))
    assert training_section(named) == training_section(run)
    assert ["train: loss", "0.693 (step 1)", "0.312 (step 60)"] in _cells(training_section(run))


def test_a_candidate_whose_rows_lack_numbers_shows_dashes(fakes):
    """What was not logged is a dash, what diverged is said to be so."""
    training = (
        {"candidate": "a", "kind": "train", "step": 1, "loss": None},
        {"candidate": "b", "kind": "summary", "step": 3},
    )
    _, a, b = _cells(training_section(replace(fakes.sweep_run(), training=training)))
    assert a == ["a", "not finite → not finite", NOTHING, "1", NOTHING, NOTHING, NOTHING]
    assert b == ["b", NOTHING, NOTHING, "3", NOTHING, NOTHING, NOTHING]


def test_the_choice_is_shown_with_its_winner(fakes):
    """Accuracy, loss and rows of every candidate, the winner in bold, and where the rows are from."""
    section = choice_section(fakes.sweep_run())
    assert _cells(section)[1:] == [
        [fakes.LR, "71.2 %", "0.6123", "80", "chosen"],
        ["learning_rate=5e-6", "65.0 %", "0.6600", "80", ""],
    ]
    assert section.blocks[1].rows[0][0] == Strong(fakes.LR)
    assert lines_of(section)[0].startswith(f"Chosen on selection rows, which are not those of this report: {fakes.LR}")
    assert "neither training rows nor rows of this report" in lines_of(section)[-1]
    assert choice_section(fakes.realistic_run()).blocks == ()


def test_a_tie_of_selection_shows_both_and_what_is_not_finite(fakes):
    """A candidate without numbers has none, and the rule names all three steps."""
    choice = (
        Selection("a", 0.5, 1.0, 10, True, 5.0, 10, "order", ("b",)),
        Selection("b", 0.5, 1.0, 10, is_winner=False),
        Selection("c", None, None, 10, is_winner=False),
    )
    section = choice_section(replace(fakes.sweep_run(), selection=choice))
    assert _cells(section)[3] == ["c", "not finite", "not finite", "10", ""]
    assert any(line.startswith("The choice was a tie with b") for line in lines_of(section))
    assert "the lowest loss; of these, the first of the sweep." in lines_of(section)[-1]


def test_ties_of_an_older_run_count_half(fakes):
    """An accuracy of 0 beside a mean margin of 0 is all ties, as before the first update; any other 0 stays."""
    rows = [
        {"kind": "train", "step": step, "rewards/accuracies": 0.0, "rewards/margins": m}
        for step, m in ((1, 0.0), (2, -0.5))
    ]
    section = training_section(replace(fakes.realistic_run(), training=tuple(rows)))
    assert _cells(section)[1] == ["train: reward accuracy", "0.500 (step 1)", "0.000 (step 2)"]


@pytest.mark.parametrize(
    ("decided_by", "ending"),
    [
        ("loss", "its lower loss decided."),
        ("order", "their losses are equal too, so the first was taken."),
    ],
)
def test_a_tie_of_selection_is_said(fakes, decided_by, ending):
    """What the winner won as often as, in whole numbers, and which rule decided."""
    winner = Selection("a", 65 / 84, 0.4, 56, True, 130.0, 168, decided_by, ("b", "c"))
    chosen, tie, _ = lines_of(choice_section(replace(fakes.sweep_run(), selection=(winner,))))
    assert chosen == "Chosen on selection rows, which are not those of this report: a."
    assert tie == f"The choice was a tie with b, c (130 of 168 comparisons won by each); {ending}"


def test_an_older_run_says_nothing_of_ties(fakes):
    """Nor does a sweep without a winner of any choice."""
    older = replace(fakes.sweep_run(), selection=(Selection("a", 0.7, 0.4, 56, True, tied_with=("b",)),))
    assert len(lines_of(choice_section(older))) == 2
    unchosen = replace(fakes.sweep_run(), selection=(Selection("a", None, None, 56, is_winner=False),))
    assert len(lines_of(choice_section(unchosen))) == 1
