"""How often what is said of a cell's experiments is right or wrong, counted over all of them."""

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cells import Cell
from judgements import MARGIN, Bools, Judge, Judgements
from populations import Differences

BEFORE_FILE = Path(__file__).parent / "before.csv"
"""What the code of commit 798d4d3 said of the same cells: see before.py."""
A_CHUNK = 500
"""Experiments in memory at a time."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share itself; NaN of none."""
        return self.hits / self.n if self.n else float("nan")

    def bound(self, *, upper: bool, level: float = 0.99) -> float:
        """One-sided Clopper-Pearson bound (Biometrika 26, 1934): a share that gives such counts in 1 - level."""
        from scipy.stats import beta

        if upper:
            return 1.0 if self.hits == self.n else float(beta.ppf(level, self.hits + 1, self.n - self.hits))
        return 0.0 if self.hits == 0 else float(beta.ppf(1 - level, self.hits, self.n - self.hits + 1))


Rates = Mapping[str, Share]
"""Measure -> its share; what each counts stands in docs/statistics.md, above the table."""
STOPS = {1: "false stops of a rise", -1: "false stops of a fall"}


@dataclass(frozen=True, slots=True)
class Experiments:
    """How many experiments a cell has."""

    null: int
    """With nothing to be found."""
    margin: int
    """With all metrics at their margins, in either direction."""
    power: int
    """For each of three effects; each metric counts by itself."""


def cell_rates(cell: Cell, judge: Judge, experiments: Experiments) -> Rates:
    """Returns every measure of a cell; the same cell has the same draws whenever it is run."""
    rng = np.random.default_rng(zlib.crc32(cell.key.encode()))

    def said(effect: float, n_experiments: int) -> Iterator[tuple[Judgements, Bools]]:
        """Yields chunks of judgements, and which true differences are what they should be."""
        for start in range(0, n_experiments, A_CHUNK):
            n_drawn = min(A_CHUNK, n_experiments - start)
            blocks = [each.draw(rng, (n_drawn, n_metrics), effect) for each, n_metrics in cell.family]
            yield judge(blocks), np.concatenate([_is_reached(each, effect) for each in blocks], axis=1)

    def total(effect: float, n_experiments: int, of: Callable[[Judgements, Bools], Bools]) -> Share:
        return _sum(_share(of(judged, is_reached)) for judged, is_reached in said(effect, n_experiments))

    def found(effect: float) -> Share:
        return total(effect, experiments.power, lambda judged, _: judged.alone == np.sign(effect))

    parts = [_null_rates(judged, is_recipe=cell.is_recipe) for judged, _ in said(0.0, experiments.null)]
    rates = {measure: _sum(part[measure] for part in parts) for measure in parts[0]}
    if not cell.is_recipe:
        stops = [rates.pop(direction) for direction in STOPS.values()]
        unchanged = [
            total(effect, experiments.margin, lambda judged, is_reached: (judged.unchanged & is_reached).any(axis=1))
            for effect in (MARGIN, -MARGIN)
        ]
        rates |= {"false stops": _worse(stops), "false no change": _worse(unchanged)}
    return rates | {"power": found(2.8), "power away": found(-2.8), "power away 5.6": found(-5.6)}


def _null_rates(judged: Judgements, *, is_recipe: bool) -> dict[str, Share]:
    """Returns the rates of experiments in which there is nothing to be found; stops by direction."""
    rates = {
        "false claims": _share((judged.in_family != 0).any(axis=1)),
        "coverage": _share(judged.covered[judged.has_interval]),
        "cannot tell": _share(~judged.has_interval.all(axis=1)),
    }
    if not is_recipe:
        stops = judged.stops
        rates |= {name: _share((stops == loss).any(axis=1)) for loss, name in STOPS.items()}
    return rates


def _is_reached(drawn: Differences, effect: float) -> Bools:
    """Returns which true differences are what they should be: a share cannot leave 0 to 1."""
    return np.isclose(drawn.truth, effect * drawn.true_error)


def _share(which: Bools) -> Share:
    return Share(int(which.sum()), which.size)


def _sum(shares: Iterable[Share]) -> Share:
    """Returns the share of several sets of experiments together."""
    known = list(shares)
    return Share(sum(share.hits for share in known), sum(share.n for share in known))


def _worse(directions: Sequence[Share]) -> Share:
    """Returns the larger share: a difference may go either way, and the population be skewed against it."""
    return max(directions, key=lambda share: share.value)


def read_rates(path: Path) -> dict[str, Rates]:
    """Returns cell -> rates of a file with a line for each cell and measure."""
    rates: dict[str, dict[str, Share]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rates.setdefault(row["cell"], {})[row["measure"]] = Share(int(row["hits"]), int(row["n"]))
    return dict(rates)


def write_rates(path: Path, rates: Mapping[str, Rates]) -> None:
    """Writes what `read_rates` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("cell", "measure", "hits", "n"))
        writer.writerows(
            (cell, measure, share.hits, share.n) for cell, own in rates.items() for measure, share in own.items()
        )
