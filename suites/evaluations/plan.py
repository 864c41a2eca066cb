"""The plan of an evaluation whose rows are scored: encoded rows, the requests they need, and counts of what changed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from reports.scores import ScoredExamples
from suites.engine.encoding import EncodedResponse
from suites.inputs import Example, Pair, Question, Request

Item = TypeVar("Item", Example, Pair)


@dataclass(frozen=True)
class EvaluationPlan(Generic[Item]):
    """Rows of one evaluation, encoded once for all subjects."""

    rows: tuple[Item, ...]
    responses: tuple[tuple[EncodedResponse, ...], ...]
    """Encoded responses of each row: the right one and then the wrong ones of an example, chosen and rejected of a
    pair."""
    touched: dict[str, int]
    """Rule of the encoder -> number of rows it changed."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason -> number of rows that are not scored."""
    n_vocabulary: int | None = None
    """Number of different tokens; None where no metric needs it."""

    @cached_property
    def examples(self) -> ScoredExamples:
        """Ids and groups of the rows, once for all metrics and subjects."""
        return examples_of(self.rows)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request of the rows once, in the order of the rows."""
        return tuple(dict.fromkeys(response.request for responses in self.responses for response in responses))


def examples_of(rows: Iterable[Example] | Iterable[Pair] | Iterable[Question]) -> ScoredExamples:
    """Returns the ids and groups of rows as columns."""
    names = [(row.example_id, row.group) for row in rows]
    return ScoredExamples.of((example_id for example_id, _ in names), (group for _, group in names))
