"""Prompts that no part of the recipe contains, by the kind of answer that they ask for."""

from functools import cache
from pathlib import Path

import yaml

PROMPTS = Path(__file__).parent / "held_out.yaml"


@cache
def held_out() -> dict[str, list[str]]:
    """Kind of answer -> the prompts that are held out for it."""
    loaded: dict[str, list[str]] = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))
    return loaded
