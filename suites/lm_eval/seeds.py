"""lm-eval's seeds: tasks draw their shots, and some shuffle their rows and choices, by global generators."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

RandomState = tuple[Any, Any]
"""State of Python's and NumPy's global generators."""


def few_shot_seed() -> int:
    """The seed that lm-eval draws shots by, where its command line names none."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    return int(DEFAULT_OTHER_SEED)


@contextmanager
def as_lm_eval_begins(state: RandomState | None = None) -> Iterator[Callable[[], RandomState]]:
    """Lets the global generators begin as lm-eval's do within the block, and go on as before after it.

    Args:
        state: Where they begin; None is where lm-eval begins before it loads tasks.

    Yields:
        A function that returns the state that they have come to.
    """
    import torch
    from lm_eval.defaults import DEFAULT_RANDOM_SEED

    before = _current()
    if state is None:
        random.seed(DEFAULT_RANDOM_SEED)
        np.random.seed(few_shot_seed())  # noqa: NPY002 - the generator that tasks use
    else:
        _set(state)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(few_shot_seed())
            yield _current
    finally:
        _set(before)


def _current() -> RandomState:
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _set(state: RandomState) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
