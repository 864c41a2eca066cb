"""The texts of examples, made or read again whenever they are gone through, so that they take no memory meanwhile."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, zip_longest

from reports.records import ExampleText

Wanted = Mapping[str, Collection[str]]
"""Evaluation -> ids of its examples."""
Found = dict[tuple[str, str], ExampleText]
"""(evaluation, id) -> texts."""


class ExampleTexts(Iterable[ExampleText]):
    """Texts that a function makes; they can be gone through any number of times."""

    def __init__(
        self, make: Callable[[], Iterable[ExampleText]], find: Callable[[Wanted], Found] | None = None
    ) -> None:
        """Take the function that makes the texts, and one that finds some of them without going through all."""
        self._make = make
        self._find = find

    def __iter__(self) -> Iterator[ExampleText]:
        return iter(self._make())

    def __eq__(self, other: object) -> bool:
        """Whether the other ones, or a tuple of texts, are the same in the same order."""
        if not isinstance(other, ExampleTexts | tuple):
            return NotImplemented
        return self is other or all(one == two for one, two in zip_longest(self, other))

    def __hash__(self) -> int:
        return hash(type(self))

    def of(self, wanted: Wanted) -> Found:
        """Return the texts of the wanted examples; see `texts_of`."""
        return _gone_through(self, wanted) if self._find is None else self._find(wanted)


def joined_texts(*parts: Iterable[ExampleText]) -> ExampleTexts:
    """Return texts, those of each part after those of the one before."""
    return ExampleTexts(
        partial(chain, *parts),
        lambda wanted: {key: text for part in parts for key, text in texts_of(part, wanted).items()},
    )


def texts_of(examples: Iterable[ExampleText], wanted: Wanted) -> Found:
    """Return the texts of the wanted examples that have some; of several the last."""
    if not any(wanted.values()):
        return {}
    return examples.of(wanted) if isinstance(examples, ExampleTexts) else _gone_through(examples, wanted)


def _gone_through(examples: Iterable[ExampleText], wanted: Wanted) -> Found:
    sets = {evaluation: frozenset(ids) for evaluation, ids in wanted.items()}
    return {
        (each.evaluation, each.example_id): each
        for each in examples
        if each.evaluation in sets and each.example_id in sets[each.evaluation]
    }
