"""The kinds of evaluation on one set of weights: what they hand on, and what they leave out and say so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.schema import AnswersConfig, EvaluationConfig, SuiteConfig
from harness.data.experiment_data import ExperimentData
from harness.data.overlap import Overlap
from harness.data.read import Dataset
from harness.measuring.kinds import Bench, ImplicitReward, Kept, Measured, run_suite
from harness.models.adapters import attach_adapter
from harness.models.base import BASELINE, LoadedModel
from harness.terminal import Terminal
from suites.engine.encoding import Encoder
from suites.engine.plan import ScoringState, plan_for
from suites.inputs import Example, Pair, Question, Turn

PREFERENCES = EvaluationConfig("preferences", "reward", "preferences")
FACTS = EvaluationConfig("facts", "perplexity", "facts", group="capability")
DRIFT = EvaluationConfig("drift", "drift", "prompts", limit=4, max_new_tokens=5)


def loaded_rows(rows: list[Any]) -> Dataset[Any]:
    return Dataset(tuple(rows), "made up, split test", len(rows), {})


@pytest.fixture
def bench(llama_folder: Path, load: Callable[..., LoadedModel], preference_pairs: list[Pair], tmp_path: Path) -> Bench:
    """A Llama with an adapter that moves it, and twelve pairs, examples and questions."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(load(llama_folder).base, LoraConfig(r=4, init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(llama_folder)
    attach_adapter(loaded, "adapter", str(tmp_path / "adapter"))
    pairs = loaded_rows(preference_pairs)
    examples = [Example(f"x{n}", f"x{n}", (Turn("user", f"Is {n} odd?"),), "Yes.", ("No.",)) for n in range(3)]
    questions = [Question(pair.example_id, pair.group, pair.prompt) for pair in preference_pairs]
    return Bench(
        loaded=loaded,
        encoder=Encoder(loaded.tokenizer, max_prompt_tokens=64, max_tokens=128),
        subjects={BASELINE: BASELINE, "adapter": "adapter"},
        rewards={"adapter": ImplicitReward(BASELINE, 0.1)},
        kept=Kept(),
        data=ExperimentData(
            training=tuple(preference_pairs[:2]),
            selection=(),
            training_dataset=pairs,
            overlap=Overlap(frozenset(), {}),
            pairs={"preferences": pairs},
            examples={"facts": loaded_rows(examples)},
            questions={"prompts": loaded_rows(questions)},
        ),
        tasks={},
        terminal=Terminal(),
        scoring=ScoringState(plan_for(loaded.base), print),
        cache=None,
        seed=0,
        answers=AnswersConfig(),
    )


def run(bench: Bench, *evaluations: EvaluationConfig) -> Measured:
    return run_suite(SuiteConfig("suite", evaluations), bench)


def test_drift_of_an_adapter_is_measured_and_that_of_the_baseline_from_itself_is_nothing(bench: Bench) -> None:
    """A KL above 0 for what moves the model, of exactly 0 for what does not, on the prompts that the limit leaves."""
    rewards = {"adapter": ImplicitReward(BASELINE, 0.1), BASELINE: ImplicitReward(BASELINE, 0.1)}

    measured = run(replace(bench, rewards=rewards), DRIFT)

    moved, unmoved = measured.measurements
    assert (moved.subject, moved.metric.name, moved.metric.evaluation) == ("adapter", "kl_per_token", "drift")
    assert len(moved.scores) == DRIFT.limit
    assert all(score.total > 0 and 1 <= score.count <= DRIFT.max_new_tokens for score in moved.scores)
    assert {score.total for score in unmoved.scores} == {0.0}
    assert (measured.counts[0].n_scored, measured.counts[0].left_out) == (4, {"outside of the sample": 8})


def test_drift_from_other_weights_is_left_out_with_a_note(bench: Bench) -> None:
    """A reference that is not in memory beside its candidate cannot be read on the same samples."""
    measured = run(replace(bench, rewards={"adapter": ImplicitReward("unquantised", 0.1)}), DRIFT)

    assert measured.measurements == ()
    assert measured.notes == (
        "drift: the KL of adapter from unquantised was not measured, since they do not sit on the same weights.",
    )


def test_rewards_come_with_where_rulers_err_and_how_far_answers_moved(bench: Bench) -> None:
    """All of a candidate's metrics on the pairs; rulers are subjects of the baseline's weights alone."""
    measured = run(bench, PREFERENCES)

    own = {one.metric.name for one in measured.measurements if one.subject == "adapter"}
    assert own >= {"reward_accuracy", "reward_margin", "drift_chosen", "drift_rejected"}
    assert "reward_accuracy[longest wins is wrong]" in own
    assert [ruler.name for ruler in measured.rulers] == ["longest wins", "shortest wins", "bag of words"]

    other = replace(bench, subjects={"merged": BASELINE}, rewards={"merged": ImplicitReward("adapter", 0.1)})
    elsewhere = run(other, PREFERENCES)

    assert elsewhere.rulers == ()
    assert {one.subject for one in elsewhere.measurements} == {"merged"}
    assert {one.metric.name for one in elsewhere.measurements} == own


def test_texts_and_the_suites_group_come_with_what_was_measured(bench: Bench) -> None:
    """Every scored row says what it is, and every evaluation what it is part of."""
    measured = run(bench, PREFERENCES, FACTS)

    assert len(measured.examples) == 12 + 3
    assert measured.examples[0].texts.keys() == {"chosen", "rejected"}
    assert measured.examples[-1].texts == {"right": "Yes.", "wrong": "No."}
    assert {counts.evaluation: counts.suite_group for counts in measured.counts} == {
        "preferences": "",
        "facts": "capability",
    }
