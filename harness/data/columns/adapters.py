"""Adapters for datasets that the catalogue does not list, made from what their columns hold."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

from harness.config.schema import ColumnsConfig
from harness.config.wording import listed
from harness.data.make import (
    RankedAnswer,
    group_of,
    make_example,
    make_pair,
    make_question,
    make_ranked_pairs,
    make_rated_answer,
    with_system,
)
from harness.data.message import first_turn_with, is_empty
from harness.data.row import NO_ANSWER, DataError, LeftOut, Row, UnusableRowError
from harness.data.sources.entry import Adapter, DatasetEntry, Made
from harness.data.sources.hh_rlhf import turns_of
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
    ("input", "prompt"),
    ("answer_text", "answers"),
    ("scores", "answers"),
    ("pairs: all", "answers"),
)
"""A key, and the key that it needs."""
_ANSWERS = ("chosen", "answer", "answers")
"""Keys of which at most one can be set, because each makes rows of another kind."""


def unlisted_entry(name: str, columns: ColumnsConfig, media: Sequence[str] = ()) -> DatasetEntry:
    """The entry that a dataset with these columns would have in the catalogue.

    Args:
        name: The dataset.
        columns: What its columns hold.
        media: Columns of what a text model cannot read; a row that has any is left out.

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
        is_listed=False,
    )
    if columns.answers is not None:
        return replace(entry, pair=_without_media(media, partial(_ranked_pairs, columns, columns.answers)))
    if columns.chosen is not None and columns.rejected is not None:
        return replace(entry, pair=_without_media(media, partial(_pair, columns, (columns.chosen, columns.rejected))))
    if columns.chosen is not None:
        return replace(entry, example=_without_media(media, partial(_example, columns, columns.chosen)))
    if columns.answer is not None and columns.label is not None:
        rated = partial(_rated_answer, columns, columns.answer, columns.label)
        return replace(entry, rated=_without_media(media, rated))
    return replace(entry, question=_without_media(media, partial(_question, columns)))


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


def _without_media(media: Sequence[str], adapter: Adapter[Made]) -> Adapter[Made]:
    """The adapter for rows without images, sounds or videos; one that has any is left out."""

    def adapted(row: Row) -> Made | LeftOut | tuple[Made | LeftOut, ...]:
        column = next((each for each in media if not is_empty(row.columns.get(each))), None)
        return adapter(row) if column is None else LeftOut(f"column {column}, which a text model does not read")

    return adapted


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

    Turns before an answer are the prompt where the row has no other; they go on from the prompt's column where they
    begin with an answer; and where they repeat it, as UltraFeedback's do, they count once.
    """
    stated = () if columns.prompt is None else _stated_prompt(columns, row)
    prompts, responses = [], []
    for column in answers:
        before, response = row.answered(column) if columns.prompt is not None else _answered_alone(row, column)
        prompts.append(_whole_prompt(stated, before))
        responses.append(response)
    prompt = prompts[0]
    if prompt is None:
        return LeftOut("the prompt's column is no part of the conversations")
    if any(other != prompt for other in prompts):
        return LeftOut("the two sides do not share their prompt")
    return _with_surroundings(columns, prompt, row), tuple(responses)


def _answered_alone(row: Row, column: str) -> tuple[Prompt, str]:
    """The turns before an answer and the answer, of a column that holds both: messages, or a transcript of hh-rlhf."""
    if not row.is_text(column):
        return row.answered(column)
    turns = turns_of(row.text(column))
    if not turns:
        raise DataError(
            f"{row.where}: column {column!r} is a text, and no column is known to hold its prompt: name that one, as "
            f"-o 'data.training.columns={{prompt: COLUMN, ...}}'; the row has: {listed(row.columns)}"
        )
    if turns[-1].speaker != "assistant":
        raise UnusableRowError(row.where, NO_ANSWER)
    return turns[:-1], turns[-1].text


def _whole_prompt(stated: Prompt, before: Prompt) -> Prompt | None:
    """The prompt of a row with a prompt of its own and turns before its answer; None where the two contradict."""
    if not stated or not before:
        return stated or before
    if any(before[start : start + len(stated)] == stated for start in range(len(before))):
        return before
    if stated[0].speaker == "system" and stated[1:] == before[: len(stated) - 1]:
        return (stated[0], *before)
    return (*stated, *before) if before[0].speaker in ("assistant", "tool") else None


def _prompt(columns: ColumnsConfig, row: Row) -> Prompt:
    return _with_surroundings(columns, _stated_prompt(columns, row), row)


def _stated_prompt(columns: ColumnsConfig, row: Row) -> Prompt:
    """The prompt of its own column, with the input that follows it."""
    assert columns.prompt is not None, "check_columns makes sure of it"
    turns = row.turns(columns.prompt)
    more = row.text(columns.input).strip() if columns.input is not None and row.has(columns.input) else ""
    if not more or not turns:
        return turns
    last = turns[-1]
    return (*turns[:-1], replace(last, text=f"{last.text}\n\n{more}".strip()))


def _with_surroundings(columns: ColumnsConfig, prompt: Prompt, row: Row) -> Prompt:
    """The prompt behind the system turn of the row, with the functions that it may call."""
    if columns.system is not None and row.has(columns.system):
        system = row.text(columns.system)
        said_already = bool(prompt) and prompt[0].speaker == "system" and prompt[0].text == system.strip()
        prompt = prompt if said_already else with_system(system, prompt)
    if columns.tools is None or not prompt or is_empty(row.columns.get(columns.tools)):
        return prompt
    return first_turn_with(prompt, row.tools(columns.tools))


def _source(columns: ColumnsConfig, row: Row) -> str:
    return row.source if columns.source is None else source_of(row, columns.source)


def _group(columns: ColumnsConfig, row: Row) -> str | None:
    """The row's group; a number is a group of its own dataset only, a text is the same group in every dataset."""
    if columns.group is None or not row.has_name(columns.group):
        return None
    name = row.name(columns.group)
    return group_of_row(row, columns.group) if name.isdecimal() else group_of(name)
