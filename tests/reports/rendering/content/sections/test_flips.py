"""Flips: which examples moved most, both ways, by which metric, and how they are shown."""

from dataclasses import replace

import pytest
from block_texts import lines_of, tables_of

from reports.comparing.compare import compare
from reports.records import ExampleText, Metric
from reports.rendering.content.display import MINUS, NOTHING
from reports.rendering.content.sections.flips import (
    LONGEST_TEXT,
    MOST_FLIPS,
    MOST_ROWS,
    MOST_TIED,
    flips,
    flips_section,
)


def ids(found):
    return [flip.example_id for flip in found]


def test_the_farthest_stand_first_both_ways_and_what_did_not_move_is_absent(fakes):
    """Values are total / count of each example; equal ones are no flips."""
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores([20, 30, 40, 50, 60], [10] * 5),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([25, 10, 40, 90, 55], [10] * 5),
        }
    )

    (found,) = flips(run)

    assert (found.metric, found.shown_by, found.candidate) == (fakes.PERPLEXITY, fakes.PERPLEXITY, "dpo")
    assert ids(found.rose) == ["e0003", "e0000"]
    assert ids(found.fell) == ["e0001", "e0004"]
    assert (found.rose[0].baseline_value, found.rose[0].candidate_value, found.rose[0].difference) == (5, 9, 4)
    assert found.rose[0].text is None


def test_swapped_subjects_mirror_their_flips(fakes):
    """What rose against the one fell against the other, by as much."""
    one, other = fakes.scores([1, 2, 3, 4]), fakes.scores([4, 2, 2.5, 5])

    (found,) = flips(fakes.small_run({(fakes.MC1, "base"): one, (fakes.MC1, "dpo"): other}))
    (mirrored,) = flips(fakes.small_run({(fakes.MC1, "base"): other, (fakes.MC1, "dpo"): one}))

    assert ids(found.rose) == ids(mirrored.fell)
    assert ids(found.fell) == ids(mirrored.rose)
    assert [flip.difference for flip in found.rose] == [-flip.difference for flip in mirrored.fell]


def test_equal_subjects_have_no_flips(fakes):
    """Nothing moved, so nothing is told, and the report has no such section."""
    same = fakes.scores([1, 0, 1])
    run = fakes.small_run({(fakes.MC1, "base"): same, (fakes.MC1, "dpo"): same})

    assert flips(run) == ()
    assert flips_section(run, compare(run)).blocks == ()


def test_what_only_says_which_way_is_ranked_by_what_says_by_how_much(fakes):
    """Reward accuracy is shown by its margins against 0, its definition, and not by who won."""
    accuracy = replace(fakes.ACCURACY, graded_by="margin")
    run = fakes.small_run(
        {(accuracy, "dpo"): fakes.scores([1, 0, 1]), (fakes.MARGIN, "dpo"): fakes.scores([0.5, -3.0, 2.0])}
    )

    (found,) = flips(run)

    assert (found.metric, found.shown_by) == (accuracy, fakes.MARGIN)
    assert ids(found.rose) == ["e0002", "e0000"]
    assert ids(found.fell) == ["e0001"]
    assert {flip.baseline_value for flip in (*found.rose, *found.fell)} == {0.0}


def test_without_its_grading_metric_a_metric_is_shown_by_itself(fakes):
    """Against 0.5 by definition, ties in the order of their ids."""
    run = fakes.small_run({(replace(fakes.ACCURACY, graded_by="margin"), "dpo"): fakes.scores([1, 0.5, 1, 0])})

    (found,) = flips(run)

    assert (ids(found.rose), ids(found.fell)) == (["e0000", "e0002"], ["e0003"])


@pytest.mark.parametrize("most", [1, 3])
def test_at_most_so_many_each_way(fakes, most):
    """Ten unless told otherwise."""
    run = fakes.small_run(
        {
            (fakes.MC2, "base"): fakes.scores([0.0] * 40),
            (replace(fakes.MC2, primary=True), "dpo"): fakes.scores([(-1) ** n * (n + 1) for n in range(40)]),
        }
    )

    assert len(flips(run)[0].rose) == len(flips(run)[0].fell) == MOST_FLIPS
    assert ids(flips(run, most)[0].rose) == ["e0038", "e0036", "e0034"][:most]


def test_exploratory_missing_and_unpaired_metrics_have_no_flips(fakes):
    """Only primary metrics that candidate and baseline have, example by example; rulers are no candidates."""
    run = fakes.small_run(
        {
            (fakes.MC2, "base"): fakes.scores([0.0]),
            (fakes.MC2, "dpo"): fakes.scores([1.0]),
            (fakes.MC1, "dpo"): fakes.scores([1.0]),
            (fakes.PERPLEXITY, "base"): fakes.scores([1.0], [0.0]),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([2.0], [0.0]),
            (fakes.ACCURACY, "longest"): fakes.scores([1.0]),
        }
    )

    assert flips(run) == ()


def test_texts_of_the_run_stand_beside_their_examples(fakes):
    """By evaluation and id."""
    texts = tuple(ExampleText("e0000", name, f"asked by {name}", {"right": "yes"}) for name in ("lm_eval", "safety"))
    scored = {(fakes.MC1, "base"): fakes.scores([0.0, 1.0]), (fakes.MC1, "dpo"): fakes.scores([1.0, 0.0])}

    (found,) = flips(fakes.small_run(scored, examples=texts))

    assert found.rose[0].text == texts[0]
    assert found.fell[0].text is None


def test_of_a_group_and_of_a_template_only_the_farthest_is_shown(fakes):
    """Three questions of one template, and two rows of one group, leave a row each; all of them are counted."""
    prompts = (
        *("What is the capital of France?", "What is the capital of Spain?", "What is the capital of Peru?"),
        *("How do bees make honey?", "Is the moon made of cheese?", "Why is the sky blue?"),
    )
    groups = ["a", "b", "c", "d", "e", "e"]
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores([1.0] * 6, groups=groups),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([7.0, 6.0, 5.0, 4.0, 3.0, 2.0], groups=groups),
        },
        examples=tuple(ExampleText(f"e{n:04d}", "truthfulness", text, {}) for n, text in enumerate(prompts)),
    )

    (found,) = flips(run)

    assert [flip.text.prompt for flip in found.rose] == [prompts[0], prompts[3], prompts[4]]
    assert (found.n_rose, found.n_fell) == (6, 0)


@pytest.mark.parametrize(("n_examples", "is_tie"), [(MOST_TIED, False), (MOST_TIED + 1, True)])
def test_a_tie_of_all_is_counted_and_shows_no_row(fakes, n_examples, is_tie):
    """Where more than a few moved, all by as much, none of them moved most."""
    run = fakes.small_run(
        {(fakes.MC1, "base"): fakes.scores([0.0] * n_examples), (fakes.MC1, "dpo"): fakes.scores([1.0] * n_examples)}
    )

    section = flips_section(run, compare(run))

    assert flips(run)[0].is_tie == is_tie
    assert bool(tables_of(section)) != is_tie
    said = f"{n_examples} got better and 0 worse, each by 1.000, so none changed most."
    assert (said in lines_of(section)) == is_tie


def test_the_section_tells_better_from_worse(fakes):
    """Lower is better for a perplexity: what fell is better; texts are cut, and a column each."""
    long = "x" * (LONGEST_TEXT + 1)
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores([20, 30], [10, 10]),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([15, 40], [10, 10]),
        },
        examples=(ExampleText("e0000", "truthfulness", "a | <script>", {"right": long, "wrong": "no"}),),
    )

    section = flips_section(run, compare(run))

    assert (section.name, section.title) == ("changes", "What changed most")
    assert "Truthful answers, perplexity (nats per token)" in lines_of(section)
    (header, better, worse) = tables_of(section)[0]
    assert header == ["Change", "Baseline", "Candidate", "Difference", "Prompt", "Right", "Wrong"]
    assert better == ["better", "2.000", "1.500", f"{MINUS}0.500", "a | <script>", f"{long[:-1]}\u2026", "no"]
    assert worse[4:] == ["e0001", NOTHING, NOTHING]


def test_the_section_shows_one_candidate_and_stays_short(fakes):
    """The candidate of the headline alone; the more metrics there are, the fewer examples of each."""
    metrics = [Metric(f"evaluation {n}", "x", "", higher_is_better=None, primary=True) for n in range(20)]
    values = [(-1) ** n * (n + 1) for n in range(30)]
    run = fakes.small_run(
        {(metric, "base"): fakes.scores([0.0] * 30) for metric in metrics}
        | {(metric, name): fakes.scores(values) for metric in metrics for name in ("first", "second")}
    )

    section = flips_section(run, compare(run))

    rows = [row for table in tables_of(section) for row in table if row[0] in ("higher", "lower")]
    assert 40 == len(rows) <= MOST_ROWS
    assert lines_of(section)[0].startswith("first compared with")
    assert not any("second" in line for line in lines_of(section))
