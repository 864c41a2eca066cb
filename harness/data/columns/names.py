"""What columns hold by their names, as TRL, Alpaca, ShareGPT and others call them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from harness.config.schema import ColumnsConfig
from harness.config.wording import listed
from harness.data.message import MEDIA
from harness.data.row import DataError

CHOSEN_NAMES = ("chosen", "chosen_response", "response_chosen", "preferred")
REJECTED_NAMES = ("rejected", "rejected_response", "response_rejected", "dispreferred")
QUESTION_NAMES = ("prompt", "question", "instruction", "query", "problem", "input")
CONVERSATION_NAMES = ("messages", "conversations", "conversation")
ANSWER_NAMES = ("completion", "response", "output", "answer")
SYSTEM_NAMES = ("system", "system_prompt")
TOOLS_NAMES = ("tools", "functions")
_SCORE_NAMES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
_OWN_NAMES = ("completion", "messages")
"""TRL's own names of answers that make examples or rated answers."""
_FOLLOWED_BY_INPUT = ("instruction", "prompt")


@dataclass(frozen=True, slots=True)
class StandardColumns:
    """What is taken for what, by names alone."""

    columns: ColumnsConfig
    media: tuple[str, ...]
    """Columns of images, sounds or videos; a row that has any is left out."""
    note: str
    """A line for the user where a column is taken for something that it is not called; else empty."""


def standard_columns(name: str, there: Collection[str]) -> StandardColumns:
    """What columns of these names hold.

    Raises:
        DataError: None of the names is known; the message lists them and shows how to map them.
    """

    def first(*names: str) -> str | None:
        return next((column for column in names if column in there), None)

    question, conversation = first(*QUESTION_NAMES), first(*CONVERSATION_NAMES)
    chosen, rejected, answer = first(*CHOSEN_NAMES), first(*REJECTED_NAMES), first(*ANSWER_NAMES)
    columns = ColumnsConfig(
        input="input" if "input" in there and question in _FOLLOWED_BY_INPUT else None,
        system=first(*SYSTEM_NAMES),
        tools=first(*TOOLS_NAMES),
        group=first("group"),
        source=first("source"),
    )
    if chosen is not None and rejected is not None:
        columns = replace(columns, prompt=question or conversation, chosen=chosen, rejected=rejected)
        scores = next((pair for pair in _SCORE_NAMES if all(column in there for column in pair)), None)
        if scores is not None:
            columns = replace(columns, score_chosen=scores[0], score_rejected=scores[1])
    elif question is not None and answer is not None:
        columns = _answered(replace(columns, prompt=question), answer, first("label"))
    elif conversation is not None:
        columns = _answered(columns, conversation, first("label"))
    elif "prompt" in there:
        columns = replace(columns, prompt="prompt")
    else:
        raise _unknown(name, there, question, answer)
    return StandardColumns(columns, tuple(column for column in MEDIA if column in there), _note(name, columns))


def _answered(columns: ColumnsConfig, answer: str, label: str | None) -> ColumnsConfig:
    """The columns with one answer: a rated answer with a label, else a good one."""
    return replace(columns, chosen=answer) if label is None else replace(columns, answer=answer, label=label)


def _note(name: str, columns: ColumnsConfig) -> str:
    named = {key: column for key, column in asdict(columns).items() if key != "pairs" and column is not None}
    others = [f"{column} as {key}" for key, column in named.items() if column not in (key, *_OWN_NAMES)]
    return f"{name}: by their names, columns are read as follows: {', '.join(others)}" if others else ""


def _unknown(name: str, there: Collection[str], question: str | None, answer: str | None) -> DataError:
    mapped = f"prompt: {question or 'COLUMN'}, chosen: {answer or 'COLUMN'}, rejected: COLUMN"
    known = listed(there) or "there are none"
    return DataError(
        f"dataset {name}: what its columns hold is not known ({known}); say it beside the dataset's name, in a file as "
        f"`columns: {{{mapped}}}`, on the command line as -o 'data.training.columns={{{mapped}}}'"
    )
