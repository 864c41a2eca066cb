"""What every format shows of a run, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds, over_seeds
from reports.records import Run
from reports.rendering.content.blocks import Section
from reports.rendering.content.differences import DifferenceTable, Matrix, first_table
from reports.rendering.content.headline import Headline, headline
from reports.rendering.content.sections.order import sections


@dataclass(frozen=True)
class Report:
    """A run with its comparisons, and what follows from them when a format first asks for it."""

    run: Run
    comparisons: Sequence[Comparison]
    """Result of `compare`."""

    @cached_property
    def recipes(self) -> tuple[OverSeeds, ...]:
        """Primary metrics of recipes over their training seeds."""
        return tuple(over_seeds(self.run, self.comparisons))

    @cached_property
    def headline(self) -> Headline | None:
        """The answer in a few lines; None without a candidate."""
        return headline(self.run, self.comparisons, self.recipes)

    @cached_property
    def table(self) -> DifferenceTable | Matrix | None:
        """The table that it opens with; None without a candidate."""
        return first_table(self.run, self.comparisons, self.recipes)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Its sections in order, in the layout of paired differences; the first one has its title."""
        return sections(self.run, self.comparisons, self.recipes, self.headline, self.table)
