"""The data that ships with the project: its own shapes, and the shapes of TruthfulQA, Winogrande and PKU-SafeRLHF."""

from harness.data.make import make_example, make_question
from harness.data.row import LeftOut, Row
from harness.data.sources import pku, preferences, truthfulqa, winogrande
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Example, Question

_LICENCE = "Apache-2.0 (this project)"


def question(row: Row) -> Question | LeftOut:
    """A prompt that all subjects answer: columns prompt (text or messages) and kind. Group: the first user turn."""
    return make_question(row.turns("prompt"), kind=row.text("kind").strip())


def neutral_passage(row: Row) -> Example | LeftOut:
    """A passage without praise or advice: columns prompt (its first sentence) and response (the rest).

    Group: the passage.
    """
    return make_example(row.text("prompt"), row.text("response"))


DATASETS = (
    DatasetEntry(
        name="embedded/preferences",
        columns=("prompt", "chosen", "rejected", "source", "group"),
        licence=_LICENCE,
        group="template",
        pair=preferences.pair,
    ),
    DatasetEntry(
        name="embedded/truthfulness:generation",
        columns=truthfulqa.GENERATION_COLUMNS,
        licence=_LICENCE,
        group="question",
        example=truthfulqa.example_of_generation,
    ),
    DatasetEntry(
        name="embedded/truthfulness:multiple_choice",
        columns=truthfulqa.MULTIPLE_CHOICE_COLUMNS,
        licence=_LICENCE,
        group="question",
        example=truthfulqa.example_of_multiple_choice,
    ),
    DatasetEntry(
        name="embedded/coreference",
        columns=winogrande.COLUMNS,
        licence=_LICENCE,
        group="twin",
        example=winogrande.example,
        overlap_query=winogrande.overlap_query,
    ),
    DatasetEntry(
        name="embedded/safety",
        columns=pku.SAFETY_COLUMNS,
        licence=_LICENCE,
        group="prompt",
        pair=pku.pair_of_safe_rlhf,
    ),
    DatasetEntry(
        name="embedded/prompts",
        columns=("prompt", "kind"),
        licence=_LICENCE,
        group="prompt",
        question=question,
    ),
    DatasetEntry(
        name="embedded/neutral",
        columns=("prompt", "response"),
        licence=_LICENCE,
        group="passage",
        example=neutral_passage,
    ),
)
