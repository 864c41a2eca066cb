"""TruthfulQA: questions that invite a common falsehood, with right and wrong answers."""

from harness.data.make import group_of, make_example
from harness.data.row import LeftOut, Row
from suites.inputs import Example


def example_of_generation(row: Row) -> Example | LeftOut:
    """Configuration generation: the best answer as the response, the incorrect ones as wrong; texts are stripped.

    The other correct answers are not used. Group: the question.
    """
    question = row.text("question")
    return make_example(question, row.text("best_answer"), row.texts("incorrect_answers"), group=group_of(question))


def example_of_multiple_choice(row: Row) -> Example | LeftOut:
    """Configuration multiple_choice: of the mc1 choices the one labelled 1 as the response, the others as wrong.

    Texts are stripped. Group: the question.
    """
    question, targets = row.text("question"), row.part("mc1_targets")
    choices, labels = targets.texts("choices"), targets.labels("labels")
    if len(choices) != len(labels) or sum(labels) != 1:
        return LeftOut("not exactly one right choice")
    wrong = [choice for choice, label in zip(choices, labels, strict=True) if not label]
    return make_example(question, choices[labels.index(1)], wrong, group=group_of(question))
