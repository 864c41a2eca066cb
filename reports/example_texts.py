"""The texts of examples, made or read again whenever they are gone through, so that they take no memory meanwhile."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import zip_longest

from reports.records import ExampleText


class ExampleTexts(Iterable[ExampleText]):
    """Texts that a function makes; they can be gone through any number of times."""

    def __init__(self, make: Callable[[], Iterable[ExampleText]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[ExampleText]:
        return iter(self._make())

    def __eq__(self, other: object) -> bool:
        """Whether the other ones, or a tuple of texts, are the same in the same order."""
        if not isinstance(other, ExampleTexts | tuple):
            return NotImplemented
        return self is other or all(one == two for one, two in zip_longest(self, other))

    def __hash__(self) -> int:
        return id(type(self))


def texts_of(
    examples: Iterable[ExampleText], wanted: Mapping[str, Collection[str]]
) -> dict[tuple[str, str], ExampleText]:
    """Map (evaluation, id) to the texts of the wanted examples that have some; of several the last.

    Args:
        examples: Texts, which are gone through once.
        wanted: Evaluation -> ids of its examples.
    """
    sets = {evaluation: frozenset(ids) for evaluation, ids in wanted.items() if ids}
    if not sets:
        return {}
    return {
        (each.evaluation, each.example_id): each
        for each in examples
        if each.evaluation in sets and each.example_id in sets[each.evaluation]
    }
