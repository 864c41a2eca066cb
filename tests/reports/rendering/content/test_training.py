"""What training did, of one candidate and of many, and how a winner was chosen."""

from dataclasses import replace

from reports.records import Selection
from reports.rendering.content.display import NOTHING
from reports.rendering.content.training import selection_section, training_section


def _cells(lines):
    rows = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[:1] + rows[2:]]


def test_several_candidates_get_a_row_each(fakes):
    """First and last loss, selection accuracy where there is one, and what each of them cost."""
    header, first, *_, sft, shuffled = _cells(training_section(fakes.sweep_run()))
    assert header == ["candidate", "loss", "selection accuracy", "steps", "tokens", "seconds", "GiB peak memory"]
    assert first == [f"{fakes.LR}, seed 42", "0.693 → 0.400", "0.500 → 0.700", "60", "81,000", "31", "1.00"]
    assert sft == ["control: sft on chosen", "0.693 → 0.440", "0.500 → 0.500", "60", "81,000", "31", "1.00"]
    assert shuffled[1:3] == ["0.693 → 0.450", "0.500 → 0.750"]


def test_one_candidate_is_told_as_ever_whether_its_rows_name_it_or_not(fakes):
    """First and last row of each kind; the name adds nothing where there is one."""
    run = fakes.realistic_run()
    named = replace(run, training=tuple({**row, "candidate": "dpo"} for row in run.training))
    assert training_section(named) == training_section(run)
    assert "| train: loss                |  0.693 (step 1) | 0.312 (step 60) |" in training_section(run)


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
    lines = selection_section(fakes.sweep_run())
    assert _cells(lines)[1:] == [
        [f"**{fakes.LR}**", "71.2 %", "0.6123", "80", "chosen"],
        ["learning_rate=5e-6", "65.0 %", "0.6600", "80", ""],
    ]
    assert "neither training rows nor rows of this report" in lines[-1]
    assert selection_section(fakes.realistic_run()) == []


def test_names_of_candidates_stay_text(fakes):
    """A pipe in a name does not make a column."""
    choice = (Selection("a|b", 0.5, 1.0, 10, is_winner=False),)
    training = tuple({"candidate": name, "kind": "train", "step": 1, "loss": 1.0} for name in ("a|b", "c"))
    run = replace(fakes.sweep_run(), selection=choice, training=training)
    for section in (selection_section, training_section):
        assert any("a\\|b" in line for line in section(run))


def test_a_tie_of_selection_shows_both_and_what_is_not_finite(fakes):
    """A candidate without numbers has none, and the rule names all three steps."""
    choice = (
        Selection("a", 0.5, 1.0, 10, is_winner=True, decided_by="order", tied_with=("b",)),
        Selection("b", 0.5, 1.0, 10, is_winner=False),
        Selection("c", None, None, 10, is_winner=False),
    )
    lines = selection_section(replace(fakes.sweep_run(), selection=choice))
    assert _cells(lines)[3] == ["c", "not finite", "not finite", "10", ""]
    assert "the lowest loss; of these, the first of the sweep." in lines[-1]


def test_ties_of_an_older_run_count_half(fakes):
    """An accuracy of 0 beside a mean margin of 0 is all ties, as before the first update; any other 0 stays."""
    rows = [
        {"kind": "train", "step": step, "rewards/accuracies": 0.0, "rewards/margins": m}
        for step, m in ((1, 0.0), (2, -0.5))
    ]
    lines = training_section(replace(fakes.realistic_run(), training=tuple(rows)))
    assert _cells(lines)[1] == ["train: reward accuracy", "0.500 (step 1)", "0.000 (step 2)"]
