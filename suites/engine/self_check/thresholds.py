"""Lengths at which a model's forward may begin to do something else, read off its configuration by name."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = re.compile(
    "window|local|chunk|block|bucket|segment|stride|span|sink|position|length|seq|context|ctx|conv|kernel|cache|memory|"
    "index|floor"
)
"""What settings are called that count tokens: sliding_window, window_size, attention_chunk_size, conv_kernel,
original_max_position_embeddings, context_length, floor_scale, index_topk, ..."""
_NOT_LENGTHS = re.compile("_id$|_experts$|_ids$|_heads?$|_dim$|_layers$|_size_feed_forward$|_token_index$")


def length_thresholds(config: Any) -> tuple[int, ...]:
    """Returns every number of tokens above which a model of this configuration may compute otherwise, ascending.

    Names are matched generously: one too many costs a few requests of a check, one too few can cost a wrong number.

    Args:
        config: A transformers configuration, nested settings included.
    """
    return tuple(sorted({int(value) for value in _lengths(config.get_text_config().to_dict())}))


def _lengths(settings: Mapping[str, Any]) -> Iterator[float]:
    for name, value in settings.items():
        # Labels of a classifier have numbers for names.
        nested = value if isinstance(value, list | tuple) else [value]
        for one in nested:
            if isinstance(one, Mapping):
                yield from _lengths(one)
            elif _counts_tokens(str(name)) and isinstance(one, int | float) and one > 1 and float(one).is_integer():
                yield one


def _counts_tokens(name: str) -> bool:
    return _NAMES.search(name) is not None and _NOT_LENGTHS.search(name) is None
