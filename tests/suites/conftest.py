"""What the tests of the suites share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.records import MetricScores
from suites.engine.encoding import Encoder
from suites.inputs import Request, ResponseScore, Scorer


@pytest.fixture(scope="session")
def llama_tokenizer(llama_folder: Path) -> Any:
    """The Llama's tokenizer, which has a chat template."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(llama_folder)


@pytest.fixture(scope="session")
def encoder(llama_tokenizer: Any) -> Encoder:
    """An encoder that truncates nothing short."""
    return Encoder(llama_tokenizer, max_prompt_tokens=120, max_tokens=250)


@pytest.fixture(scope="session")
def scorer_of() -> Callable[[Callable[[int], float]], Scorer]:
    """Makes a scorer that gives every response token what a formula says of its id."""

    def make(log_probability: Callable[[int], float]) -> Scorer:
        def score(requests: Sequence[Request]) -> list[ResponseScore]:
            tokens = [np.array([log_probability(token) for token in one.response_ids], np.float32) for one in requests]
            return [ResponseScore(values, is_greedy=False) for values in tokens]

        return score

    return make


@pytest.fixture(scope="session")
def as_table() -> Callable[[Sequence[MetricScores]], dict[str, float]]:
    """Turns measurements into metric -> sum(total) / sum(count)."""

    def table(measurements: Sequence[MetricScores]) -> dict[str, float]:
        return {
            one.metric.name: sum(score.total for score in one.scores) / sum(score.count for score in one.scores)
            for one in measurements
        }

    return table
