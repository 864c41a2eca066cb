"""What a trainer reads of rows beyond their own token ids."""

import numpy as np

from harness.training.recipe import RatedRequest
from harness.training.token_table import table_of
from harness.training.trainer_columns import rated_columns
from suites.inputs import Request


def test_an_answer_beside_anothers_prompt_fits_into_the_model() -> None:
    """It is cut where a long prompt meets a long answer, and as it is elsewhere and without a limit."""
    drawn = np.random.default_rng(0)
    lengths = [(2, 14), (13, 3), (12, 1), (1, 15), (5, 6), (9, 7), (3, 3)]
    rows = table_of(
        RatedRequest(Request(*(tuple(drawn.integers(3, 90, n).tolist()) for n in each)), number % 2 == 0)
        for number, each in enumerate(lengths)
    )

    whole, cut = (rated_columns(rows, 3, 0, limit).to_pydict() for limit in (None, 16))

    assert {name: cut[name] for name in cut if name != "KL_completion_ids"} == {
        name: whole[name] for name in whole if name != "KL_completion_ids"
    }
    room = [16 - len(prompt) for prompt in cut["prompt_ids"]]
    assert cut["KL_completion_ids"] == [ids[:most] for ids, most in zip(whole["KL_completion_ids"], room, strict=True)]
    assert cut["KL_completion_ids"] != whole["KL_completion_ids"]
    assert all(cut["KL_completion_ids"])
