"""Adapters for datasets that the catalogue does not list, made from the columns that a configuration names.

Without a configuration the usual names are understood: prompt, chosen, rejected, completion, label, messages.
"""

from collections.abc import Collection
from dataclasses import asdict, replace
from functools import partial

from harness.config.schema import ColumnsConfig
from harness.data.make import (
    RankedAnswer,
    group_of,
    make_example,
    make_pair,
    make_question,
    make_ranked_pairs,
    make_rated_answer,
    split_conversations,
    with_system,
)
from harness.data.row import DataError, LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from harness.data.sources.preferences import group_of_row, source_of
from suites.inputs import Example, Pair, Prompt, Question, RatedAnswer

TRAINING_SPLITS = ("train_prefs", "train")
MEASURING_SPLITS = ("test_prefs", "test", "validation")

_NEEDS = (
    ("rejected", "chosen"),
    ("score_chosen", "score_rejected"),
    ("score_rejected", "score_chosen"),
    ("score_chosen", "rejected"),
    ("answer", "label"),
    ("label", "answer"),
    ("answers", "prompt"),
    ("answer_text", "answers"),
    ("scores", "answers"),
    ("pairs: all", "answers"),
)
"""A key, and the key that it needs."""
_ANSWERS = ("chosen", "answer", "answers")
"""Keys of which at most one can be set, because each makes rows of another kind."""


def unlisted_entry(name: str, columns: ColumnsConfig) -> DatasetEntry:
    """The entry that a dataset with these columns would have in the catalogue.

    Raises:
        DataError: Keys do not go together; the message names them.
    """
    check_columns(name, columns)
    named = [value for key, value in asdict(columns).items() if value is not None and key != "pairs"]
    entry = DatasetEntry(
        name=name,
        columns=tuple(named),
        licence="not known",
        group="first user turn" if columns.group is None else columns.group,
        training_splits=TRAINING_SPLITS,
        measuring_splits=MEASURING_SPLITS,
    )
    if columns.answers is not None:
        return replace(entry, pair=partial(_ranked_pairs, columns, columns.answers))
    if columns.chosen is not None and columns.rejected is not None:
        return replace(entry, pair=partial(_pair, columns, (columns.chosen, columns.rejected)))
    if columns.chosen is not None:
        return replace(entry, example=partial(_example, columns, columns.chosen))
    if columns.answer is not None and columns.label is not None:
        return replace(entry, rated=partial(_rated_answer, columns, columns.answer, columns.label))
    return replace(entry, question=partial(_question, columns))


def check_columns(name: str, columns: ColumnsConfig) -> None:
    """Checks that the keys of `columns` go together.

    Raises:
        DataError: They do not; the message names the keys.
    """
    given = {key for key, value in asdict(columns).items() if value is not None} - {"pairs"}
    if columns.pairs == "all":
        given.add("pairs: all")
    for key, needed in _NEEDS:
        if key in given and needed not in given:
            raise DataError(f"dataset {name}: columns.{key} needs columns.{needed}, which is not set")
    answers = [f"columns.{key}" for key in _ANSWERS if key in given]
    if len(answers) > 1:
        raise DataError(f"dataset {name}: of {' and '.join(answers)} only one can be set")
    if not answers and "prompt" not in given:
        raise DataError(f"dataset {name}: columns must name a prompt, or a column of whole conversations as chosen")


def standard_columns(name: str, there: Collection[str]) -> ColumnsConfig:
    """What columns of these names hold, by the names that TRL and other training libraries use.

    Raises:
        DataError: None of the names is known; the message lists them and shows how to map them.
    """

    def known(column: str) -> str | None:
        return column if column in there else None

    columns = ColumnsConfig(prompt=known("prompt"), group=known("group"), source=known("source"))
    if "chosen" in there and "rejected" in there:
        columns = replace(columns, chosen="chosen", rejected="rejected")
        if "score_chosen" in there and "score_rejected" in there:
            columns = replace(columns, score_chosen="score_chosen", score_rejected="score_rejected")
    elif "prompt" in there and "completion" in there:
        columns = _answered(columns, "completion", known("label"))
    elif "messages" in there:
        columns = _answered(replace(columns, prompt=None), "messages", known("label"))
    elif "prompt" not in there:
        raise DataError(
            f"dataset {name}: what its columns hold is not known ({', '.join(there) or 'there are none'}); name them "
            f"beside the dataset, such as `columns: {{prompt: COLUMN, chosen: COLUMN, rejected: COLUMN}}`"
        )
    return columns


def _answered(columns: ColumnsConfig, answer: str, label: str | None) -> ColumnsConfig:
    """The columns with one answer: a rated answer with a label, else a good one."""
    return replace(columns, chosen=answer) if label is None else replace(columns, answer=answer, label=label)


def _pair(columns: ColumnsConfig, sides: tuple[str, str], row: Row) -> Pair | LeftOut:
    conversation = _conversation(columns, sides, row)
    if isinstance(conversation, LeftOut):
        return conversation
    prompt, (chosen, rejected) = conversation
    scores = (columns.score_chosen, columns.score_rejected)
    gap = None if scores[0] is None or scores[1] is None else row.gap(scores[0], scores[1])
    return make_pair(prompt, chosen, rejected, source=_source(columns, row), group=_group(columns, row), score_gap=gap)


def _rated_answer(columns: ColumnsConfig, answer: str, label: str, row: Row) -> RatedAnswer | LeftOut:
    conversation = _conversation(columns, (answer,), row)
    if isinstance(conversation, LeftOut):
        return conversation
    prompt, (response,) = conversation
    return make_rated_answer(
        prompt, response, is_good=row.flag(label), source=_source(columns, row), group=_group(columns, row)
    )


def _example(columns: ColumnsConfig, answer: str, row: Row) -> Example | LeftOut:
    conversation = _conversation(columns, (answer,), row)
    if isinstance(conversation, LeftOut):
        return conversation
    prompt, (response,) = conversation
    return make_example(prompt, response, group=_group(columns, row))


def _question(columns: ColumnsConfig, row: Row) -> Question | LeftOut:
    return make_question(_prompt(columns, row), group=_group(columns, row))


def _ranked_pairs(columns: ColumnsConfig, answers: str, row: Row) -> tuple[Pair | LeftOut, ...] | LeftOut:
    texts, scores = _answers(columns, answers, row)
    if scores is not None and len(texts) != len(scores):
        return LeftOut("not as many scores as answers")
    ranks = scores or [-float(position) for position in range(len(texts))]
    return make_ranked_pairs(
        _prompt(columns, row),
        [RankedAnswer(text, rank) for text, rank in zip(texts, ranks, strict=True)],
        take=columns.pairs,
        has_scores=scores is not None,
        source=_source(columns, row),
        group=_group(columns, row),
    )


def _answers(columns: ColumnsConfig, answers: str, row: Row) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    """The texts of a row's answers, and their scores; None without scores."""
    if columns.answer_text is None:
        return row.texts(answers), None if columns.scores is None else row.numbers(columns.scores)
    items = row.lists(answers)
    if not items.columns:
        return (), None
    holder = items if columns.scores in items.columns else row
    return items.texts(columns.answer_text), None if columns.scores is None else holder.numbers(columns.scores)


def _conversation(
    columns: ColumnsConfig, answers: tuple[str, ...], row: Row
) -> tuple[Prompt, tuple[str, ...]] | LeftOut:
    """The prompt and the answers of a row, from separate columns or from whole conversations.

    Answers of several messages are whole conversations even where the row has a prompt as well: UltraFeedback's column
    `prompt` repeats the beginning of its conversations.
    """
    if columns.prompt is not None and not any(row.is_conversation(column) for column in answers):
        return _prompt(columns, row), tuple(row.answer(column) for column in answers)
    conversation = split_conversations(*(row.messages(column) for column in answers))
    if isinstance(conversation, LeftOut):
        return conversation
    prompt, responses = conversation
    return _behind_system(columns, prompt, row), responses


def _prompt(columns: ColumnsConfig, row: Row) -> Prompt:
    assert columns.prompt is not None, "check_columns makes sure of it"
    return _behind_system(columns, row.turns(columns.prompt), row)


def _behind_system(columns: ColumnsConfig, prompt: Prompt, row: Row) -> Prompt:
    if columns.system is None or not row.has(columns.system):
        return prompt
    return with_system(row.text(columns.system), prompt)


def _source(columns: ColumnsConfig, row: Row) -> str:
    return row.source if columns.source is None else source_of(row, columns.source)


def _group(columns: ColumnsConfig, row: Row) -> str | None:
    """The row's group; a number is a group of its own dataset only, a text is the same group in every dataset."""
    if columns.group is None or not row.has(columns.group):
        return None
    name = row.name(columns.group)
    return group_of_row(row, columns.group) if name.isdecimal() else group_of(name)
