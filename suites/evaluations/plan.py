"""The plan of an evaluation whose rows are scored: encoded rows, the requests they need, and counts of what changed."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from suites.engine.encoding import EncodedResponse
from suites.inputs import Example, Pair, Request

Item = TypeVar("Item", Example, Pair)


@dataclass(frozen=True, slots=True)
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

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request of the rows once, in the order of the rows."""
        return tuple(dict.fromkeys(response.request for responses in self.responses for response in responses))
