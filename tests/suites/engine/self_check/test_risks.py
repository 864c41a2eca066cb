"""What could break a path is found in units and configurations, and each risk brings requests that would show it."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suites.engine.packing import pack_requests
from suites.engine.plan import PathName
from suites.engine.self_check.risks import LARGEST_SAMPLE, suspects, unit_risks
from suites.engine.self_check.thresholds import length_thresholds
from suites.engine.units import Unit
from suites.inputs import Request


def unit(*requests: Request, path: PathName = "tree", n_tokens: int = 0, after: Unit | None = None) -> Unit:
    """A unit that is never launched."""
    longest = max(request.n_inputs for request in requests)
    return Unit(requests, path, n_tokens or longest, lambda: pytest.fail("not asked for"), after)


def traits(one: Unit, *thresholds: int) -> set[str]:
    """Its risks, without path and shape."""
    return {risk.partition(": ")[2] for risk in unit_risks(one, thresholds)}


def shapes(one: Unit) -> set[str]:
    """How its requests lie beside each other."""
    return {risk.partition(": ")[0] for risk in unit_risks(one, ())}


def test_a_branch_is_told_from_a_line_and_from_another_tree() -> None:
    """Requests that are prefixes of one another settle nothing about branches, whatever else they have."""
    line = unit(Request((1,), (2,)), Request((1, 2), (3, 4)))
    branches = unit(Request((1,), (2, 3)), Request((1, 4), (5,)))
    trees = unit(Request((1,), (2,)), Request((7,), (2,)))

    assert shapes(line) == {"tree, prefixes of one request"}
    assert shapes(branches) == {"tree, branches"}
    assert shapes(trees) == {"tree, several trees"}
    assert shapes(unit(Request((1,), (2,)))) == {"tree, one request"}
    assert shapes(unit(*branches.requests, path="prefix")) == {"prefix, several requests"}


def test_each_threshold_is_a_risk_where_something_exceeds_it() -> None:
    """A request, all tokens of the unit together, or requests on both sides."""
    short, long = Request((1,) * 5, (2,)), Request((1,) * 5, (2,) * 5)

    assert traits(unit(short, n_tokens=5), 8, 64) == {"requests"}
    assert traits(unit(short, n_tokens=9), 8, 64) == {"requests", "more than 8 tokens in all"}
    assert traits(unit(short, long, n_tokens=9, after=unit(short)), 8, 64) == {
        "requests", "responses of several tokens", "requests of several lengths", "tokens of the unit before",
        "more than 8 tokens in all", "a request of more than 8 tokens", "requests on both sides of 8 tokens",
    }  # fmt: skip


def test_every_unchecked_risk_is_in_a_unit_that_is_checked() -> None:
    """Few units show all; the longest request is among those compared, and so are those beside a threshold."""
    before = unit(Request((1,), (2,)))
    units = [
        unit(Request((1, number), (2,)), Request((1, number, 3), (2,) * number), n_tokens=number + 3, after=before)
        for number in range(5, 40)
    ]
    risks = [unit_risks(one, (16, 1000)) for one in units]
    found = suspects(units, risks, (16, 1000), unchecked=frozenset().union(*risks), longest=41)

    assert found.risks == frozenset().union(*risks)
    assert len(found.units) < 4
    compared = {request.n_inputs for request in found.requests}
    assert max(compared) == 41
    assert min(compared) <= 16
    assert suspects(units, risks, (), unchecked=frozenset(), longest=41).units == (34,)
    assert suspects(units, risks, (), unchecked=frozenset(), longest=None).units == ()


def test_the_shortest_requests_of_other_units_are_added() -> None:
    """Units with a wide range of lengths are compared even where they have no risk of their own."""
    units = [
        unit(Request((1, number), (2,)), Request((1, number, 3), (2,) * (number % 7)), n_tokens=number)
        for number in range(22, 62)
        if number % 7
    ]
    risks = [unit_risks(one, ()) for one in units]
    found = suspects(units, risks, (), unchecked=frozenset().union(*risks), longest=None)

    assert len(found.requests) == LARGEST_SAMPLE
    assert sum(units[index].requests[-1].n_inputs == 8 for index in found.units) == 5


ids = st.lists(st.integers(1, 3), min_size=1, max_size=8).map(tuple)


@settings(max_examples=100)
@given(
    requests=st.lists(st.builds(Request, prompt_ids=ids, response_ids=ids), min_size=1, max_size=60, unique=True),
    budget=st.integers(8, 80),
    thresholds=st.lists(st.integers(1, 20), max_size=4, unique=True).map(sorted),
)
def test_a_check_compares_at_most_sixteen_requests(requests: list[Request], budget: int, thresholds: list[int]) -> None:
    """Whatever is asked, unless more than eight packs are needed to show all risks, which then take two each."""
    units = [unit(*pack.requests, n_tokens=pack.n_tokens) for pack in pack_requests(requests, max_tokens=budget)]
    risks = [unit_risks(one, thresholds) for one in units]
    unchecked = frozenset().union(*risks)
    found = suspects(units, risks, thresholds, unchecked=unchecked, longest=None)

    assert len(found.requests) <= max(LARGEST_SAMPLE, 2 * len(found.units))
    assert unchecked == found.risks
    assert set(found.requests) <= {request for index in found.units for request in units[index].requests}


def configuration(**values: Any) -> Any:
    """A transformers configuration of these values."""
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(to_dict=lambda: values))


def test_thresholds_are_found_by_what_settings_are_called() -> None:
    """At any depth, whatever the family; numbers that count something else are left alone."""
    found = configuration(
        window_size=256, attention_chunk_size=8192, sliding_window=None, use_sliding_window=True, vocab_size=50257,
        hidden_size=768, num_local_experts=8, conv_kernel=4, id2label={0: "a"}, chunk_size_feed_forward=7,
        rope_parameters={"rope_type": "longrope", "original_max_position_embeddings": 4096, "factor": 32.0},
        layers=[{"local_attention": 128}], floor_scale=8192.0, sep_token_id=9, max_window_layers=28,
    )  # fmt: skip

    assert length_thresholds(found) == (4, 128, 256, 4096, 8192)


def test_families_name_their_thresholds() -> None:
    """Those that made families wrong in silence are among them."""
    import transformers

    longrope = {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 128}
    configs = {
        256: transformers.GPTNeoConfig(),
        64: transformers.LlamaConfig(**sizes, rope_parameters=longrope),
        4096: transformers.Gemma2Config(sliding_window=4096),
        8192: transformers.Llama4TextConfig(),
        2048: transformers.RecurrentGemmaConfig(),
    }

    for threshold, config in configs.items():
        assert threshold in length_thresholds(config), type(config).__name__
