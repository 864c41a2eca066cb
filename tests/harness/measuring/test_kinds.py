"""The kinds of evaluation on one set of weights: what they carry over, what they leave out, and one of one's own."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.config.load import ConfigError, load_experiment, load_suite
from harness.config.schema import EvaluationConfig, SuiteConfig
from harness.data.experiment_data import ExperimentData
from harness.data.overlap import Overlap
from harness.data.read import Dataset
from harness.measuring.evaluations.base import Evaluation, ImplicitReward, Record
from harness.measuring.experiment import Experiment
from harness.measuring.kinds import KINDS, Kind, prepare_suite, row_kinds, run_suite
from harness.measuring.preparation import Options, prepare
from harness.measuring.run import measure
from harness.measuring.scorers import Scorers
from harness.models.adapters import attach_adapter
from harness.models.base import BASELINE, LoadedModel
from harness.terminal import Terminal
from harness.workspace import Workspace
from reports.example_texts import ExampleTexts
from reports.records import EvaluationCounts, ExampleScore, Generation, Metric, MetricScores, Subject
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.decoding import Decoding
from suites.engine.encoding import Encoder
from suites.engine.plan import ScoringState, plan_for
from suites.inputs import Example, Pair, Question, Turn

PREFERENCES = EvaluationConfig("preferences", "reward", "preferences")
FACTS = EvaluationConfig("facts", "perplexity", "facts", group="capability")
DRIFT = EvaluationConfig("drift", "drift", "prompts", limit=4, max_new_tokens=5)
ANSWERS = EvaluationConfig("answers", "generations", "prompts", limit=3, max_new_tokens=5)

AGAINST_BASELINE = ImplicitReward(BASELINE, 0.1)

OneRecord = TypeVar("OneRecord")


def loaded_rows(rows: list[Any]) -> Dataset[Any]:
    return Dataset(tuple(rows), "made up, split test", len(rows), {})


@pytest.fixture
def scorers(llama_folder: Path, load: Callable[..., LoadedModel], tmp_path: Path) -> Scorers:
    """A Llama with an adapter that moves it."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(load(llama_folder).base, LoraConfig(r=4, init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(llama_folder)
    attach_adapter(loaded, "adapter", str(tmp_path / "adapter"))
    return Scorers(
        loaded, {BASELINE: BASELINE, "adapter": "adapter"}, ScoringState(plan_for(loaded.base), print), None, Terminal()
    )


@pytest.fixture
def experiment(scorers: Scorers, preference_pairs: list[Pair], tmp_path: Path) -> Experiment:
    """Twelve pairs, three examples and twelve questions."""
    pairs = loaded_rows(preference_pairs)
    examples = [Example(f"x{n}", f"x{n}", (Turn("user", f"Is {n} odd?"),), "Yes.", ("No.",)) for n in range(3)]
    questions = [Question(pair.example_id, pair.group, pair.prompt) for pair in preference_pairs]
    return Experiment(
        config=load_experiment(),
        suite=SuiteConfig("suite", ()),
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
        loaded=scorers.loaded,
        encoder=Encoder(scorers.loaded.tokenizer, max_prompt_tokens=64, max_tokens=128),
        workspace=Workspace(tmp_path),
        out=None,
        terminal=Terminal(),
        limit=None,
        use_cache=False,
        filtered={},
        notes=(),
    )


def prepared(
    experiment: Experiment, *evaluations: EvaluationConfig, **rewards: ImplicitReward
) -> dict[EvaluationConfig, Evaluation]:
    """The evaluations, with the adapter's reward against the baseline unless other rewards are given."""
    suite = replace(experiment.suite, evaluations=evaluations)
    return prepare_suite(replace(experiment, suite=suite), rewards or {"adapter": AGAINST_BASELINE})


def of_type(record_type: type[OneRecord], records: Iterable[Record]) -> list[OneRecord]:
    return [record for record in records if isinstance(record, record_type)]


def test_drift_of_an_adapter_is_measured_and_that_of_the_baseline_from_itself_is_nothing(
    scorers: Scorers, experiment: Experiment
) -> None:
    """Above 0 for what moves the model, exactly 0 for what does not, on plain draws after the prompts that are left."""
    rewards = {"adapter": AGAINST_BASELINE, BASELINE: AGAINST_BASELINE}

    suite = prepared(experiment, DRIFT, **rewards)
    records = list(run_suite(suite, scorers))

    assert suite[DRIFT].decoding == Decoding(5, temperature=1.0, top_p=1.0, seed=experiment.config.seed)
    moved, unmoved = of_type(MetricScores, records)
    (counts,) = of_type(EvaluationCounts, records)
    assert (moved.subject, moved.metric.name, moved.metric.evaluation) == ("adapter", "kl_per_token", "drift")
    assert len(moved.scores) == DRIFT.limit
    assert all(score.total > 0 and 1 <= score.count <= DRIFT.max_new_tokens for score in moved.scores)
    assert {score.total for score in unmoved.scores} == {0.0}
    assert (counts.n_scored, counts.left_out) == (4, {"outside of the sample": 8})


def test_answers_and_divergences_are_measured_once(
    scorers: Scorers, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run finds them beside the scores, bit for bit, and opens no model for them."""
    suite = prepared(experiment, DRIFT, ANSWERS)
    with ScoreCache.open(tmp_path / "scores.sqlite", print) as cache:
        first = list(run_suite(suite, replace(scorers, cache=cache)))
        monkeypatch.setattr("suites.engine.decoding.generate", pytest.fail)
        monkeypatch.setattr("suites.evaluations.drift.sample_divergence", pytest.fail)

        assert list(run_suite(suite, replace(scorers, cache=cache))) == first
    assert len(of_type(Generation, first)) == 2 * ANSWERS.limit


def test_drift_from_other_weights_is_left_out_with_a_note(scorers: Scorers, experiment: Experiment) -> None:
    """A reference that is not in memory beside its candidate cannot be read on the same samples."""
    suite = prepared(experiment, DRIFT, adapter=ImplicitReward("unquantised", 0.1))

    records = list(run_suite(suite, scorers))

    assert of_type(MetricScores, records) == []
    assert of_type(str, records) == [
        "drift: the KL of adapter from unquantised was not measured, because they have different weights."
    ]


def test_rewards_come_with_where_rulers_err_and_how_far_answers_moved(scorers: Scorers, experiment: Experiment) -> None:
    """All of a candidate's metrics on the pairs; rulers are subjects of the baseline's weights alone."""
    suite = prepared(experiment, PREFERENCES, adapter=AGAINST_BASELINE, merged=ImplicitReward("adapter", 0.1))
    records = list(run_suite(suite, scorers))

    own = {one.metric.name for one in of_type(MetricScores, records) if one.subject == "adapter"}
    assert own >= {"reward_accuracy", "reward_margin", "drift_chosen", "drift_rejected"}
    assert "reward_accuracy[longest wins is wrong]" in own
    rulers = [ruler.name for ruler in of_type(Subject, records)]
    assert rulers == ["longest wins", "shortest wins", "bag of words"]

    elsewhere = list(run_suite(suite, replace(scorers, adapters={"merged": BASELINE})))

    assert of_type(Subject, elsewhere) == []
    assert {one.subject for one in of_type(MetricScores, elsewhere)} == {"merged"}
    assert {one.metric.name for one in of_type(MetricScores, elsewhere)} == own


def test_texts_and_the_suites_group_come_with_what_was_measured(scorers: Scorers, experiment: Experiment) -> None:
    """Every scored row says what it is, and every evaluation what it is part of."""
    records = list(run_suite(prepared(experiment, PREFERENCES, FACTS), scorers))

    texts = [text.texts for each in of_type(ExampleTexts, records) for text in each]
    assert len(texts) == 12 + 3
    assert texts[0].keys() == {"chosen", "rejected"}
    assert texts[-1] == {"right": "Yes.", "wrong": "No."}
    assert {counts.evaluation: counts.suite_group for counts in of_type(EvaluationCounts, records)} == {
        "preferences": "",
        "facts": "capability",
    }


class LongestAnswer:
    """A made-up kind: characters of the longer answer of each pair, the same for every subject."""

    def __init__(self, evaluation: EvaluationConfig, experiment: Experiment, _rewards: object) -> None:
        self.name = evaluation.name
        self.pairs = experiment.sample(experiment.data.pairs[evaluation.role].rows, evaluation.limit)

    def measure(self, scorers: Scorers) -> list[MetricScores]:
        """Takes nothing from the model."""
        metric = Metric(self.name, "longest_answer", "characters", higher_is_better=None)
        scores = tuple(
            ExampleScore(pair.example_id, pair.group, max(len(pair.chosen), len(pair.rejected)), 1)
            for pair in self.pairs
        )
        return [MetricScores(metric, subject, scores) for subject in scorers.subjects]


def test_a_new_kind_of_evaluation_is_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its line a suite may name the kind, its role is read as the rows it asks for, and a run holds its metric."""
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "name: mine\nevaluations: [{name: lengths, kind: longest_answer, role: preferences, limit: 8, group: style}]\n"
    )
    with pytest.raises(ConfigError, match=r"evaluations\.0\.kind must be one of .*, got \"longest_answer\""):
        load_suite(str(suite), row_kinds())

    monkeypatch.setitem(KINDS, "longest_answer", Kind("pairs", LongestAnswer))
    experiment = prepare(Options(str(suite), tmp_path / "workspace", use_cache=False))
    measured = measure(experiment, (), prepare_suite(experiment, {}), name="mine")

    (lengths,) = measured.measurements
    assert (lengths.subject, lengths.metric.name) == (BASELINE, "longest_answer")
    assert 0 < len(lengths.scores) <= 8
    unbound = ("data.roles={truthfulness: {name: embedded/truthfulness}}",)
    with pytest.raises(ConfigError, match=r"lengths \(kind longest_answer\) needs data.roles.preferences"):
        prepare(Options(str(suite), tmp_path / "workspace", overrides=unbound))
