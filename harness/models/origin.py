"""What the files of an adapter or a merged model say of how it was trained: its record, or else its model card."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.models.adapter_files.config import read_adapter_config
from harness.models.adapter_files.folder import (
    CARD_FILE,
    FIXTURE_FILE,
    GROUPS_FILE,
    AdapterError,
    read_json,
)
from harness.models.card_beta import beta_in_card
from suites.inputs import content_id

MERGE_FILE = "merge.json"
"""Record beside merged weights; it names the adapter and the base they were made from."""

_START = re.compile(
    r"(?:started from|lora_model_dir|adapter_name_or_path)[\"'`*]*\s*(?:\||:)\s*[\"'`*]*([\w./~-]+)", re.IGNORECASE
)
_TUNED_FROM = re.compile(
    r"fine-?tuned (?:version of|from)\s*(?:model)?\s*:?\s*\[?[*`]*([\w.-]+/[\w.-]+)", re.IGNORECASE
)
"""The sentence that transformers, TRL and the alignment handbook write: "a fine-tuned version of [org/model](...)"."""
_HASHED = {"base", "fingerprint", "recipe", "rows", "start", "versions"}
"""Keys of a whole record; its fingerprint is the hash of everything that determines an adapter (`fixture_inputs`)."""
OF_TRAINING = (
    "n_threads", "allocator", "modules", "untouched_modules", "router_aux_loss_coef", "max_tokens_at_once",
    "packed_step_check",
)  # fmt: skip
"""Keys of a record that say how its training went, and determine nothing; they stand in its last log line too."""
_NOT_HASHED = {"fingerprint", "files", *OF_TRAINING}
_OWN_CARD = re.compile(r"^\|\s*training\.method\s*\|.*^\|\s*fixture\s*\|", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Origin:
    """How an adapter was trained, as far as its own files say."""

    is_own: bool = False
    """Whether this project trained it, so that its rows were kept apart from those that are measured."""
    method: str | None = None
    beta: float | None = None
    """Scale of its implicit reward; None where nothing says it."""
    start: str | None = None
    """Adapter that its training continued, which is its reference: a fixture's fingerprint, a folder or a hub id."""
    says_start: bool = False
    """Whether its files would name a start if there were one; without one its reference is then the base."""
    fingerprint: str | None = None
    """Fingerprint of the fixture that it is."""
    groups: frozenset[str] = frozenset()
    """Groups of the rows that it was trained on; empty where they were not recorded."""


def origin_of_adapter(folder: Path) -> Origin:
    """Return the origin of an adapter: from its fixture.json, or else from the model card.

    Raises:
        AdapterError: fixture.json is damaged, or was changed after training.
    """
    if (folder / FIXTURE_FILE).is_file():
        record = read_json(folder / FIXTURE_FILE)
        _check_unchanged(record, folder / FIXTURE_FILE)
        return replace(_of_record(record), groups=_groups(folder))
    return _of_card(folder, _base_name(folder))


def origin_of_model(folder: Path) -> Origin:
    """Return the origin of a full model: that of the adapter merged into it, or else what its model card says.

    Raises:
        AdapterError: merge.json is damaged.
    """
    if (folder / MERGE_FILE).is_file():
        trained = read_json(folder / MERGE_FILE).get("trained")
        return replace(_of_record(trained), groups=_groups(folder)) if isinstance(trained, Mapping) else Origin()
    return _of_card(folder, None)


def as_record(origin: Origin) -> dict[str, Any] | None:
    """Return the part of a fixture's record that a merged model keeps; None where the adapter has no record."""
    if not origin.is_own:
        return None
    training = {"method": origin.method, "beta": origin.beta}
    return {"fingerprint": origin.fingerprint, "start": origin.start, "recipe": {"training": training}}


def _check_unchanged(record: Mapping[str, Any], file: Path) -> None:
    """Check that a record hashes to its fingerprint, so that no beta counts as recorded which nothing trained with.

    A record without a part that is hashed is left alone: it proves nothing, and other programs write such files too.

    Raises:
        AdapterError: it says something else than what its fingerprint was taken of.
    """
    base = record.get("base")
    if not isinstance(base, Mapping) or not record.keys() >= _HASHED:
        return
    hashed = {key: value for key, value in record.items() if key not in _NOT_HASHED}
    hashed["base"] = {key: value for key, value in base.items() if key != "name"}
    if content_id(hashed) != record.get("fingerprint"):
        raise AdapterError(
            f"{file} was changed after the training that it records: it does not hash to its fingerprint, "
            f"{record.get('fingerprint')}; put the original back, or remove the file, and beta and reference count as "
            "assumed"
        )


def _of_record(record: Mapping[str, Any]) -> Origin:
    """Return what fixture.json says; a value of an odd type counts as not said."""
    recipe = record.get("recipe")
    training = recipe.get("training") if isinstance(recipe, Mapping) else None
    settings = training if isinstance(training, Mapping) else {}
    return Origin(
        is_own=True,
        method=_text(settings.get("method")),
        beta=_positive(settings.get("beta")),
        start=_text(record.get("start")),
        says_start="start" in record,
        fingerprint=_text(record.get("fingerprint")),
    )


def _of_card(folder: Path, base: str | None) -> Origin:
    """Return what a README says.

    Args:
        folder: holds the card, perhaps.
        base: base model that the adapter names; a card that calls it tuned from another model names its start.
    """
    file = folder / CARD_FILE
    if not file.is_file():
        return Origin()
    text = file.read_text(encoding="utf-8", errors="replace")
    is_own = _OWN_CARD.search(text) is not None
    starts = [start for start in _START.findall(text) if start.lower() not in ("null", "none", "")]
    starts += [
        tuned for tuned in _TUNED_FROM.findall(text) if base is not None and not _is_same(tuned.rstrip("."), base)
    ]
    return Origin(
        beta=beta_in_card(text),
        start=starts[0].rstrip(".") if starts else None,
        says_start=bool(starts) or is_own,
        is_own=is_own,
    )


def _groups(folder: Path) -> frozenset[str]:
    """Return the groups on record; older adapters have none."""
    file = folder / GROUPS_FILE
    if not file.is_file():
        return frozenset()
    try:
        return frozenset(file.read_text(encoding="utf-8").split("\n")) - {""}
    except (OSError, ValueError) as error:
        raise AdapterError(f"{file} cannot be read ({error}); it is damaged") from error


def _is_same(name: str, base: str) -> bool:
    """Whether two names could be those of one model: folders and organisations differ, the last part does not."""
    return Path(name).name.lower() == Path(base).name.lower()


def _base_name(folder: Path) -> str | None:
    return read_adapter_config(folder).base_model_name_or_path or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) and value > 0 else None
    except OverflowError:  # a whole number of hundreds of digits
        return None
