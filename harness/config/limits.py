"""How much one row, one file, one adapter and one setting may hold, so that no input fills a machine or has no end."""

from collections.abc import Mapping
from typing import Any

from reports.json_text import DEEPEST_JSON

MEBIBYTE = 2**20
LARGEST_ROW = 8 * MEBIBYTE
"""Bytes of a line, and characters of all texts of a row: two million tokens, which are made before they are cut."""
LARGEST_FILE = 4096 * MEBIBYTE
"""Bytes of a file of lines, once it is inflated; its rows are held in memory."""
LARGEST_WHOLE_FILE = 512 * MEBIBYTE
"""Bytes of a file that is read as a whole: one JSON list, or CSV."""
MOST_VALUES = 1_000_000
"""Values of a row, nested ones included."""
LARGEST_RANK = 16_384
"""Rank of an adapter; above the width of any model that one device trains it is larger than the weights it adapts."""
LARGEST_COUNT = 1_000_000_000
"""Rows, tokens and the like that a setting may name: more are not computed in a lifetime, and libraries' own whole
numbers end soon after."""
MOST_STEPS = 10_000_000
"""Optimiser steps of a training: a year of them at three a second, more than pretraining takes."""
MOST_EPOCHS = 10_000
LARGEST_NUMBER = 1e9
"""Rates, factors and amounts; far below the largest number in fp32, so that a product of two is one too."""
MOST_THREADS = 1024
"""More than any processor has cores; a number beyond it takes memory for stacks alone."""
MOST_RANKS = 1_024
"""Processes that train one adapter together: more than the rows of a step can be divided among."""
MOST_VARIANTS = 1_000
"""Adapters of one experiment, seeds and controls included; its tables have a column for each."""
MOST_MADE_PAIRS = 1_000_000
"""Pairs of one specification, which a model writes one by one."""
LARGEST_YAML = MEBIBYTE // 2
"""Bytes of a YAML file of this project: a thousand times its own; reading more takes longer than anyone waits."""
TOO_LARGE = f"a row must be smaller than {LARGEST_ROW // MEBIBYTE} MiB; shorten it or leave it out"


def problem_of_row(columns: Mapping[str, Any]) -> str | None:
    """What is wrong with the size or the depth of a row, wherever it was read from; None where nothing is."""
    size = n_values = depth = 0
    level: list[Any] = [columns]
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, str | bytes):
                size += len(value)
            elif isinstance(value, Mapping):
                below += value.values()
            elif isinstance(value, list | tuple):
                below += value
        n_values += len(below)
        if size > LARGEST_ROW or n_values > MOST_VALUES:
            return TOO_LARGE
        if depth > DEEPEST_JSON:
            return f"nested deeper than {DEEPEST_JSON} levels"
        level = below
    return None
