"""TruthfulQA: questions that invite a common falsehood, with right and wrong answers."""

from harness.data.make import group_of, make_example
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Example

GENERATION_COLUMNS = ("question", "best_answer", "incorrect_answers")
MULTIPLE_CHOICE_COLUMNS = ("question", "mc1_targets")


def example_of_generation(row: Row) -> Example | LeftOut:
    """Makes an example of a row of the configuration generation: the best answer is right, the incorrect ones wrong.

    Texts are stripped; the other correct answers are not used. Group: the question.
    """
    question = row.text("question")
    return make_example(question, row.text("best_answer"), row.texts("incorrect_answers"), group=group_of(question))


def example_of_multiple_choice(row: Row) -> Example | LeftOut:
    """Makes an example of a row of the configuration multiple_choice: the mc1 choice labelled 1 is right, others wrong.

    Texts are stripped. Group: the question.
    """
    question, targets = row.text("question"), row.part("mc1_targets")
    choices, labels = targets.texts("choices"), targets.labels("labels")
    if len(choices) != len(labels) or sum(labels) != 1:
        return LeftOut("not exactly one right choice")
    wrong = [choice for choice, label in zip(choices, labels, strict=True) if not label]
    return make_example(question, choices[labels.index(1)], wrong, group=group_of(question))


DATASETS = (
    DatasetEntry(
        name="truthfulqa/truthful_qa:generation",
        columns=GENERATION_COLUMNS,
        licence="Apache-2.0",
        group="question",
        example=example_of_generation,
    ),
    DatasetEntry(
        name="truthfulqa/truthful_qa:multiple_choice",
        columns=MULTIPLE_CHOICE_COLUMNS,
        licence="Apache-2.0",
        group="question",
        example=example_of_multiple_choice,
    ),
)
