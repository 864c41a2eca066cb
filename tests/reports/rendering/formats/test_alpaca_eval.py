"""Answers in AlpacaEval's columns."""

from reports.rendering.formats.alpaca_eval import alpaca_eval


def test_every_answer_of_every_subject_is_a_row_in_order(fakes):
    """Instruction, output, generator and dataset, and the id that verdicts come back by."""
    run = fakes.realistic_run()

    rows = alpaca_eval(run)

    assert list(rows) == ["base", "dpo"]
    assert [row["instruction"] for row in rows["dpo"]] == [g.prompt for g in run.generations if g.subject == "dpo"]
    assert list(rows["base"][0]) == ["instruction", "output", "generator", "dataset", "example_id"]
    assert {row["generator"] for row in rows["base"]} == {"base"}
    assert rows["base"][0]["output"] == run.generations[0].answer
    assert {row["dataset"] for row in rows["base"]} == {"answers"}


def test_the_dataset_is_where_the_prompts_are_from(fakes):
    """As the counts of the evaluation have it."""
    run = fakes.realistic_run()
    counts = fakes.EvaluationCounts("answers", "embedded/prompts, split test", 2, 2, 2)

    rows = alpaca_eval(fakes.replace(run, counts=(counts,)))

    assert rows["base"][0]["dataset"] == "embedded/prompts, split test"


def test_a_run_without_answers_has_none(fakes):
    """No subject, no file."""
    assert alpaca_eval(fakes.small_run({})) == {}
