"""Which adapters an experiment trains: a first stage, each combination of its sweep with every seed, and controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, isfinite, nan
from typing import Any, Literal

from harness.config.load import ConfigError, with_values
from harness.config.schema import ExperimentConfig, Scalar, TrainingConfig
from harness.config.strict_yaml import parse_yaml
from harness.data.splits import position_of
from harness.training.trainer import Recipe
from reports.records import Selection

RowsOf = Literal["experiment", "sft", "chosen", "shuffled"]
"""The experiment's rows, those of its first stage, their good answers alone, or the rows with half of them swapped."""
ONE_ADAPTER = "adapter"
"""What the only candidate of a run is called."""
FIRST_STAGE = "sft"
_SWEPT_SECTIONS = ("training", "lora")
_NAMES_OF_CONTROLS: Mapping[str, str] = {"sft": "control: sft on chosen", "shuffled": "control: shuffled pairs"}
_ROWS_OF_CONTROLS: Mapping[str, RowsOf] = {"sft": "chosen", "shuffled": "shuffled"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One adapter to train, and the column of the report that it becomes."""

    name: str
    recipe: Recipe
    rows: RowsOf = "experiment"
    family: str = ""
    """Name shared by the variants that differ in their training seed alone; its own where there is one seed."""
    starts_from_sft: bool = False
    """Whether it starts from the first stage's adapter, which is then its reference."""
    controls: tuple[str, ...] = ()
    """Names of the variants it is to be held against."""

    @property
    def is_control(self) -> bool:
        """Whether it is there to be held against."""
        return self.rows in _ROWS_OF_CONTROLS.values()


def variants_of(config: ExperimentConfig) -> tuple[Variant, ...]:
    """Every adapter of an experiment: the first stage, then each combination with its seeds and then its controls.

    Controls have the experiment's own seed, whatever number of seeds a combination has.

    Raises:
        ConfigError: the sweep changes what all subjects have to share, or a value is not allowed.
    """
    variants = [
        variant for label, combined in _combinations(config).items() for variant in _of_combination(label, combined)
    ]
    if config.sft is None:
        return tuple(variants)
    first = Recipe(config.lora, config.sft.training, config.seed)
    return (Variant(FIRST_STAGE, first, "sft", family=FIRST_STAGE), *variants)


def _of_combination(label: str, config: ExperimentConfig) -> Iterator[Variant]:
    """One combination of swept values: all of its seeds, then its controls."""
    name = label or (ONE_ADAPTER if config.sft is None else f"{FIRST_STAGE}+{config.training.method}")
    names_of_controls = {
        control: " ".join(filter(None, (_NAMES_OF_CONTROLS[control], label))) for control in config.controls
    }
    for seed in range(config.seed, config.seed + config.seeds):
        yield Variant(
            f"{name}, seed {seed}" if config.seeds > 1 else name,
            Recipe(config.lora, config.training, seed),
            family=name,
            starts_from_sft=config.sft is not None,
            controls=tuple(names_of_controls.values()),
        )
    for control, its_name in names_of_controls.items():
        training = replace(config.training, method="sft") if control == "sft" else config.training
        yield Variant(
            its_name,
            Recipe(config.lora, training, config.seed),
            _ROWS_OF_CONTROLS[control],
            family=its_name,
            starts_from_sft=config.sft is not None,
        )


def with_sweeps(config: ExperimentConfig, sweeps: Sequence[str]) -> ExperimentConfig:
    """The configuration with sweeps of the command line, texts KEY=V1,V2, in place of its own.

    Raises:
        ConfigError: a text without values.
    """
    values: dict[str, tuple[Scalar, ...]] = {}
    for text in sweeps:
        key, _, listed = text.partition("=")
        parsed = parse_yaml(f"[{listed}]", f"--sweep {text}") if listed.strip() else []
        if not key.strip() or not parsed:
            raise ConfigError(f"--sweep {text}: must be KEY=V1,V2, such as --sweep training.learning_rate=5e-6,1e-5")
        values[key.strip()] = tuple(parsed)
    return replace(config, sweep=values) if values else config


def n_steps(n_rows: int, training: TrainingConfig) -> int:
    """Optimiser steps of a run, as transformers' Trainer counts them."""
    if training.max_steps is not None:
        return training.max_steps
    n_batches = ceil(n_rows / training.batch_size)
    a_pass = max(1, ceil(n_batches / training.gradient_accumulation_steps))
    return ceil(a_pass * training.epochs)


def half_of(ids: Sequence[str], seed: int) -> frozenset[str]:
    """A random half of the ids, rounded down, that depends on ids and seed alone."""
    ordered = sorted(set(ids), key=lambda each: (position_of(each, seed, "shuffled"), each))
    return frozenset(ordered[: len(ordered) // 2])


def choose_winner(
    variants: Sequence[Variant], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Selection, ...]:
    """How the combinations of a sweep did on selection rows, seeds averaged, the best one marked; none for one alone.

    Args:
        variants: All of an experiment.
        rows: Name of a variant -> its rows of training.jsonl.
    """
    last: dict[str, list[Mapping[str, Any]]] = {}
    for variant in variants:
        measured = [row for row in rows[variant.name] if row["kind"] == "selection" and _is_judged(row)]
        if measured and not variant.is_control and variant.rows == "experiment":
            last.setdefault(variant.family, []).append(measured[-1])
    if len(last) < 2:  # noqa: PLR2004 - a choice takes two
        return ()

    def mean(family: str, key: str) -> float:
        return sum(float(row[key]) for row in last[family]) / len(last[family])

    def better_first(family: str) -> tuple[float, float]:
        return -mean(family, "rewards/accuracies"), mean(family, "loss")

    winner = min(last, key=better_first)
    return tuple(
        Selection(
            family,
            accuracy=mean(family, "rewards/accuracies"),
            loss=mean(family, "loss"),
            n=int(last[family][0]["n"]),
            is_winner=family == winner,
        )
        for family in last
    )


def _is_judged(row: Mapping[str, Any]) -> bool:
    """Whether a row has an accuracy and a loss that are numbers."""
    return all(isfinite(row.get(key, nan)) for key in ("rewards/accuracies", "loss"))


def _combinations(config: ExperimentConfig) -> dict[str, ExperimentConfig]:
    """Label -> configuration of every combination of swept values; the empty label where nothing is swept."""
    for key in config.sweep:
        section, _, name = key.partition(".")
        if section not in _SWEPT_SECTIONS or not name:
            raise ConfigError(
                f"sweep: a key must be of {' or '.join(_SWEPT_SECTIONS)}, because all candidates share model, data and "
                f"seed; got {key!r}"
            )
    combinations: dict[str, ExperimentConfig] = {}
    for values in product(*config.sweep.values()):
        swept = dict(zip(config.sweep, values, strict=True))
        label = ", ".join(f"{key.rpartition('.')[2]}={_shown(value)}" for key, value in swept.items())
        combinations[label] = with_values(config, swept)
    return combinations


def _shown(value: Scalar) -> str:
    """A number as people write it: 5e-6, not 5e-06."""
    if not isinstance(value, float):
        return str(value)
    mantissa, exponent, power = f"{value:g}".partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa
