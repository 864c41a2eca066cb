"""Rows of the user's own in the roles of a suite, without a configuration file, and what is left out without rows."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.load import ConfigError
from harness.config.schema import DataConfig, EvaluationConfig, ExperimentConfig, RowKind, SuiteConfig
from harness.data.load import offered_rows
from harness.data.read import EMBEDDED_PREFIX
from harness.measuring.kinds import KINDS

PREFERENCES, PROMPTS = "preferences", "prompts"
"""Roles that any rows with prompts can fill: pairs in the one, their prompts in the other."""
CHOSEN_ANSWERS = EvaluationConfig("chosen_answers", "perplexity", PREFERENCES)
"""What pairs tell besides preferences: whether the model finds the chosen answers likelier, or all answers less so."""
_NAME = "own-rows"
_EMBEDDED_TASK = "embedded_"
_ROW_WORDS: dict[RowKind, str] = {"pairs": "pairs", "examples": "examples", "questions": "questions"}
"""Kind of rows -> its word among those that a dataset offers."""


def with_pairs(overrides: Sequence[str], pairs: str, *, trains_on_them: bool) -> tuple[str, ...]:
    """Overrides that put one dataset into the roles of preferences and prompts, before those of the user.

    What the user says of its columns, split, revision or limit at one of its places counts at all of them.

    Args:
        overrides: Texts `section.key=value` of the user.
        pairs: A file or a dataset.
        trains_on_them: Whether it takes the place of the training rows too, which surface rulers are fitted on where
            it has a split for them.
    """
    places = [f"data.roles.{PREFERENCES}", f"data.roles.{PROMPTS}", *(["data.training"] if trains_on_them else [])]
    named = [f"{place}={{name: {json.dumps(pairs, ensure_ascii=False)}}}" for place in places]
    repeated = [
        text.replace(place, other, 1)
        for text in overrides
        for place in places
        if text.startswith(f"{place}.")
        for other in places
        if other != place
    ]
    return (*named, *repeated, *overrides)


def of_ones_own(config: ExperimentConfig, overrides: Collection[str]) -> ExperimentConfig:
    """The default experiment for a model that is not the embedded one: without the embedded rows, at usual lengths.

    Rows to train on that are not embedded ones fill the roles of preferences and prompts. What an override sets stays.

    Args:
        config: The default experiment with the user's overrides.
        overrides: Texts `section.key=value` of the user.
    """
    keys = {text.partition("=")[0].strip() for text in overrides}

    def is_set(key: str) -> bool:
        return any(each == key or each.startswith(f"{key}.") for each in keys)

    data, usual = config.data, DataConfig(config.data.training, {})
    roles = {
        role: dataset
        for role, dataset in data.roles.items()
        if not dataset.name.startswith(EMBEDDED_PREFIX) or is_set(f"data.roles.{role}")
    }
    has_own_rows = not data.training.name.startswith(EMBEDDED_PREFIX) or is_set("data.training")
    if has_own_rows:
        roles = {PREFERENCES: data.training, PROMPTS: data.training} | roles
    tasks = {
        role: names if is_set(f"data.{role}") else tuple(name for name in names if not name.startswith(_EMBEDDED_TASK))
        for role, names in data.tasks.items()
    }
    training = data.training if has_own_rows or not roles else next(iter(roles.values()))
    data = replace(
        data,
        roles=roles,
        training=training,
        lm_eval_tasks=tasks["lm_eval_tasks"],
        capability_tasks=tasks["capability_tasks"],
        max_prompt_tokens=(data if is_set("data.max_prompt_tokens") else usual).max_prompt_tokens,
        max_tokens=(data if is_set("data.max_tokens") else usual).max_tokens,
    )
    return replace(config, data=data) if is_set("name") else replace(config, name=_NAME, description="", data=data)


def what_rows_carry(
    suite: SuiteConfig, config: ExperimentConfig, pairs: str | None, data_root: Path | None
) -> tuple[SuiteConfig, tuple[str, ...]]:
    """The suite with the evaluations that have rows, and a line for each that is left out; its gates go with it.

    Args:
        suite: The suite as it is asked for.
        config: The experiment.
        pairs: The user's own dataset in the roles of preferences and prompts; None where there is none.
        data_root: Folder of local data, or None for the hub.

    Raises:
        ConfigError: Nothing is left to measure.
        DataError: The user's own rows are missing or broken.
        HubUnreachable: They would have to come from the hub, and it does not answer.
    """
    offered = () if pairs is None else offered_rows(config.data.roles[PREFERENCES], data_root)
    evaluations = suite.evaluations
    if pairs is not None and "examples" in offered:
        evaluations = _with_chosen_answers(evaluations)
    reasons = {each: _lacking(each, config, pairs, offered) for each in evaluations}
    left = [each for each, reason in reasons.items() if reason is None]
    gated = {gate.metric.partition("/")[0] for gate in suite.gates}
    notes = tuple(
        f"{each.name} is left out{' with its gate' if each.name in gated else ''}: {reason}"
        for each, reason in reasons.items()
        if reason is not None
    )
    if not left and pairs is not None:
        raise ConfigError(f"the suite {suite.name} measures nothing of {pairs}: {'; '.join(notes)}")
    if not left:
        raise ConfigError(
            f"nothing says which rows model.name {config.model.name} is measured on: name your own (`harness eval "
            "--pairs FILE`, or `-o data.training.name=FILE` where they are trained on), or take those of a preset "
            "(--preset NAME; `harness list presets`) or of an experiment (--config FILE)"
        )
    left_out = {each.name for each, reason in reasons.items() if reason is not None}
    gates = tuple(gate for gate in suite.gates if gate.metric.partition("/")[0] not in left_out)
    return replace(suite, evaluations=tuple(left), gates=gates), notes


def _with_chosen_answers(evaluations: Sequence[EvaluationConfig]) -> tuple[EvaluationConfig, ...]:
    """The evaluations, with the perplexity of the chosen answers behind the last one of that role."""
    places = [index for index, each in enumerate(evaluations, start=1) if each.role == PREFERENCES]
    is_there = any(each.role == PREFERENCES and KINDS[each.kind].rows == "examples" for each in evaluations)
    if not places or is_there or any(each.name == CHOSEN_ANSWERS.name for each in evaluations):
        return tuple(evaluations)
    return (*evaluations[: places[-1]], CHOSEN_ANSWERS, *evaluations[places[-1] :])


def _lacking(
    evaluation: EvaluationConfig, config: ExperimentConfig, pairs: str | None, offered: Sequence[str]
) -> str | None:
    """Why an evaluation has no rows; None where it has."""
    rows, role = KINDS[evaluation.kind].rows, evaluation.role
    if rows == "tasks":
        option = " (--tasks A,B names some)" if role == "lm_eval_tasks" else ""
        return None if config.data.tasks[role] else f"data.{role} names no tasks{option}"
    if role not in config.data.roles:
        return f"no rows are named for {role} (-o data.roles.{role}.name=FILE, or --preset NAME)"
    if pairs is not None and role in (PREFERENCES, PROMPTS) and _ROW_WORDS[rows] not in offered:
        return f"{pairs} has no {_ROW_WORDS[rows]}; it offers {', '.join(offered)}"
    return None
