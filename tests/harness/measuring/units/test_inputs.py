"""Processes that read something else are not mixed."""

import json
from pathlib import Path

import pytest

from harness.measuring.units.engine import ForeignNodeError
from harness.measuring.units.inputs import _vocabulary, check_inputs
from harness.measuring.units.results import UnitStore
from suites.inputs import Request, ResponseScore

HERE = {
    "rows to measure": "1f",
    "weights": "2e",
    "package versions": json.dumps({"torch": "2.13.0", "trl": "1.0"}),
    "device": '{"device": "cpu"}',
}


def test_equal_inputs_are_accepted() -> None:
    """Whatever the node is called."""
    check_inputs(HERE, dict(HERE), "node-b")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rows to measure": "xx"}, "node node-b has other rows to measure than"),
        ({"weights": "xx", "rows to measure": "yy"}, "other rows to measure, other weights than"),
        (
            {"package versions": json.dumps({"torch": "2.14.0", "trl": "1.0"})},
            r"versions \(torch 2.14.0, not 2.13.0\) than",
        ),
        ({"device": '{"device": "NVIDIA H100"}'}, r'device \({"device": "NVIDIA H100"}, not {"device": "cpu"}\) than'),
    ],
)
def test_what_differs_is_told_in_one_line_with_the_node(changes: dict[str, str], told: str) -> None:
    """Versions and devices in words, the rest by its name."""
    with pytest.raises(ForeignNodeError, match=told) as raised:
        check_inputs(HERE, HERE | changes, "node-b")
    assert "\n" not in str(raised.value)


def test_a_tokenizer_is_the_same_however_it_was_last_asked(llama_folder: Path) -> None:
    """A driver that has cut and padded texts already reads what a process reads that has not."""
    from transformers import AutoTokenizer

    used, fresh = (AutoTokenizer.from_pretrained(llama_folder) for _ in range(2))
    used(["a longer text than that", "b"], truncation=True, max_length=3, padding=True)
    assert used.backend_tokenizer.to_str() != fresh.backend_tokenizer.to_str()
    assert _vocabulary(used) == _vocabulary(fresh)


def test_a_unit_hands_back_what_it_computed_and_nothing_that_it_was_given() -> None:
    """What it was given is found, in its own context alone; its own is found too."""
    import numpy as np

    given, own = Request((1,), (2,)), Request((1,), (3,))
    score = ResponseScore(np.array([-1.0], np.float32), is_greedy=True)
    store = UnitStore([("context", {given: score})])
    store.store("context", {own: score})
    store.store_result(b"key", b"value")

    assert store.lookup("context", [given, own]) == {given: score, own: score}
    assert store.lookup("other", [given]) == {}
    assert store.scores == [("context", {own: score})]
    assert (store.lookup_result(b"key"), store.lookup_result(b"other"), store.kept) == (
        b"value",
        None,
        {b"key": b"value"},
    )
