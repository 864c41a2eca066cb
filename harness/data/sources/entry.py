"""What the catalogue holds of a dataset; every family lists its entries as `DATASETS`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from harness.data.make import OverlapQuery, Trainable, overlap_query
from harness.data.row import LeftOut, Row
from suites.inputs import Example, Pair, Question, RatedAnswer

Made = TypeVar("Made")
Adapter: TypeAlias = Callable[[Row], Made | LeftOut | tuple[Made | LeftOut, ...]]
"""Makes one thing or several of a raw row, or gives the reason why a row cannot be used."""


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """How the rows of one dataset are read. Exactly one of the four adapters is set."""

    name: str
    """Hub id; followed by :CONFIGURATION where the configurations have different columns, and by #READING where the
    same rows can be read in several ways."""
    columns: tuple[str, ...]
    """The columns that the adapter reads."""
    licence: str
    group: str
    """What rows of one group share, in the words of `harness list datasets`."""
    pair: Adapter[Pair] | None = None
    rated: Adapter[RatedAnswer] | None = None
    example: Adapter[Example] | None = None
    question: Adapter[Question] | None = None
    overlap_query: Callable[[Trainable | Question], OverlapQuery] = overlap_query
    """Returns the texts of an evaluation row that training rows are searched for."""
    configurations: tuple[str, ...] = ("",)
    """The configurations that may follow the colon; "" is none."""
    folder_configurations: bool = False
    """Whether the hub keeps the configurations as folders without listing them."""
    training_splits: tuple[str, ...] = ("train",)
    """Splits to train on where none is named, best first."""
    measuring_splits: tuple[str, ...] = ("test", "validation")
    """Splits to measure on where none is named, best first."""
    is_listed: bool = True
    """Whether it stands in the catalogue, rather than being made from the columns of a dataset."""

    @property
    def offers(self) -> tuple[str, ...]:
        """What its rows can serve as: pairs also as rated answers, good answers as examples, all rows as questions."""
        kinds = ("pairs", "rated answers", "examples", "questions")
        adapters = (self.pair, self.rated, self.example, self.question)
        return kinds[next(index for index, adapter in enumerate(adapters) if adapter is not None) :]
