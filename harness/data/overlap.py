"""Overlap between training rows and what is measured: a score on a question seen in training proves nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from harness.data.make import OverlapQuery, Trainable, answers_of, first_user_text, words

AnyTrainable = TypeVar("AnyTrainable", bound=Trainable)

GRAM_WORDS = 5
"""Words of one n-gram."""
SHORTEST_SEARCHED_WORDS = 4
"""Words that a text needs to be searched for within training texts; shorter ones occur everywhere."""
_N_EXAMPLES = 3
_QUOTED_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One evaluation row and one training row that overlap."""

    text: str
    """First text of the evaluation row."""
    training_id: str
    """Id of the training row."""


@dataclass(frozen=True, slots=True)
class RoleOverlap:
    """Overlap of the training rows with the rows of one role."""

    n_rows: int
    """Rows of the role that overlap some training row."""
    n_training_rows: int
    """Training rows that overlap some row of the role."""
    examples: tuple[Finding, ...]
    """At most three overlapping rows, to show."""
    rows: frozenset[int] = frozenset()
    """Positions of the overlapping rows among the role's."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlap of the training rows with everything that is measured."""

    training_ids: frozenset[str]
    """Ids of the training rows that overlap any role."""
    by_role: Mapping[str, RoleOverlap]
    """Role -> its overlap; roles without any are listed with zeros."""


@dataclass(frozen=True, slots=True)
class _Index:
    """The texts to search for, as words, and the texts that each n-gram occurs in."""

    rows: Mapping[tuple[str, ...], Sequence[int]]
    """Text -> numbers of the evaluation rows that have it."""
    groups: Mapping[str, Sequence[int]]
    """Group -> numbers of its evaluation rows."""
    texts: Sequence[tuple[str, ...]]
    """The texts that are long enough to be searched for within training texts."""
    n_grams: Sequence[int]
    """Number of different n-grams of each of `texts`."""
    by_gram: Mapping[tuple[str, ...], Sequence[int]]
    """n-gram -> positions in `texts`."""
    gram_lengths: frozenset[int]
    """Lengths of the n-grams in words: five, and less for shorter texts."""


def find_overlap(training: Iterable[Trainable], evaluation: Mapping[str, Sequence[OverlapQuery]]) -> Overlap:
    """Finds the training rows that overlap evaluation rows.

    Texts are compared as words, without case, punctuation and whitespace. A training row overlaps an evaluation row if

    - both have the same group, or the training row's first user turn equals the evaluation text, or
    - the text has four or more words and is contained in a turn or an answer of the training row, or
    - at least 80 % of the text's different 5-word n-grams occur in the training row (n-gram overlap as in Brown et al.
      2020, "Language Models are Few-Shot Learners", appendix C, with n-grams short enough for short questions).

    A text of three words or fewer ("Hi", "Who are you?") occurs in too many rows to prove anything: it overlaps only
    as a whole first user turn. A contained text has all its 5-grams in the row, so one index serves the second and the
    third rule; a text of four words is its own only 4-gram.

    Args:
        training: The rows to be trained on.
        evaluation: Role -> the texts and groups of its rows.

    Returns:
        The ids of the training rows that overlap, and counts and examples by role.
    """
    flat = [(role, row) for role, rows in evaluation.items() for row in rows]
    index = _index([row for _, row in flat])
    found: dict[str, dict[int, str]] = {role: {} for role in evaluation}  # role -> row -> first training id
    training_ids: dict[str, set[str]] = {role: set() for role in evaluation}
    for trained in training:
        for number in _matches(trained, index):
            role = flat[number][0]
            found[role].setdefault(number, trained.example_id)
            training_ids[role].add(trained.example_id)
    first = dict(zip(evaluation, accumulate(map(len, evaluation.values()), initial=0), strict=False))
    by_role = {
        role: RoleOverlap(
            n_rows=len(rows),
            n_training_rows=len(training_ids[role]),
            examples=tuple(
                Finding(flat[number][1].texts[0], example_id) for number, example_id in list(rows.items())[:_N_EXAMPLES]
            ),
            rows=frozenset(number - first[role] for number in rows),
        )
        for role, rows in found.items()
    }
    return Overlap(frozenset().union(*training_ids.values()), by_role)


def _index(evaluation: Sequence[OverlapQuery]) -> _Index:
    rows: dict[tuple[str, ...], list[int]] = {}
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(evaluation):
        if row.group:
            groups.setdefault(row.group, []).append(number)
        for text in {words(text) for text in row.texts} - {()}:
            rows.setdefault(text, []).append(number)
    texts = [text for text in rows if len(text) >= SHORTEST_SEARCHED_WORDS]
    by_gram: dict[tuple[str, ...], list[int]] = {}
    n_grams = []
    for position, text in enumerate(texts):
        grams = set(_grams(text, min(len(text), GRAM_WORDS)))
        n_grams.append(len(grams))
        for gram in grams:
            by_gram.setdefault(gram, []).append(position)
    return _Index(rows, groups, texts, n_grams, by_gram, frozenset(len(gram) for gram in by_gram))


def _matches(trained: Trainable, index: _Index) -> set[int]:
    """Numbers of the evaluation rows that one training row overlaps."""
    matches = set(index.groups.get(trained.group, ()))
    matches.update(index.rows.get(words(first_user_text(trained.prompt)), ()))
    # n-grams stay within a turn: words on both sides of the end of a turn do not quote anything.
    parts = [words(text) for text in (*(turn.text for turn in trained.prompt), *answers_of(trained))]
    grams = {gram for part in parts for length in index.gram_lengths for gram in _grams(part, length)}
    shared = Counter(position for gram in grams & index.by_gram.keys() for position in index.by_gram[gram])
    for position, n_shared in shared.items():
        if 5 * n_shared >= 4 * index.n_grams[position]:  # 80 %, in whole numbers
            matches.update(index.rows[index.texts[position]])
    return matches


def _grams(text: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(text[start:] for start in range(length)), strict=False)


def without(training: Iterable[AnyTrainable], overlap: Overlap) -> tuple[AnyTrainable, ...]:
    """The training rows without those that overlap a role."""
    return tuple(row for row in training if row.example_id not in overlap.training_ids)


def notes_on_dropped(overlap: Overlap, *, is_dropped: bool) -> tuple[str, ...]:
    """A line for each role whose questions occur in rows to be trained on, and what is done with these."""
    done = "dropped" if is_dropped else "kept (data.overlap is warn)"
    return tuple(
        f"overlap with {role}: {each.n_training_rows} training rows {done}, for {each.n_rows} of its questions, "
        f"such as {quoted(each)}"
        for role, each in overlap.by_role.items()
        if each.n_rows
    )


def quoted(overlap: RoleOverlap) -> str:
    """The example texts in quotation marks, each on one line and cut so that three fit into a note."""
    lines = [" ".join(example.text.split()) for example in overlap.examples]
    cut = [line if len(line) <= _QUOTED_CHARACTERS else line[: _QUOTED_CHARACTERS - 3] + "..." for line in lines]
    return "; ".join(f'"{line}"' for line in cut)
