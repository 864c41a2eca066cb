"""List the adapters of an experiment: a first stage, each combination of its sweep with every seed, and controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod
from typing import Any, Literal

from harness.config.limits import MOST_VARIANTS
from harness.config.load import ConfigError, with_values
from harness.config.schema import ExperimentConfig, LoraConfig, Scalar, TrainingConfig
from harness.config.strict_yaml import parse_yaml
from harness.config.wording import shown, shown_name
from harness.data.splits import position_of
from harness.training.recipe import Recipe

RowsOf = Literal["experiment", "sft", "chosen", "shuffled"]
"""The experiment's rows, those of its first stage, the good answers alone, or all with half of the labels swapped."""
ONE_ADAPTER = "adapter"
"""Name of the candidate where a run has only one."""
FIRST_STAGE = "sft"
_SWEPT_SECTIONS = ("training", "lora")
_NAMES_OF_CONTROLS: Mapping[str, str] = {"sft": "control: sft on chosen", "shuffled": "control: shuffled pairs"}
_ROWS_OF_CONTROLS: Mapping[str, RowsOf] = {"sft": "chosen", "shuffled": "shuffled"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One adapter to train, which is one column of the report."""

    name: str
    recipe: Recipe
    rows: RowsOf = "experiment"
    family: str = ""
    """Name shared by all variants that differ only in their training seed; its own name where there is one seed."""
    starts_from_sft: bool = False
    """Whether it continues from the first stage's adapter, which is then its reference."""
    controls: tuple[str, ...] = ()
    """Names of the controls it is compared with."""

    @property
    def is_control(self) -> bool:
        """Whether it is trained only for comparison."""
        return self.rows in _ROWS_OF_CONTROLS.values()


def variants_of(config: ExperimentConfig) -> tuple[Variant, ...]:
    """Return the first stage, then each combination of the sweep: its seeds, then its controls.

    Controls are trained with the experiment's own seed only. Those that are not swept come last.

    Raises:
        ConfigError: the sweep changes a setting that all subjects share, or a value is not allowed.
    """
    shared = () if config.sweep_controls else _controls("", config)
    variants = [
        variant
        for label, combined in _combinations(config).items()
        for variant in _of_combination(label, combined, shared)
    ]
    variants += shared
    if config.sft is None:
        return tuple(variants)
    for variant in variants:
        if _shape(variant.recipe.lora) != _shape(config.lora):
            raise ConfigError(
                f"{variant.name}: lora.rank, lora.alpha and lora.target_modules must be those of the first stage, "
                f"which training continues: both stages share one adapter; sweep something else"
            )
    first = Recipe(config.lora, config.sft.training, config.seed)
    return (Variant(FIRST_STAGE, first, "sft", family=FIRST_STAGE), *variants)


def _shape(lora: LoraConfig) -> tuple[int, int, object]:
    """Return what two stages of one adapter must share."""
    return lora.rank, lora.alpha, lora.target_modules


def _of_combination(label: str, config: ExperimentConfig, shared: tuple[Variant, ...]) -> Iterator[Variant]:
    """Yield the variants of one combination of swept values: all seeds, then all controls that are its own."""
    name = label or (ONE_ADAPTER if config.sft is None else f"{FIRST_STAGE}+{config.training.method}")
    controls = shared or _controls(label, config)
    for seed in range(config.seed, config.seed + config.seeds):
        yield Variant(
            f"{name}, seed {seed}" if config.seeds > 1 else name,
            Recipe(config.lora, config.training, seed),
            family=name,
            starts_from_sft=config.sft is not None,
            controls=tuple(control.name for control in controls),
        )
    yield from () if shared else controls


def _controls(label: str, config: ExperimentConfig) -> tuple[Variant, ...]:
    """Return the controls of one combination of swept values."""
    variants = []
    for control in config.controls:
        name = " ".join(filter(None, (_NAMES_OF_CONTROLS[control], label)))
        training = replace(config.training, method="sft") if control == "sft" else config.training
        recipe = Recipe(config.lora, training, config.seed)
        is_started = config.sft is not None
        variants.append(Variant(name, recipe, _ROWS_OF_CONTROLS[control], family=name, starts_from_sft=is_started))
    return tuple(variants)


def with_sweeps(config: ExperimentConfig, sweeps: Sequence[str]) -> ExperimentConfig:
    """Return the configuration with its sweep replaced by that of the command line, if there is one.

    Args:
        config: configuration of the experiment.
        sweeps: texts KEY=V1,V2.

    Raises:
        ConfigError: a text has no key or no values, a value that nothing is set to, or a key that another one has.
    """
    values: dict[str, list[Any]] = {}
    for text in sweeps:
        origin = f"--sweep {shown_name(text)}"
        key, _, listed = text.partition("=")
        key = key.strip()
        parsed = parse_yaml(f"[{listed}]", origin) if listed.strip() else []
        if not key or not parsed:
            raise ConfigError(f"{origin}: must be KEY=V1,V2, such as --sweep training.learning_rate=5e-6,1e-5")
        if key in values:
            raise ConfigError(f"{origin}: {shown_name(key)} is swept already; write all of its values into one --sweep")
        for value in parsed:
            if not isinstance(value, int | float | str):
                raise ConfigError(f"{origin}: each value must be a number, text, true or false, got {shown(value)}")
        values[key] = parsed
    return with_values(config, {"sweep": values}, {"sweep": "--sweep"}) if values else config


def n_steps(n_rows: int, training: TrainingConfig) -> int:
    """Return the number of optimiser steps of a run, counted as transformers' Trainer does."""
    if training.max_steps is not None:
        return training.max_steps
    n_batches = ceil(n_rows / training.batch_size)
    steps_per_epoch = max(1, ceil(n_batches / training.gradient_accumulation_steps))
    return ceil(steps_per_epoch * training.epochs)


def half_of(ids: Sequence[str], seed: int) -> frozenset[str]:
    """Return a random half of the ids, rounded down, which depends only on the ids and the seed."""
    ordered = sorted(set(ids), key=lambda each: (position_of(each, seed, "shuffled"), each))
    return frozenset(ordered[: len(ordered) // 2])


def _check_number(config: ExperimentConfig) -> None:
    """Check how many adapters there are before they are listed.

    Raises:
        ConfigError: more than `MOST_VARIANTS`.
    """
    n_combinations = prod(map(len, config.sweep.values()))
    n_controls = len(config.controls) * (n_combinations if config.sweep_controls else 1)
    n_variants = n_combinations * config.seeds + n_controls + (config.sft is not None)
    if n_variants > MOST_VARIANTS:
        swept = " x ".join(f"{len(values):,} values of {shown_name(key)}" for key, values in config.sweep.items())
        raise ConfigError(
            f"sweep, seeds, controls: {f'{swept}, ' if swept else ''}{config.seeds:,} seeds and {len(config.controls)} "
            f"controls make {n_variants:,} adapters, and one experiment has at most {MOST_VARIANTS:,}: name fewer"
        )


def _combinations(config: ExperimentConfig) -> dict[str, ExperimentConfig]:
    """Return label -> configuration of each combination of swept values; without a sweep the only label is empty."""
    _check_number(config)
    for key in config.sweep:
        section, _, name = key.partition(".")
        if section not in _SWEPT_SECTIONS or not name:
            raise ConfigError(
                f"sweep: a key must belong to {' or '.join(_SWEPT_SECTIONS)}, because all candidates share model, data "
                f"and seed; got {shown(key)}"
            )
    combinations: dict[str, ExperimentConfig] = {}
    settings: set[tuple[LoraConfig, TrainingConfig]] = set()
    for values in product(*config.sweep.values()):
        swept = dict(zip(config.sweep, values, strict=True))
        label = ", ".join(f"{key.rpartition('.')[2]}={_shown(value)}" for key, value in swept.items())
        combined = with_values(config, swept)
        if label in combinations or (combined.lora, combined.training) in settings:
            raise ConfigError(f"sweep: {shown_name(label)} is named twice, and would be two candidates; name it once")
        settings.add((combined.lora, combined.training))
        combinations[label] = combined
    return combinations


def _shown(value: Scalar) -> str:
    """Return a number as people write it, 5e-6 and not 5e-06, with all the digits that tell it from another."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    mantissa, exponent, power = (short if float(short) == value else repr(value)).partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa
