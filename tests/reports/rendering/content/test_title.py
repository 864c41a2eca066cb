"""The title of a report: who against whom, trained how, in which run."""

from dataclasses import replace

import pytest

from reports.records import Subject
from reports.rendering.content.title import report_title

BASE = {"name": "gpt2", "quantization": "none", "dtype": "float32"}


def test_one_adapter_is_called_by_its_name(fakes):
    """With the baseline's weights, the facts of its training, the run, its suite and the day."""
    run = fakes.realistic_run()
    adapters = tuple(replace(each, beta=0.1) if each.kind == "candidate" else each for each in run.subjects)
    config = {"training": {"method": "dpo"}, "data": {"training": {"name": "Anthropic/hh-rlhf"}}}
    run = replace(run, subjects=adapters, config=config, provenance={"base": BASE | {"quantization": "nf4"}})

    title = report_title(run)

    assert title.text == "dpo against base (gpt2, NF4)"
    assert title.training == ("Anthropic/hh-rlhf", "60 steps of DPO", "beta 0.1", "one seed")
    assert title.run == ("run run", "suite alignment", "21 Nov 2026")


@pytest.mark.parametrize(
    ("swept", "expected"),
    [
        ({"training.learning_rate": [5e-6, 1e-5]}, "2 learning rates"),
        ({"training.epochs": [1, 2]}, "2 values of epochs"),
        ({"training.beta": [0.1, 0.2], "seed": [1]}, "2 candidates"),
        ({}, "2 candidates"),
    ],
)
def test_candidates_of_a_sweep_are_its_values(fakes, swept, expected):
    """Counted by recipe, so that training seeds, controls and models of other weights are no candidates."""
    run = fakes.sweep_run()
    subjects = tuple(replace(each, beta=0.1 if each.same_weights and each.reference else None) for each in run.subjects)

    title = report_title(replace(run, subjects=subjects, config={"sweep": swept}))

    assert title.subject == expected
    assert "controls: sft on chosen, shuffled pairs" in title.training


def test_a_folder_of_this_machine_is_called_by_its_last_part(fakes):
    """A path says nothing to others; a name of the hub stays whole."""
    run = fakes.realistic_run()
    config = {"data": {"training": {"name": "/home/me/data/pairs.jsonl"}}}
    title = report_title(replace(run, config=config, provenance={"base": BASE | {"name": "/home/me/models/mine"}}))
    assert title.baseline == "base (mine, float32)"
    assert title.training[0] == "pairs.jsonl"
    assert "owner/model" in report_title(replace(run, provenance={"base": {"name": "owner/model"}})).baseline


def test_an_older_run_has_a_title_of_what_it_knows(fakes):
    """Without configuration, provenance, training or a date: names alone."""
    run = replace(fakes.small_run({}), subjects=(Subject("base", "baseline", ""),), created="long ago")
    title = report_title(run)
    assert (title.text, title.training) == ("base", ())
    assert title.run[-1] == "long ago"
