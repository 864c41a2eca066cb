"""Winogrande: sentences with a blank that one of two options fills, mostly in twins with opposite answers."""

from harness.data.make import OverlapQuery, Trainable, group_of, make_example, words
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Example, Question, content_id

COLUMNS = ("sentence", "option1", "option2", "answer", "qID (if there)")
_N_OPENING_WORDS = 2


def example(row: Row) -> Example | LeftOut:
    """Makes an example with a cue and the sentence as the prompt and the right option as the response.

    The other option is the wrong response; texts are stripped.

    Group: the twin sentences, which share the qID up to its last "-". Rows from the hub have no qID: there, sentences
    with the same two options and the same first two words are one group, which splits one of 572 true groups and joins
    two. Rows without an answer (the test split) are left out.
    """
    sentence = row.text("sentence").strip()
    options = (row.text("option1").strip(), row.text("option2").strip())
    answer = row.one_of("answer", "1", "2", "")
    if not answer:
        return LeftOut("no answer given")
    right, wrong = options if answer == "1" else options[::-1]
    if row.has("qID"):
        group = content_id(row.text("qID").rpartition("-")[0])
    else:
        group = content_id(sorted(group_of(option) for option in options), words(sentence)[:_N_OPENING_WORDS])
    prompt = f'Fill in the blank with "{options[0]}" or "{options[1]}".\n{sentence}'
    return make_example(prompt, right, [wrong], group=group)


def overlap_query(row: Trainable | Question) -> OverlapQuery:
    """The sentence with its blank and with the right option in it, without the cue; and the group."""
    sentence = row.prompt[-1].text.partition("\n")[2]
    filled = (sentence.replace("_", row.response),) if isinstance(row, Example) else ()
    return OverlapQuery((sentence, *filled), row.group)


DATASETS = (
    DatasetEntry(
        name="allenai/winogrande",
        columns=COLUMNS,
        licence="CC-BY",
        group="twin",
        example=example,
        overlap_query=overlap_query,
        configurations=(
            "winogrande_xl",
            "winogrande_l",
            "winogrande_m",
            "winogrande_s",
            "winogrande_xs",
            "winogrande_debiased",
        ),
        measuring_splits=("validation",),  # the test split has no answers
    ),
)
