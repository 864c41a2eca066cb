"""Makes pairs, rated answers, examples and questions with the checks that all datasets share, and one from another."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from harness.data.row import LeftOut
from suites.inputs import Example, Pair, Prompt, Question, RatedAnswer, Turn, content_id

Trainable = Pair | RatedAnswer | Example
"""A row to train on: a pair by dpo, a rated answer by kto, an example by sft."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class RankedAnswer:
    """One of several answers to a prompt."""

    text: str
    rank: float
    """A score, or any number that is higher for a better answer."""


@dataclass(frozen=True, slots=True)
class OverlapQuery:
    """What training rows are searched for on behalf of one evaluation row."""

    texts: tuple[str, ...]
    """A training row that holds any one of them overlaps the evaluation row."""
    group: str = ""
    """Group of the evaluation row; "" where no training row can share it."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text, without case, punctuation, whitespace and typographic variants."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def first_user_text(prompt: Prompt) -> str:
    """The text of the first user turn; "" where there is none."""
    return next((turn.text for turn in prompt if turn.speaker == "user"), "")


def group_of(text: str) -> str:
    """The group of all rows that share a text, whatever its case, punctuation and whitespace."""
    return content_id(words(text) or text.strip())


def merged_turns(turns: Iterable[Turn]) -> Prompt:
    """The turns with successive turns of one speaker joined, as chat templates need them; not those of tools."""
    merged: list[Turn] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last and last.speaker == turn.speaker != "tool" and not (last.details or turn.details):
            merged[-1] = replace(last, text=f"{last.text}\n\n{turn.text}")
        else:
            merged.append(turn)
    return tuple(merged)


def with_system(system: str, turns: Sequence[Turn]) -> Prompt:
    """The turns with a system turn before them, unless its text is blank."""
    return (Turn("system", system.strip()), *turns) if system.strip() else tuple(turns)


def make_pair(
    prompt: Sequence[Turn],
    chosen: str,
    rejected: str,
    *,
    source: str,
    group: str | None = None,
    score_gap: float | None = None,
) -> Pair | LeftOut:
    """Makes a pair, unless its prompt or its answers cannot be used.

    Args:
        prompt: Turns with stripped texts, the last one the user's.
        chosen: Stripped text of the preferred answer.
        rejected: Stripped text of the other answer.
        source: Part of the dataset that the pair comes from.
        group: Group of dependent rows; None takes the group of the first user turn.
        score_gap: How much higher the dataset scores the chosen answer.
    """
    turns = merged_turns(prompt)
    if not chosen or not rejected:
        return LeftOut("empty answer")
    if chosen == rejected:
        return LeftOut("equal answers")
    problem = _problem(turns)
    if problem is not None:
        return problem
    return Pair(
        example_id=content_id(turns, chosen, rejected),
        group=group if group is not None else group_of(first_user_text(turns)),
        source=source,
        prompt=turns,
        chosen=chosen,
        rejected=rejected,
        score_gap=score_gap,
    )


def split_conversations(*conversations: Prompt) -> tuple[Prompt, tuple[str, ...]] | LeftOut:
    """Splits conversations into their common prompt and their last turns, which must be the assistant's."""
    prompt = conversations[0][:-1]
    if not all(turns and turns[-1].speaker == "assistant" for turns in conversations):
        return LeftOut("no conversation that ends with an assistant turn")
    if any(turns[:-1] != prompt for turns in conversations):
        return LeftOut("the two sides do not share their prompt")
    return prompt, tuple(turns[-1].text for turns in conversations)


def make_ranked_pairs(
    prompt: Sequence[Turn],
    answers: Iterable[RankedAnswer],
    *,
    take: Literal["best_worst", "all"],
    has_scores: bool,
    source: str,
    group: str | None = None,
) -> tuple[Pair | LeftOut, ...] | LeftOut:
    """Makes pairs of answers of different rank to one prompt; blank answers are skipped.

    Args:
        prompt: As for `make_pair`.
        answers: Answers in any order; of those with the highest rank the first is the best, of those with the lowest
            rank the last is the worst.
        take: Pair the best answer with the worst, or every answer with every answer of lower rank.
        has_scores: Whether ranks are scores, so that their difference is a score gap.
        source: As for `make_pair`.
        group: As for `make_pair`.
    """
    ranked = sorted((each for each in answers if each.text.strip()), key=lambda each: -each.rank)
    if len(ranked) < 2:  # noqa: PLR2004 - a pair
        return LeftOut("fewer than two answers")
    if ranked[0].rank == ranked[-1].rank:
        return LeftOut("answers of equal rank")
    sides = [(ranked[0], ranked[-1])] if take == "best_worst" else combinations(ranked, 2)
    return tuple(
        make_pair(
            prompt,
            better.text.strip(),
            worse.text.strip(),
            source=source,
            group=group,
            score_gap=better.rank - worse.rank if has_scores else None,
        )
        for better, worse in sides
        if better.rank > worse.rank
    )


def make_rated_answer(
    prompt: Sequence[Turn], response: str, *, is_good: bool, source: str, group: str | None = None
) -> RatedAnswer | LeftOut:
    """Makes a rated answer, unless its prompt or its answer cannot be used; arguments as for `make_pair`."""
    turns = merged_turns(prompt)
    problem = LeftOut("empty answer") if not response else _problem(turns)
    if problem is not None:
        return problem
    example_id = content_id(turns, response, is_good)
    return RatedAnswer(example_id, group or group_of(first_user_text(turns)), source, turns, response, is_good)


def make_example(
    prompt: str | Sequence[Turn], response: str, wrong_responses: Iterable[str] = (), *, group: str | None = None
) -> Example | LeftOut:
    """Makes an example, unless its prompt or response is empty; texts are stripped, blank wrong responses dropped.

    A prompt that is a text is one user turn. The group is that of the first user turn unless one is given.
    """
    turns = (Turn("user", prompt.strip()),) if isinstance(prompt, str) else merged_turns(prompt)
    answer = response.strip()
    wrong = tuple(text.strip() for text in wrong_responses if text.strip())
    problem = _problem(turns)
    if problem is not None:
        return problem
    if not answer:
        return LeftOut("empty answer")
    if answer in wrong:
        return LeftOut("right answer among the wrong ones")
    return Example(content_id(turns, answer, wrong), group or group_of(first_user_text(turns)), turns, answer, wrong)


def make_question(prompt: Sequence[Turn], *, kind: str = "", group: str | None = None) -> Question | LeftOut:
    """Makes a question, unless its prompt cannot be used; its group is that of its first user turn unless given."""
    turns = merged_turns(prompt)
    problem = _problem(turns)
    if problem is not None:
        return problem
    return Question(content_id(turns, kind), group or group_of(first_user_text(turns)), turns, kind)


def example_of_pair(pair: Pair) -> Example:
    """The example whose right response is the pair's chosen answer, with the rejected one as a wrong response."""
    return Example(pair.example_id, pair.group, pair.prompt, pair.chosen, (pair.rejected,))


def example_of_rated(rated: RatedAnswer) -> Example:
    """The example whose right response is a good answer."""
    return Example(rated.example_id, rated.group, rated.prompt, rated.response)


def rated_of_pair(pair: Pair) -> tuple[RatedAnswer, RatedAnswer]:
    """The pair's chosen answer as a good one, its rejected answer as a bad one."""
    good, bad = (
        RatedAnswer(content_id(pair.prompt, response, is_good), pair.group, pair.source, pair.prompt, response, is_good)
        for response, is_good in ((pair.chosen, True), (pair.rejected, False))
    )
    return good, bad


def answers_of(row: Trainable) -> tuple[str, ...]:
    """The answers that training sees: chosen and rejected of a pair, or the only response."""
    return (row.chosen, row.rejected) if isinstance(row, Pair) else (row.response,)


def question_of(row: Trainable) -> Question:
    """The question that a row's prompt asks."""
    return Question(content_id(row.prompt, ""), row.group, row.prompt)


def overlap_query(row: Trainable | Question) -> OverlapQuery:
    """The last and the first user turn of a row's prompt, and its group."""
    return OverlapQuery(tuple(dict.fromkeys((row.prompt[-1].text, first_user_text(row.prompt)))), row.group)


def one_example_an_answer(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Joins examples of the same prompt and response into one with all their wrong responses, in alphabetical order.

    An answer that is preferred to several others is then scored and counted once. If the joined examples have different
    groups, the alphabetically first group is taken, so that the order of rows does not matter.
    """
    wrong: dict[tuple[Prompt, str], set[str]] = {}
    groups: dict[tuple[Prompt, str], str] = {}
    for example in examples:
        key = (example.prompt, example.response)
        wrong.setdefault(key, set()).update(example.wrong_responses)
        groups[key] = min(groups.get(key, example.group), example.group)
    joined = []
    for (prompt, response), others in wrong.items():
        wrong_responses = tuple(sorted(others))
        example_id = content_id(prompt, response, wrong_responses)
        joined.append(Example(example_id, groups[prompt, response], prompt, response, wrong_responses))
    return tuple(joined)


def _problem(turns: Prompt) -> LeftOut | None:
    """Why a prompt cannot be used; None where it can."""
    if not turns or turns[-1].speaker not in ("user", "tool"):
        return LeftOut("prompt does not end with a user turn")
    if not any(turn.speaker == "user" for turn in turns):
        return LeftOut("prompt without a user turn")
    if not all(turn.text or turn.details for turn in turns):
        return LeftOut("empty turn in the prompt")
    return None
