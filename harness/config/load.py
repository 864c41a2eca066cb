"""Configuration files: strict YAML and KEY=VALUE overrides in, frozen dataclasses out.

An override wins over the file, the file over the defaults in `schema.py`.
"""

import dataclasses
import importlib.resources
import keyword
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from harness.config.schema import EvaluationConfig, ExperimentConfig, ModelConfig, RowKind, SuiteConfig
from harness.config.strict import InvalidValuesError, Problem, build, holds_text, to_plain
from harness.config.strict_yaml import as_mapping, dump_yaml, parse_yaml, read_yaml_mapping
from harness.config.wording import did_you_mean, listed, shown, shown_name
from reports.errors import UserError
from reports.paths import expanded
from reports.records import gate_contradictions
from suites.engine.chat_template import GIVEN_NAMES

DEFAULT_PRESET = "tiny"
TASK_ROLES = ("lm_eval_tasks", "capability_tasks")
"""Roles that hold lm-eval tasks instead of a dataset."""
_YAML_SUFFIXES = (".yaml", ".yml")
_DEEPEST_KEY = 16
"""Parts of a key such as data.roles.NAME.columns.prompt; more cannot be one."""
_FOR_ROWS: Mapping[str, RowKind] = {"chat_template": "tasks", "max_new_tokens": "questions"}
"""Key of an evaluation -> the rows of the kinds that read it."""
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(EvaluationConfig)}

Config = TypeVar("Config", ExperimentConfig, SuiteConfig)


class ConfigError(UserError):
    """A configuration with wrong values; the message has one line for each problem."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Override:
    """A value from `-o section.key=value` or a sweep, in place of the file's."""

    origin: str
    """The option or the sweep, as the first words of a message."""
    path: tuple[str, ...]
    value: Any


def preset_names() -> list[str]:
    """Names of the presets that ship with the project, sorted."""
    return _yaml_names(_presets())


def suite_names() -> list[str]:
    """Names of the suites that ship with the project, sorted."""
    return _yaml_names(_suites())


def load_experiment(
    preset: str | None = None, config_file: Path | None = None, overrides: Sequence[str] = ()
) -> ExperimentConfig:
    """The experiment that a preset or a file describes, with overrides applied.

    Args:
        preset: name of a preset; None is "tiny", unless `config_file` takes its place.
        config_file: YAML file that is used instead of a preset.
        overrides: texts `section.key=value`. The value is YAML, for a key that holds text the text as it is (nothing,
            or `null`, is null), and replaces the old value as a whole; later overrides win.

    Raises:
        ConfigError: both a preset and a file, an unknown preset, or values that are not allowed.
        YamlError: a file or an override that is not YAML.
    """
    if preset is not None and config_file is not None:
        both = f"--preset {shown_name(preset)} and --config {shown_name(str(config_file))}"
        raise ConfigError(f"{both} exclude each other: name one")
    if config_file is not None:
        values, source = read_yaml_mapping(config_file), shown_name(str(config_file))
    else:
        values, source = _shipped("preset", preset or DEFAULT_PRESET, _presets())
    parsed = [_parse_override(text) for text in overrides]
    for override in parsed:
        values = _with_override(values, override)
    return _build(ExperimentConfig, values, source, parsed, _experiment_contradictions)


def load_suite(name_or_file: str, kinds: Mapping[str, RowKind]) -> SuiteConfig:
    """The suite of that name, or of that file where the text ends in .yaml or .yml.

    Args:
        name_or_file: name of a suite that ships with the project, or path of a YAML file.
        kinds: kind of evaluation -> the rows it measures; a suite may name no other kind.

    Raises:
        ConfigError: an unknown name, or values that are not allowed.
        YamlError: a file that is not YAML.
    """
    if name_or_file.endswith(_YAML_SUFFIXES):
        values, source = read_yaml_mapping(expanded(name_or_file)), shown_name(name_or_file)
    else:
        values, source = _shipped("suite", name_or_file, _suites())
    return _build(SuiteConfig, values, source, (), lambda suite: _suite_contradictions(suite, kinds))


def to_dict(config: ExperimentConfig | SuiteConfig) -> dict[str, Any]:
    """The resolved configuration as mappings, lists, texts, numbers, booleans and None."""
    return to_plain(config)


def to_yaml(config: ExperimentConfig | SuiteConfig) -> str:
    """The resolved configuration as YAML that loads back to an equal one."""
    return dump_yaml(to_dict(config))


def with_values(
    config: ExperimentConfig, values: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> ExperimentConfig:
    """The experiment with values changed at keys such as training.learning_rate.

    Args:
        config: the experiment.
        values: key -> its new value.
        origins: key -> the option that the user typed, for messages; without one it is the sweep.

    Raises:
        ConfigError: no such key, or a value that is not allowed.
    """
    named = {key: f"sweep {shown_name(key)}={shown(value)}" for key, value in values.items()} | dict(origins or {})
    overrides = [_Override(named[key], tuple(key.split(".")), value) for key, value in values.items()]
    changed = to_dict(config)
    for override in overrides:
        changed = _with_override(changed, override)
    return _build(ExperimentConfig, changed, config.name, overrides, _experiment_contradictions)


def check_roles(experiment: ExperimentConfig, suite: SuiteConfig, kinds: Mapping[str, RowKind]) -> None:
    """Checks that the experiment binds every role that the suite measures.

    Raises:
        ConfigError: a role without a dataset, or without tasks where its evaluation measures tasks.
    """
    problems = []
    for evaluation in suite.evaluations:
        where = f"suite {suite.name}: evaluation {evaluation.name} (kind {evaluation.kind})"
        role = shown_name(evaluation.role)
        if kinds[evaluation.kind] == "tasks":
            if not experiment.data.tasks[evaluation.role]:
                problems.append(f"{where} needs data.{evaluation.role}, which is empty in {experiment.name}")
        elif evaluation.role not in experiment.data.roles:
            bound = listed(experiment.data.roles) or "none"
            problems.append(
                f"{where} needs data.roles.{role}, which {experiment.name} does not bind; bound are: {bound}"
            )
    if problems:
        raise ConfigError("\n".join(problems))


def _presets() -> Traversable:
    return importlib.resources.files("harness") / "presets"


def _suites() -> Traversable:
    return importlib.resources.files("suites") / "definitions"


def _yaml_names(folder: Traversable) -> list[str]:
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def _shipped(kind: str, name: str, folder: Traversable) -> tuple[dict[str, Any], str]:
    """Values and source of a preset or suite that ships with the project."""
    names = _yaml_names(folder)
    if name not in names:
        raise ConfigError(
            f"unknown {kind} {shown_name(repr(name))}{did_you_mean(name, names)}; known are: {', '.join(names)}"
        )
    source = f"{kind} {name}"
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    return as_mapping(parse_yaml(text, source), source), source


def _parse_override(text: str) -> _Override:
    key, separator, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    origin = f"-o {shown_name(text)}"
    if not separator or not all(path) or len(path) > _DEEPEST_KEY:
        raise ConfigError(f"{origin}: must be section.key=value, such as -o training.beta=0.2")
    if not holds_text(ExperimentConfig, path):
        return _Override(origin, path, parse_yaml(value, origin))
    text_value = value.lstrip() if key.endswith(" ") else value  # "key = value" is no text with a space first
    return _Override(origin, path, None if text_value.strip() in ("", "null") else text_value)


def _with_override(values: Mapping[str, Any], override: _Override) -> dict[str, Any]:
    """A copy of `values` in which the override's value stands at its path."""

    def placed(section: Any, depth: int) -> Any:
        if depth == len(override.path):
            return override.value
        if section is not None and not isinstance(section, Mapping):
            key = shown_name(".".join(override.path[:depth]))
            raise ConfigError(f"{override.origin}: {key} is {shown(section)}, which has no keys below it")
        key = override.path[depth]
        return {**(section or {}), key: placed((section or {}).get(key), depth + 1)}

    return typing.cast("dict[str, Any]", placed(values, 0))


def _build(
    kind: type[Config],
    values: Mapping[str, Any],
    source: str,
    overrides: Sequence[_Override],
    contradictions: Callable[[Config], Iterable[Problem]],
) -> Config:
    """The configuration that values describe, each of them allowed, and all of them together."""
    try:
        config = build(kind, values)
        problems = tuple(contradictions(config))
    except InvalidValuesError as error:
        problems = error.problems
    else:
        if not problems:
            return config
    lines = dict.fromkeys(f"{_source_of(each.key, source, overrides)}: {each.message}" for each in problems)
    raise ConfigError("\n".join(lines))


def _source_of(key: tuple[str, ...], source: str, overrides: Sequence[_Override]) -> str:
    """The last override that set `key` or a section around it, or the file."""
    for override in reversed(overrides):
        shared = min(len(key), len(override.path))
        if key[:shared] == override.path[:shared]:
            return override.origin
    return source


def _experiment_contradictions(config: ExperimentConfig) -> Iterable[Problem]:
    data, training = config.data, config.training
    if data.max_prompt_tokens >= data.max_tokens:
        allowed_values = f"must be below data.max_tokens ({data.max_tokens})"
        yield Problem(
            ("data", "max_prompt_tokens"), f"data.max_prompt_tokens {allowed_values}, got {data.max_prompt_tokens}"
        )
    yield from _template_contradictions(config.model)
    yield from _repeated(config)
    if config.answers.top_p < 1 and config.answers.temperature == 0:
        yield Problem(
            ("answers", "top_p"),
            f"answers.top_p has no effect where answers.temperature is 0, got {config.answers.top_p:g}: set both",
        )
    if config.sft is not None and config.sft.training.method != "sft":
        yield Problem(
            ("sft", "training", "method"), f"sft.training.method must be sft, got {config.sft.training.method!r}"
        )
    if training.method != "dpo" and training.loss_type != ("sigmoid",):
        allowed_values = "is for the method dpo alone"
        yield Problem(("training", "loss_type"), f"training.loss_type {allowed_values}, got it with {training.method}")
    if training.method != "dpo" and training.label_smoothing > 0:
        yield Problem(
            ("training", "label_smoothing"),
            f"training.label_smoothing is for the method dpo alone, got it with {training.method}",
        )
    if training.method == "sft" and config.controls:
        yield Problem(
            ("controls",), "controls must be empty where training.method is sft, which learns from no preferences"
        )
    if training.loss_weights is not None and len(training.loss_weights) != len(training.loss_type):
        allowed_values = f"must hold one number for each training.loss_type ({len(training.loss_type)})"
        yield Problem(
            ("training", "loss_weights"), f"training.loss_weights {allowed_values}, got {len(training.loss_weights)}"
        )


def _repeated(config: ExperimentConfig) -> Iterable[Problem]:
    """Values that stand in a list twice, each of which would be trained, measured or counted again."""
    lists: dict[str, Sequence[object]] = {
        "data.lm_eval_tasks": config.data.lm_eval_tasks,
        "data.capability_tasks": config.data.capability_tasks,
        "training.loss_type": config.training.loss_type,
        "controls": config.controls,
        "subjects": config.subjects,
    }
    for key, values in lists.items():
        twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
        if twice is not None:
            yield Problem(tuple(key.split(".")), f"{key} must hold each value once, got {shown(twice)} again")


def _template_contradictions(model: ModelConfig) -> Iterable[Problem]:
    for name in model.chat_template_kwargs:
        if not name.isidentifier() or keyword.iskeyword(name) or name in GIVEN_NAMES:
            key = f"model.chat_template_kwargs.{name}"
            yield Problem(
                ("model", "chat_template_kwargs", name),
                f"{key} must be a name that a template can read, other than {', '.join(GIVEN_NAMES)}",
            )
    try:
        date.fromisoformat(model.chat_template_date)
    except ValueError:
        yield Problem(
            ("model", "chat_template_date"),
            f"model.chat_template_date must be a date such as 2024-07-26, got {shown(model.chat_template_date)}",
        )
    if model.template == "instruction" and model.chat_template is not None:
        yield Problem(
            ("model", "chat_template"),
            "model.chat_template has no effect where model.template is instruction: set one of the two",
        )


def _suite_contradictions(config: SuiteConfig, kinds: Mapping[str, RowKind]) -> Iterable[Problem]:
    names: set[str] = set()
    for index, evaluation in enumerate(config.evaluations):
        key = f"evaluations.{index}"
        if evaluation.name in names:
            yield Problem(
                ("evaluations", str(index), "name"), f"{key}.name must be unique, got {evaluation.name!r} again"
            )
        names.add(evaluation.name)
        if evaluation.kind not in kinds:
            allowed_values = f"must be one of {', '.join(kinds)}"
            yield Problem(
                ("evaluations", str(index), "kind"), f"{key}.kind {allowed_values}, got {shown(evaluation.kind)}"
            )
            continue
        if kinds[evaluation.kind] == "tasks" and evaluation.role not in TASK_ROLES:
            allowed_values = f"must be {' or '.join(TASK_ROLES)} for the kind {evaluation.kind}"
            yield Problem(
                ("evaluations", str(index), "role"), f"{key}.role {allowed_values}, got {shown(evaluation.role)}"
            )
        for setting, rows in _FOR_ROWS.items():
            is_set = getattr(evaluation, setting) != _DEFAULTS[setting]
            if is_set and kinds[evaluation.kind] != rows:
                readers = " and ".join(kind for kind, own in kinds.items() if own == rows)
                yield Problem(
                    ("evaluations", str(index), setting),
                    f"{key}.{setting} has no effect for the kind {evaluation.kind}: it is for {readers}",
                )
    for index, problem in gate_contradictions(config.gates):
        yield Problem(("gates", str(index)), f"gates.{index}: {problem}")
