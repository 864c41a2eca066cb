"""Tests of filters: lengths as the encoder has them, score gaps, and that every row is kept or counted."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from harness.config.schema import FiltersConfig
from harness.data.filters import filter_rows
from harness.data.make import make_example, make_pair, make_rated_answer
from suites.engine.encoding import Encoder
from suites.inputs import Turn


@pytest.fixture(scope="module")
def encoder(llama_folder):
    """Limits that cut what the filters measure whole."""
    return Encoder(AutoTokenizer.from_pretrained(llama_folder), max_prompt_tokens=30, max_tokens=60)


def pair(n_question, n_chosen=1, n_rejected=1, gap=None):
    """A pair of texts of so many words."""
    prompt = (Turn("user", "question " * n_question + "end"),)
    return make_pair(prompt, "good " * n_chosen + "x", "bad " * n_rejected + "y", source="s", score_gap=gap)


def test_score_gaps_below_the_least_are_left_out(encoder):
    """Pairs without scores stay, and so do rows that are no pairs."""
    rows = [
        pair(1, gap=0.5),
        pair(2, gap=1.0),
        pair(3),
        make_rated_answer(pair(4).prompt, "x", is_good=True, source=""),
    ]
    filtered = filter_rows(rows, FiltersConfig(min_score_gap=1.0), encoder)
    assert filtered.rows == tuple(rows[1:])
    assert filtered.left_out == {"score gap below 1": 1}


def test_lengths_are_those_before_truncation(encoder):
    """A prompt beyond the encoder's own limit is as long as it is; the longer side of a pair counts."""
    rows = [pair(1), pair(200), pair(1, n_chosen=100), pair(1, n_rejected=100), pair(200, n_chosen=100)]
    filtered = filter_rows(rows, FiltersConfig(max_prompt_tokens=100, max_response_tokens=50), encoder)
    assert filtered.rows == (rows[0],)
    assert filtered.left_out == {"prompt longer than 100 tokens": 2, "response longer than 50 tokens": 2}


def test_a_limit_is_the_longest_that_passes(encoder):
    """A row of exactly so many tokens stays, one more is too long."""
    row = make_example("Tell me.", "An answer.")
    (length,) = encoder.lengths([(row.prompt, (row.response,))])
    (n_response,) = length.n_response_tokens
    for change, n_kept in ((0, 1), (-1, 0)):
        for limits in (
            FiltersConfig(max_prompt_tokens=length.n_prompt_tokens + change),
            FiltersConfig(max_response_tokens=n_response + change),
        ):
            assert len(filter_rows([row], limits, encoder).rows) == n_kept


def test_without_filters_nothing_is_rendered():
    """No encoder is asked where no length is limited."""
    rows = (pair(1), pair(2))
    assert filter_rows(rows, FiltersConfig(), encoder=None).rows == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.none() | st.floats(0, 3)), max_size=6),
    st.builds(
        FiltersConfig, st.none() | st.floats(0, 3), st.none() | st.integers(1, 90), st.none() | st.integers(1, 90)
    ),
)
def test_every_row_is_kept_in_order_or_counted_once(encoder, sizes, filters):
    """Rows and counts add up to what was given, and filtering what passed changes nothing."""
    rows = [pair(n_question, n_chosen, gap=gap) for n_question, n_chosen, gap in sizes]
    filtered = filter_rows(rows, filters, encoder)
    assert len(filtered.rows) + sum(filtered.left_out.values()) == len(rows)
    assert [row for row in rows if row in filtered.rows] == list(filtered.rows)
    again = filter_rows(filtered.rows, filters, encoder)
    assert (again.rows, again.left_out) == (filtered.rows, {})
