"""What the check of the packed engine found on a model, in a file, so that no other adapter on it is checked again."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args

from harness.training.packed_step.check import StepCheck
from harness.training.packed_step.forward import Kernel
from reports.json_text import parse_json
from reports.whole import write_whole

_TYPES: Mapping[str, tuple[type, ...]] = {
    "n_requests": (int,),
    "difference": (float, int, type(None)),
    "tolerance": (float, int),
    "worst": (str,),
    "problem": (str,),
    "kernel": (str,),
    "is_lasting": (bool,),
    "longest": (int,),
}


def read_check(file: Path | None) -> StepCheck | None:
    """Return what an earlier check found; None where there is no file, or a damaged one."""
    if file is None:
        return None
    try:
        kept = dict(parse_json(file.read_bytes())["check"])
        is_right = kept.keys() == {each.name for each in fields(StepCheck)}
        is_right = is_right and all(isinstance(kept[name], types) for name, types in _TYPES.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return StepCheck(**kept) if is_right and kept["kernel"] in get_args(Kernel) else None


def keep_check(file: Path | None, check: StepCheck) -> None:
    """Write what a check found, where it would come out so again; where it cannot be written it is made again."""
    if file is not None and check.is_lasting:
        with suppress(OSError):
            write_whole(file, json.dumps({"check": asdict(check)}, indent=2) + "\n")
