"""The made-up runs are what they say, or everything that is shown with them proves nothing."""

from collections import Counter

import pytest
from made_up_runs import CHOSEN, CONTROLS, SWEPT, default_like_run, many_run, sweep_run, worse_run
from made_up_texts import HOSTILE, LONG

from reports.comparing.compare import compare
from reports.rendering.content.names import metric_names
from reports.run_folder import read_run, write_run


@pytest.fixture(scope="module")
def default_like():
    return default_like_run()


@pytest.fixture(scope="module")
def many():
    return many_run(n_candidates=2, n_examples=600)


def test_a_run_is_the_same_after_writing_and_reading(default_like, tmp_path):
    """Every record is valid, and the same seed gives the same run."""
    write_run(default_like, tmp_path / "run")
    assert read_run(tmp_path / "run") == default_like == default_like_run()


def test_the_default_gains_what_a_bag_of_words_has_too_and_loses_coreference(default_like):
    """Reward accuracy is better than chance and not told apart from the bag of words; coreference got worse."""
    rows = compare(default_like)
    outcomes = {(row.metric.evaluation, row.baseline): row.outcome for row in rows if row.metric.primary}
    assert outcomes["preferences", "0.5 by definition"] == "better"
    assert outcomes["preferences", "bag of words"] == "no change seen"
    assert outcomes["coreference", "baseline"] == "worse"
    assert outcomes["capability/winogrande", "baseline"] == "no change seen"


def test_the_default_has_what_people_know_datasets_by(default_like):
    """The names of its metrics are those of known datasets, as in a run on real rows."""
    names = set(metric_names(default_like).values())
    assert {"TruthfulQA, perplexity", "PKU-SafeRLHF, perplexity", "TruthfulQA, multiple choice (mc1)"} <= names


def test_everything_got_worse_in_the_worse_run():
    """Each claim of it is worse."""
    assert {row.outcome for row in compare(worse_run()) if row.is_claim} == {"worse"}


def test_the_sweep_has_recipes_of_three_seeds_a_choice_and_controls():
    """Four recipes of three seeds, one chosen by name, and two controls that the candidates are compared with."""
    run = sweep_run()
    recipes = Counter(each.recipe for each in run.candidates if not each.is_control)
    assert recipes == dict.fromkeys(SWEPT, 3)
    assert [each.candidate for each in run.selection if each.is_winner] == [CHOSEN]
    assert tuple(each.name for each in run.candidates if each.is_control) == CONTROLS
    assert run.candidates[0].compared_with == CONTROLS


def test_many_has_hostile_long_right_to_left_and_chinese_texts(many):
    """Its texts are of realistic length, with those that break a page among them."""
    prompts = [each.prompt for each in many.examples]
    assert HOSTILE in prompts
    assert any(len(prompt.split()) == LONG for prompt in prompts)
    assert any("\u0600" <= max(prompt) < "\u0700" for prompt in prompts)
    assert any("\u4e00" <= max(prompt) < "\ua000" for prompt in prompts)
    assert 40 < sum(len(each.texts["chosen"].split()) for each in many.examples[:600]) / 600 < 80


def test_many_has_as_many_candidates_and_pairs_as_asked_for(many):
    """Two candidates, and 600 pairs that each of them was measured on."""
    sizes = {len(each.scores) for each in many.measurements if each.metric.name == "reward_margin"}
    assert (len(many.candidates), sizes) == (2, {600})
