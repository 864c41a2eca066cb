"""What a process read before it computes anything, part by part, so that no two that read otherwise are mixed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from harness.config.load import to_dict
from harness.measuring.experiment import Experiment
from harness.measuring.units.engine import ForeignNodeError
from harness.models import provenance
from suites.inputs import content_id
from suites.lm_eval.tasks import content_of_tasks

_VERSIONS = "package versions"


def inputs_of(experiment: Experiment) -> dict[str, str]:
    """Part -> hash of it, or text where that is short enough to be told.

    Threads are no part: they are sent along. Where files lie is none either.
    """
    config, loaded, data = experiment.config, experiment.loaded, experiment.data
    settings = to_dict(replace(config, model=replace(config.model, threads=None)))
    report = [(role, dataset.rows) for role, dataset in data.report_datasets]
    return {
        "settings": content_id(settings, to_dict(experiment.suite), experiment.limit),
        "rows to train on": _hash_of_rows((data.training, data.selection, data.sft, data.sft_selection)),
        "rows to measure": _hash_of_rows([rows for _, rows in report]),
        "tasks": content_id(sorted((name, content_of_tasks(tasks)) for name, tasks in experiment.tasks.items())),
        "weights": content_id(loaded.fingerprint, loaded.quantization, loaded.dtype, loaded.compute_dtype),
        "tokenizer and template": content_id(
            _vocabulary(loaded.tokenizer),
            loaded.tokenizer.chat_template,
            experiment.encoder.system_prompt,
        ),
        _VERSIONS: json.dumps(
            {
                **provenance.package_versions(provenance.PACKAGES),
                "keys": provenance.KEY_VERSION,
                "code": provenance.hash_of_code(),
            }
        ),
        "device": json.dumps(provenance.computed_on(loaded)),
    }


def check_inputs(expected: Mapping[str, str], found: Mapping[str, str], node: str) -> None:
    """Checks that a process read what the driver read.

    Args:
        expected: What the driver read.
        found: What the process read.
        node: Where it runs.

    Raises:
        ForeignNodeError: It read something else; names the parts, and the versions that differ.
    """
    differing = [part for part in expected if found.get(part) != expected[part]]
    if not differing:
        return
    details = [f"{part}{_difference(part, expected[part], found.get(part, ''))}" for part in differing]
    raise ForeignNodeError(
        f"node {node} has other {', other '.join(details)} than the machine where this was started; all must read the "
        "same data and weights with the same packages, on one kind of device (start it on a node like the others)"
    )


def _vocabulary(tokenizer: Any) -> str:
    """Everything that a tokenizer is, without how it was last asked to cut and to pad."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({key: value for key, value in parts.items() if key not in ("truncation", "padding")})


def _difference(part: str, expected: str, found: str) -> str:
    """What differs in a part that can be told, in brackets; empty for others."""
    if part == "device":
        return f" ({found}, not {expected})"
    if part != _VERSIONS or not found:
        return ""
    here, there = json.loads(expected), json.loads(found)
    names = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    return f" ({', '.join(f'{name} {there.get(name)}, not {here.get(name)}' for name in names)})"


def _hash_of_rows(parts: Iterable[Iterable[object]]) -> str:
    """Hash of rows, which are frozen dataclasses of texts and numbers, and of how they are divided."""
    digest = hashlib.sha256()
    for rows in parts:
        digest.update(b"\0part\0")
        for row in rows:
            digest.update(repr(row).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]
