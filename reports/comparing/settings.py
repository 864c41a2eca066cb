"""Which settings of several runs differ, and what their candidates are called by them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.paths import short_paths
from reports.records import DifferingSetting, Run

_NOT_COMPARED = ("description", "published")
"""Settings that change no number."""
_NAMED_BY = ("training", "lora", "sft", "seed", "model", "data.training")
"""Settings that a candidate may be called by: those that make it what it is."""
_MOST_IN_A_NAME = 2
_LONGEST_VALUE = 24
_MOST_IN_A_LINE = 4
_LONGEST_SHOWN = 40
_NOT_SET = "not set"


def differing_settings(runs: Sequence[Run]) -> tuple[DifferingSetting, ...]:
    """Return every setting that is not the same in all runs, by its dotted key, with each run's value as text."""
    configs = [dict(flat(run.config)) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    found = (DifferingSetting(key, _texts([config.get(key) for config in configs])) for key in sorted(keys))
    return tuple(
        each for each in found if len(set(each.values)) > 1 and each.key.partition(".")[0] not in _NOT_COMPARED
    )


def named_by_settings(n_runs: int, settings: Sequence[DifferingSetting]) -> list[str] | None:
    """Return a short name for each run by what differs, such as "beta=0.1".

    None unless that is little, short, and another for each run.
    """
    own = [each for each in settings if any(f"{each.key}.".startswith(f"{start}.") for start in _NAMED_BY)]
    values = [value for each in own for value in each.values]
    if not 0 < len(own) <= _MOST_IN_A_NAME or any(len(value) > _LONGEST_VALUE for value in values):
        return None
    ends = [each.key.rpartition(".")[2] for each in own]
    keys = [end if ends.count(end) == 1 else each.key for each, end in zip(own, ends, strict=True)]
    names = [
        ", ".join(f"{key}={each.values[position]}" for key, each in zip(keys, own, strict=True))
        for position in range(n_runs)
    ]
    return names if len(set(names)) == n_runs else None


def differing_line(runs: Sequence[Run], settings: Sequence[DifferingSetting]) -> str:
    """Return in one sentence what differs: "one and two differ in training.beta (0.1 and 0.5)."."""
    names = " and ".join(run.name for run in runs)
    if not settings:
        return f"{names} have the same settings."
    shown = [f"{each.key} ({' and '.join(map(_cut, each.values))})" for each in settings[:_MOST_IN_A_LINE]]
    rest = len(settings) - _MOST_IN_A_LINE
    more = f"; and {rest:,} more setting{'s' if rest > 1 else ''}" if rest > 0 else ""
    return f"{names} differ in {'; '.join(shown)}{more}."


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_SHOWN else f"{value[: _LONGEST_SHOWN - 1]}\u2026"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested mappings by its dotted key; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    """The values of a setting as texts; of paths from the root, as much as tells one from another."""
    texts = tuple(map(_text, values))
    short = short_paths(text for text in texts if text.count("/") > 1)
    return tuple(short.get(text, text) for text in texts)


def _text(value: Any) -> str:
    if value is None or value in ({}, []):
        return _NOT_SET
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return re.sub(r"e([-+])0", r"e\1", f"{value:g}")
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
