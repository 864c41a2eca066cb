"""The cells of the simulation: families of metrics whose differences are drawn from one population, or several."""

from collections.abc import Iterator
from dataclasses import dataclass

from populations import Amounts, PairedShares, Pool, Population, Recipe, SharesOfWins, Sizes, pools

METRICS = 8
"""Metrics of a family, independent of each other."""
GROUPS = (12, 30, 60, 200)
FEWEST_HELD = {"normal": 30, "t3": 30, "exponential": 30, "lognormal": 60}
"""Distribution -> the fewest groups from which the bar holds."""
LARGEST_SHARE_HELD = 0.2


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the table."""

    data: str
    """What the differences are, in words."""
    groups: str
    family: tuple[tuple[Population, int], ...]
    """Populations, and how many metrics are drawn from each."""
    is_held: bool
    """Whether `simulate` fails where this cell misses the bar; other cells are printed as they are."""

    @property
    def key(self) -> str:
        """Name of the cell in files."""
        return f"{self.data}, {self.groups}"

    @property
    def is_recipe(self) -> bool:
        """Whether it is judged over training seeds."""
        return isinstance(self.family[0][0], Recipe)


def _amounts() -> Iterator[Cell]:
    of_sizes: dict[Sizes, tuple[str, ...]] = {
        "equal": ("normal", "t3", "exponential", "lognormal"),
        "1-5 rows": ("normal", "exponential"),
        "lognormal sizes": ("normal", "exponential"),
        0.2: ("normal", "t3", "exponential"),
        0.5: ("normal",),
        0.95: ("normal",),
    }
    for sizes, distributions in of_sizes.items():
        words = {"equal": "", "1-5 rows": ", groups of 1-5 rows"}.get(sizes, f", {sizes}")
        if isinstance(sizes, float):
            words = f", one group with {sizes:g} of all"
        is_size_held = not isinstance(sizes, float) or sizes <= LARGEST_SHARE_HELD
        for distribution in distributions:
            for n_groups in GROUPS:
                is_held = is_size_held and n_groups >= FEWEST_HELD[distribution]
                family = ((Amounts(distribution, n_groups, sizes), METRICS),)
                yield Cell(f"{distribution}{words}", str(n_groups), family, is_held)


def _outcomes() -> Iterator[Cell]:
    for n_groups in GROUPS:
        for discordant in (0.04, 0.24):
            family = ((PairedShares(discordant, n_groups), METRICS),)
            yield Cell(f"paired shares, {discordant:.0%} differ", str(n_groups), family, is_held=n_groups >= 30)
        for name, population in (
            ("paired shares, 24% differ, groups of 1-5 rows", PairedShares(0.24, n_groups, "1-5 rows")),
            ("wins against .5", SharesOfWins(0.5, n_groups)),
            ("wins against .5, groups of 1-5 rows", SharesOfWins(0.5, n_groups, "1-5 rows")),
            ("wins against .85", SharesOfWins(0.85, n_groups)),
        ):
            yield Cell(name, str(n_groups), ((population, METRICS),), is_held=n_groups >= 30)


def _recipes() -> Iterator[Cell]:
    for distribution, groups in (("normal", (30, 60, 200)), ("exponential", (60,))):
        for n_seeds in (3, 5):
            for spread in (0.0, 0.3, 1.0, 3.0):
                for n_groups in groups:
                    recipe = Recipe(Amounts(distribution, n_groups), n_seeds, spread)
                    data = f"recipe of {n_seeds} seeds, spread {spread:g}, {distribution}"
                    yield Cell(data, str(n_groups), ((recipe, METRICS),), is_held=True)


def _real() -> Iterator[Cell]:
    for name, pool in pools().items():
        for n_groups in (30, 60, 200):
            yield Cell(f"real: {name}", str(n_groups), ((Pool(name, n_groups), METRICS),), is_held=False)
        if len(pool.totals) not in (30, 60, 200):
            own = len(pool.totals)
            yield Cell(f"real: {name}", f"{own} (its own)", ((Pool(name, own), METRICS),), is_held=False)
    for most, words in ((10**9, "their own"), (60, "at most 60"), (30, "at most 30")):
        suite = tuple((Pool(name, min(most, len(pool.totals))), 1) for name, pool in pools().items())
        yield Cell("real: a suite of all of them, one metric each", words, suite, is_held=most > 60)


CELLS = (*_amounts(), *_outcomes(), *_recipes(), *_real())
